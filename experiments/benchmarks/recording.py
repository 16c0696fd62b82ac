"""What share of PPO's time goes into keeping episodes of training and of the probe rows.

    python experiments/benchmarks/recording.py experiments/cartpole.yaml --iterations 50

PPO runs as the file says, but for the number of iterations; nothing is evaluated at the end. Times
are the processor's.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from strategy_rl.config import load_experiment
from strategy_rl.imports import load_imports
from strategy_rl.runner import prepare_folder
from strategy_rl.session import working_in
from strategy_rl.stages import Stages
from strategy_rl.stages.keeping import EpisodeKeeper


class Clock:
    """Adds up the seconds of functions by name."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function; its time is added up."""

        def around(*arguments: Any) -> Any:
            start = time.process_time()
            try:
                return function(*arguments)
            finally:
                self.seconds[name] += time.process_time() - start

        return around


class TimedKeeper(EpisodeKeeper):
    """Knows how long it took."""

    clock: Clock

    def rollout_keeper(self, *arguments: Any) -> Any:
        """Of training."""
        return self.clock.timed("training episodes", super().rollout_keeper(*arguments))

    def keep_probes(self, *arguments: Any) -> None:
        """Of the probe rows, which are among the validation rows."""
        self.clock.timed("probe rows", super().keep_probes)(*arguments)


class Timed(Stages):
    """Stages that are left after PPO, and know how long it took."""

    @cached_property
    def keeper(self) -> TimedKeeper:
        """Is timed too."""
        keeper = TimedKeeper(self.experiment, self.world, self.session)
        keeper.clock = Clock()
        return keeper

    def ppo(self, policy: Any) -> None:
        """The stage that is measured; what comes before it is not asked for."""
        self.keeper.clock.seconds.clear()
        self.keeper.clock.timed("PPO", super().ppo)(policy)

    def evaluate(self, policy: Any, sft_state: Any) -> dict[str, Any]:
        """Nothing."""
        return {"policies": {}}


def main() -> None:
    """Print a row for each experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiments", type=Path, nargs="+")
    parser.add_argument("--iterations", type=int, default=20)
    options = parser.parse_args()
    for path in options.experiments:
        with tempfile.TemporaryDirectory() as name:
            measure(path, options.iterations, Path(name, "run"))


def measure(path: Path, iterations: int, out: Path) -> None:
    """Train, and print the shares."""
    experiment = load_experiment(path, [f"ppo.iterations={iterations}"])
    load_imports(experiment.imports, trust=True)
    stages = Timed(experiment)
    prepare_folder(out, experiment)
    with working_in(out, experiment) as session:
        stages.all(session)
    size = sum(file.stat().st_size for file in (out / "episodes").iterdir())
    seconds = stages.keeper.clock.seconds
    whole = seconds.pop("PPO")
    parts = ", ".join(f"{name} {part / whole:.2%}" for name, part in seconds.items())
    print(f"{path}: {iterations} iterations in {whole:.1f} s: {parts}; {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
