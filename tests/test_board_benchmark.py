"""The benchmark of the Policy tab asks every route that it names, and prints what each took."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "experiments/benchmarks/board.py"


@pytest.mark.slow  # starts TensorBoard twice
def test_the_benchmark_of_the_tab_runs_and_leaves_its_runs_as_they_were() -> None:
    command = [sys.executable, str(SCRIPT), "--episodes", "600", "--iterations", "20"]
    printed = subprocess.run(
        [*command, "--repeats", "2"], capture_output=True, check=True, text=True
    ).stdout.splitlines()
    assert printed[0].startswith("600 episodes of 3 steps, 20 iterations")
    figures = {line[:32].strip(): [float(n) for n in line[32:].split()] for line in printed[2:]}
    assert {"first index", "list, first page", "one episode", "memory at most, MB"} <= set(figures)
    assert all(numbers and min(numbers) > 0 for numbers in figures.values())
