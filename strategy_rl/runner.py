"""Runs: started, resumed, judged again. Each is one experiment in one folder, or one a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strategy_rl import files
from strategy_rl.assembly import (
    feature_folder,
    resolve_device,
)
from strategy_rl.checkpoint import Checkpoints
from strategy_rl.config import BackboneConfig, Experiment, load_experiment
from strategy_rl.env import Moments
from strategy_rl.errors import RunError
from strategy_rl.folder import (
    CONFIG,
    SEEDS,
    experiment_of,
    prepare_folder,
    read_status,
    refuse_used,
)
from strategy_rl.generation import AnyPolicy
from strategy_rl.generation.saving import load_policy
from strategy_rl.imports import load_imports
from strategy_rl.judging import judge_one
from strategy_rl.moments import mean_and_std
from strategy_rl.report import combine_runs, render_table
from strategy_rl.session import working_in
from strategy_rl.stages import Stages


@dataclass(frozen=True)
class Run:
    """A finished run."""

    path: Path
    report: dict[str, Any]

    def policy(self) -> AnyPolicy:
        """The exported policy."""
        return load_policy(self.path / "policy")

    def table(self) -> str:
        """The report's table as text."""
        return render_table(self.report)


def run(
    experiment: Experiment | Path | str,
    *,
    seeds: Sequence[int] | None = None,
    out: Path | str | None = None,
) -> Run:
    """Train and judge an experiment in a new folder.

    Args:
        experiment: What to do, or the file that says it.
        seeds: One run each in `seed-N` folders, and a report over them; None: its own seed.
        out: The folder; None: `runs/<name>`.

    Raises:
        RunError: The folder exists.
        StrategyRLError: As the tree in `strategy_rl.errors` tells.
    """
    if not isinstance(experiment, Experiment):
        experiment = load_experiment(Path(experiment))
    path = Path(out) if out is not None else Path("runs") / experiment.name
    refuse_used(path)
    load_imports(experiment.imports, trust=True)
    stages = Stages(experiment)  # refuses what cannot work before anything is written
    prepare_folder(path, experiment, seeds)
    if seeds is None:
        return _work(path, experiment, stages)
    stages.world.close()
    del stages  # each seed makes its own
    return _work_seeds(path, experiment, seeds)


def resume(path: Path | str, *, trust_imports: bool = False) -> Run:
    """Go on with a run, or with the runs of several seeds, to the same end as without a stop.

    Args:
        path: Its folder.
        trust_imports: Run the Python files that it names even if they are not known here.

    Raises:
        RunError: The folder holds no run.
        InputError: It names Python files that were never run from an experiment file here.
        CheckpointError: Its configuration or data have changed, or no checkpoint is good.
    """
    path = Path(path)
    experiment = experiment_of(path, trust_imports=trust_imports)
    if (path / SEEDS).is_file():
        return _work_seeds(path, experiment, files.read_json(path / SEEDS)["seeds"])
    return _work(path, experiment)


def evaluate(
    path: Path | str, *, split: str = "test", policy: str = "ppo", trust_imports: bool = False
) -> str:
    """Play one policy of a finished run on a split; gives a line with its return."""
    path = Path(path)
    experiment = experiment_of(path, trust_imports=trust_imports)
    saved = path / {"ppo": "policy", "sft": "policy-sft"}.get(policy, "")
    with files.locked(path):
        loaded = _load(saved, experiment.backbone) if policy in ("ppo", "sft") else None
        return judge_one(path, experiment, split, policy, loaded, _judge_moments(path, experiment))


def _judge_moments(path: Path, experiment: Experiment) -> Moments:
    """What a run's validation and test rows were judged by."""
    scaled = any(term.scale == "running" for term in experiment.reward)
    if not scaled or not experiment.ppo.iterations:  # SFT alone measures no scale
        return {}
    checkpoint = Checkpoints(path, experiment.checkpoint.keep).load_newest()
    if checkpoint is None or "judge_sums" not in checkpoint.state["counters"]:
        raise RunError(
            f"{path}: its reward has `scale: running`, and the checkpoint that holds the scales is "
            "gone; put checkpoints/ back"
        )
    return mean_and_std(checkpoint.state["counters"]["judge_sums"])


def _load(saved: Path, backbone: BackboneConfig) -> AnyPolicy:
    """An exported policy on the experiment's device, with the texts that its run has encoded."""
    return load_policy(
        saved,
        resolve_device(backbone.device),
        cache_dir=feature_folder(backbone),
        cache_max_mb=backbone.cache_max_mb,
    )


def _work_seeds(path: Path, experiment: Experiment, seeds: Sequence[int]) -> Run:
    folders = []
    for seed in seeds:
        folder = path / f"seed-{seed}"
        folders.append(folder)
        seeded = experiment.model_copy(update={"seed": seed})
        if not (folder / CONFIG).is_file():
            prepare_folder(folder, seeded)
        _work(folder, seeded)
    samples = experiment.evaluation.bootstrap_samples
    return Run(path, combine_runs(folders, bootstrap_samples=samples))


def _work(path: Path, experiment: Experiment, stages: Stages | None = None) -> Run:
    """All stages of one seed, from wherever the folder is."""
    if read_status(path) == "complete" and (path / "report.json").is_file():
        return Run(path, files.read_json(path / "report.json"))
    with working_in(path, experiment) as session:
        report = (stages or Stages(experiment)).all(session)
    return Run(path, report)
