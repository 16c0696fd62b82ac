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
    """One run's evaluation, by policy, and its records."""

    path: Path
    task: str | None
    seed: int | None
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
