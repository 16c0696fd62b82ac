from collections.abc import Sequence
from pathlib import Path

import pytest
from invented import (
    MakeEpisode,
    MakeRun,
    make_episode,
    metrics_line,
    policies,
    write_lines,
)

from strategy_rl.episodes import write_episodes


@pytest.fixture
def episode() -> MakeEpisode:
    return make_episode


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Writes a run folder: `make_run(name, rows=..., seed=..., left_out=...)`."""

    def write(
        name: str,
        *,
        rows: int = 16,
        seed: int = 0,
        left_out: Sequence[str] = (),
        task: str = "T-v0",
    ) -> Path:
        folder = tmp_path / name
        (folder / "episodes").mkdir(parents=True)
        for policy, episodes in policies(rows, seed).items():
            if policy not in left_out:
                path = folder / "episodes" / f"test-{policy}.jsonl"
                write_episodes(path, episodes, {"task": task, "policy": policy})
        (folder / "config.yaml").write_text(f"seed: {seed}\ntask: {{id: {task}}}\n")
        write_lines(folder / "metrics.jsonl", [metrics_line(i) for i in range(1, 6)])
        timing = {
            "stage": "ppo",
            "step": 1,
            "scalars": {"time/update_seconds": 1.5},
            "metrics_offset": 0,
        }
        write_lines(folder / "timings.jsonl", [timing, timing])
        return folder

    return write
