"""What a report reads of a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from strategy_rl.episodes import Episode, read_episodes
from strategy_rl.errors import RunError
from strategy_rl.logger import METRICS_FILE, TIMINGS_FILE, read_record

_PREFIX = "test-"


@dataclass(frozen=True)
class Run:
    """One run's evaluation, by policy, and its records.

    Attributes:
        same_rows: The task has no splits: it was trained on its test rows.
    """

    path: Path
    task: str | None
    seed: int | None
    config: dict[str, Any]
    same_rows: bool
    episodes: dict[str, list[Episode]]
    metrics: list[dict[str, Any]]
    timings: list[dict[str, Any]]


def read_run(path: Path) -> Run:
    """Reads the evaluation's episodes, and config and records where they are.

    Raises:
        RunError: there are no evaluation episodes, or a file is damaged.
    """
    files = sorted((path / "episodes").glob(f"{_PREFIX}*.jsonl"))
    if not files:
        raise RunError(
            f"{path}: no episodes/{_PREFIX}POLICY.jsonl in it; expected a run folder that was "
            "evaluated: `strategy-rl resume` or `strategy-rl evaluate` it first"
        )
    config = _config(path / "config.yaml")
    episodes: dict[str, list[Episode]] = {}
    header: dict[str, Any] = {}
    for file in files:
        header, episodes[file.stem.removeprefix(_PREFIX)] = read_episodes(file)
    return Run(
        path=path,
        task=(config.get("task") or {}).get("id", header.get("task")),
        seed=config.get("seed", header.get("seed")),
        config=config,
        same_rows=bool(header.get("same_rows")),
        episodes=episodes,
        metrics=list(read_record(path / METRICS_FILE)),
        timings=list(read_record(path / TIMINGS_FILE)),
    )


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Each path that is a run, or the `seed-*` runs in it.

    Raises:
        RunError: a path holds neither.
    """
    found: list[Path] = []
    for path in paths:
        if (path / "episodes").is_dir():
            found.append(path)
            continue
        seeds = [p.parent for p in path.glob("seed-*/episodes") if p.is_dir()]
        if not seeds:
            raise RunError(f"{path}: neither a run folder nor a folder of seed-* runs")
        found.extend(sorted(seeds, key=lambda p: (len(p.name), p.name)))
    return list(dict.fromkeys(found))


def refuse_mixed(runs: Sequence[Run]) -> None:
    """Combine only what differs in nothing but the seed, and each seed once.

    Raises:
        RunError: the tasks or other options differ, or a seed is there twice; names which.
    """
    tasks = {run.task for run in runs}
    if len(tasks) > 1:
        raise RunError(f"runs of different tasks cannot be combined: {sorted(map(str, tasks))}")
    first, seeds = runs[0], {runs[0].seed: runs[0].path}
    before = _options(first.config)
    for run in runs[1:]:
        now = _options(run.config)
        other = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
        if other and first.config and run.config:
            raise RunError(
                f"{first.path} and {run.path} differ in {', '.join(other)}; only runs that differ "
                "in their seed alone can be combined"
            )
        if run.seed is not None and run.seed in seeds:
            raise RunError(
                f"{seeds[run.seed]} and {run.path} both have seed {run.seed}; leave one out"
            )
        seeds[run.seed] = run.path


def _options(config: dict[str, Any]) -> dict[str, Any]:
    """`section.option` to value, without what two seeds of one experiment may differ in."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{option}": entry for option, entry in value.items()}
        elif name not in ("seed", "name"):
            flat[name] = value
    return flat


def seconds(timings: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Sums of the figures in seconds (`time/*_seconds`), by name without prefix and unit."""
    sums: dict[str, float] = {}
    for entry in timings:
        for name, value in entry["scalars"].items():
            if name.endswith("_seconds") and value is not None:
                key = name.removeprefix("time/").removesuffix("_seconds")
                sums[key] = sums.get(key, 0.0) + value
    return sums


def _config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        config = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {error}; restore it") from error
    return config if isinstance(config, dict) else {}
