"""Contenders in processes of their own, one thread each, taking turns. Knows no library.

A contender is a script: settings as JSON in its argument, figures as JSON on its last line.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

Figures = dict[str, float]
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Settings:
    """What one measurement does. A round collects `num_envs` x `num_steps` decisions."""

    num_rows: int = 2000
    num_candidates: int = 10
    pool: bool = False
    num_envs: int = 64
    num_steps: int = 16
    epochs: int = 4
    minibatch_size: int = 256
    iterations: int = 8
    kl_coef: float = 0.0
    pair_features: bool = False
    freeze_projections: bool = False
    representation_epochs: int | None = None

    @property
    def decisions(self) -> int:
        """Decisions of one round."""
        return self.num_envs * self.num_steps


@dataclass(frozen=True)
class Contender:
    """A script, what it is told, and the interpreter that has what it needs."""

    name: str
    script: str
    settings: Settings
    python: str = sys.executable

    def run(self) -> Figures:
        """One measurement in a fresh process."""
        threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        paths = (str(ROOT), str(ROOT / "envs"), os.environ.get("PYTHONPATH", ""))
        environment = os.environ | dict.fromkeys(threads, "1") | {"PYTHONPATH": ":".join(paths)}
        script = Path(__file__).with_name(self.script)
        done = subprocess.run(
            [self.python, str(script), json.dumps(asdict(self.settings))],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        return figures


class Clock:
    """Times the rounds of a training loop. The first is a warm-up and does not count."""

    def __init__(self, decisions: int) -> None:
        self.decisions = decisions
        self.marks: list[tuple[float, float]] = []
        self.mean_return = 0.0

    def round_over(self, mean_return: float = 0.0) -> None:
        """Another round is over."""
        self.marks.append((time.perf_counter(), time.process_time()))
        self.mean_return = mean_return

    def figures(self) -> Figures:
        """Decisions per second of wall clock and of processor time, and peak memory in MB."""
        (wall, cpu), (last_wall, last_cpu) = self.marks[0], self.marks[-1]
        decisions = self.decisions * (len(self.marks) - 1)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "decisions_per_second": decisions / (last_wall - wall),
            "decisions_per_cpu_second": decisions / (last_cpu - cpu),
            "peak_mb": peak / (2**20 if sys.platform == "darwin" else 2**10),
            "mean_return": self.mean_return,
        }


def contender_main(measure: Callable[[Settings], Figures]) -> None:
    """The main function of a contender's script."""
    print(json.dumps(measure(Settings(**json.loads(sys.argv[1])))))


def take_turns(contenders: Sequence[Contender], repeats: int) -> dict[str, list[Figures]]:
    """Runs by contender; turns alternate, so that a busy machine is busy for all."""
    runs: dict[str, list[Figures]] = {contender.name: [] for contender in contenders}
    for turn in range(repeats):
        for contender in contenders:
            print(f"turn {turn + 1} of {repeats}: {contender.name}", file=sys.stderr)
            runs[contender.name].append(contender.run())
    return runs


def median(runs: Sequence[Figures], key: str) -> float:
    """The median of one figure."""
    return statistics.median(run[key] for run in runs)


def ratio(runs: Sequence[Figures], others: Sequence[Figures], key: str) -> float:
    """The median over the turns of one contender's figure over another's in the same turn."""
    pairs = zip(runs, others, strict=True)
    return statistics.median(run[key] / other[key] for run, other in pairs)


def machine() -> Mapping[str, object]:
    """What the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "architecture": platform.machine(),
        "python": platform.python_version(),
    }
