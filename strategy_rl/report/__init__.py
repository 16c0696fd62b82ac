"""What came of a run, from its episode files: figures, tables, pictures.

Every policy is judged on the same rows; differences are paired by row and their intervals
resample whole groups of rows. Knows no model and no environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strategy_rl.episodes import plain
from strategy_rl.files import write_json, write_text
from strategy_rl.report.bootstrap import bootstrap_interval
from strategy_rl.report.health import NO_SPREAD_SHARE
from strategy_rl.report.plots import write_plots
from strategy_rl.report.run_folder import Run, find_runs, read_run
from strategy_rl.report.summary import combined_report, report_of, summarize
from strategy_rl.report.tables import render_markdown, render_table, render_texts

__all__ = [
    "NO_SPREAD_SHARE",
    "bootstrap_interval",
    "combine",
    "combine_runs",
    "render_markdown",
    "render_table",
    "render_texts",
    "summarize",
    "write_report",
]

BOOTSTRAP_SAMPLES = 10_000


def write_report(
    run_dir: Path, *, bootstrap_samples: int = BOOTSTRAP_SAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Writes `report.json`, `report.md` and `plots/*.png` of one run.

    Args:
        run_dir: a run folder with `episodes/test-POLICY.jsonl`.
        bootstrap_samples: resamples behind every interval.
        seed: of the resampling.

    Returns:
        What `report.json` holds.

    Raises:
        RunError: the folder has no evaluation, or a file in it is damaged.
        StorageError: the disk refused.
    """
    run = read_run(run_dir)
    report = report_of(run, bootstrap_samples=bootstrap_samples, seed=seed)
    return _write(run_dir, report, [run])


def combine_runs(
    run_dirs: Sequence[Path], *, bootstrap_samples: int = BOOTSTRAP_SAMPLES, seed: int = 0
) -> dict[str, Any]:
    """The report over several seeds; written beside the runs where they share a parent.

    Raises:
        RunError: tasks or test rows differ between the runs; names which.
        StorageError: the disk refused.
    """
    runs = [read_run(path) for path in run_dirs]
    report = combined_report(runs, bootstrap_samples=bootstrap_samples, seed=seed)
    parents = {path.resolve().parent for path in run_dirs}
    return _write(parents.pop(), report, runs) if len(parents) == 1 else plain(report)


def combine(paths: Sequence[Path], *, bootstrap_samples: int = BOOTSTRAP_SAMPLES) -> str:
    """Writes the report of one run, or over all seeds of several, and gives its table.

    Args:
        paths: run folders, or folders that hold `seed-*` runs.
        bootstrap_samples: resamples behind every interval.

    Raises:
        RunError: a path is no run, or the runs cannot be compared.
        StorageError: the disk refused.
    """
    found = find_runs(paths)
    if len(found) == 1:
        return render_table(write_report(found[0], bootstrap_samples=bootstrap_samples))
    return render_table(combine_runs(found, bootstrap_samples=bootstrap_samples))


def _write(folder: Path, report: Mapping[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
    strict: dict[str, Any] = plain(report)
    plots = write_plots(strict, {run.path.name: run.metrics for run in runs}, folder / "plots")
    links = [path.relative_to(folder).as_posix() for path in plots]
    write_json(folder / "report.json", strict)
    write_text(folder / "report.md", render_markdown(strict, links))
    return strict
