"""What a run writes down while it works: the record, its mirror for TensorBoard, the digest.

`metrics.jsonl` is the record; no clock is in it, so a resumed run writes the same bytes.
`timings.jsonl` holds the wall-clock figures. TensorBoard's events are rebuilt from both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from strategy_rl.episodes import plain
from strategy_rl.logger.digest import episode_digest, episodes_digest
from strategy_rl.logger.episode_log import EpisodeLog
from strategy_rl.logger.metrics import METRICS, Metric, find_metric, render_metrics
from strategy_rl.logger.record import Record, read_record
from strategy_rl.logger.tensorboard import EventFile

__all__ = [
    "METRICS",
    "EpisodeLog",
    "Metric",
    "MetricsLogger",
    "episode_digest",
    "episodes_digest",
    "find_metric",
    "read_record",
    "render_metrics",
]

METRICS_FILE = "metrics.jsonl"
TIMINGS_FILE = "timings.jsonl"
HISTOGRAM_BINS = 30


class MetricsLogger:
    """Writes a run's metrics; one a run. Every name must stand in `METRICS`.

    A disk that refuses never stops training: it warns once.
    """

    def __init__(
        self, run_dir: Path, *, tensorboard: bool = True, resume_offset: int | None = None
    ) -> None:
        """Opens the files of a run.

        Args:
            run_dir: the run's folder; it must exist.
            tensorboard: whether events are written as well.
            resume_offset: the `offset` of the checkpoint that training goes on from: what was
                written after it is dropped. None starts an empty record.

        Raises:
            StorageError: the record cannot be opened.
        """
        keep = resume_offset or 0
        self._metrics = Record(run_dir / METRICS_FILE, keep_bytes=keep)
        timings = run_dir / TIMINGS_FILE
        self._timings = Record(timings, keep_bytes=_timings_until(timings, keep))
        self._events = EventFile(run_dir) if tensorboard else None
        if self._events is not None and keep:
            for name in (METRICS_FILE, TIMINGS_FILE):
                for entry in read_record(run_dir / name):
                    _mirror(self._events, entry)

    @property
    def offset(self) -> int:
        """Bytes of `metrics.jsonl` on the disk; a checkpoint keeps it for `resume_offset`."""
        return self._metrics.offset

    def log(self, stage: str, step: int, scalars: Mapping[str, float]) -> None:
        """Writes one point of several curves.

        Args:
            stage: which loop it comes from, e.g. sft, ppo or evaluation.
            step: what the stage counts by: updates of SFT, decisions of PPO.
            scalars: full names such as "ppo/approx_kl"; what is not finite is recorded as null.

        Raises:
            ValueError: a name is not in `METRICS`.
        """
        for name in scalars:
            find_metric(name)
        self._write(stage, step, scalars={k: float(v) for k, v in scalars.items()})

    def log_histogram(self, stage: str, step: int, name: str, values: np.ndarray) -> None:
        """Writes how `values` (any shape) are spread, as equal bins; skips what is not finite.

        Raises:
            ValueError: the name is not in `METRICS`.
        """
        find_metric(name, "histogram")
        finite = np.asarray(values, dtype=np.float64).ravel()
        finite = finite[np.isfinite(finite)]
        if finite.size:
            self._write(stage, step, histograms={name: _bins(finite)})

    def log_text(self, stage: str, step: int, name: str, markdown: str) -> None:
        """Writes a text for the Text tab; foreign parts of it must have been escaped.

        Raises:
            ValueError: the name is not in `METRICS`.
        """
        find_metric(name, "text")
        self._write(stage, step, texts={name: markdown})

    def log_image(self, stage: str, step: int, name: str, path: str) -> None:
        """Shows a picture; the record holds its path, not its bytes.

        Args:
            stage: which loop it comes from.
            step: what the stage counts by.
            name: full name such as "plots/returns".
            path: of a PNG file, relative to the run's folder.

        Raises:
            ValueError: the name is not in `METRICS`.
        """
        find_metric(name, "image")
        self._write(stage, step, images={name: path})

    def log_time(self, stage: str, step: int, scalars: Mapping[str, float]) -> None:
        """Writes wall-clock figures (`time/*`), after the metrics that they belong to.

        Raises:
            ValueError: a name is not in `METRICS`.
        """
        for name in scalars:
            find_metric(name)
        values = {key: float(value) for key, value in scalars.items()}
        entry = plain({"stage": stage, "step": step, "scalars": values})
        self._timings.append({**entry, "metrics_offset": self._metrics.size})
        if self._events is not None:
            _mirror(self._events, entry)

    def hparams(self, hparams: Mapping[str, Any], metrics: Iterable[str]) -> None:
        """Writes the settings of the run and which curves stand beside them in the HParams tab.

        Args:
            hparams: settings by dotted key; None, lists and the like are shown as text.
            metrics: names of curves, e.g. "eval/ppo/mean_return"; their last points are shown, so
                they need no writing here.

        Raises:
            ValueError: a metric's name is not in `METRICS`.
        """
        columns = list(metrics)
        for name in columns:
            find_metric(name)
        self._write("run", 0, hparams=dict(hparams), columns=columns)

    def close(self) -> None:
        """Closes every file."""
        self._metrics.close()
        self._timings.close()
        if self._events is not None:
            self._events.close()

    def _write(self, stage: str, step: int, **content: Any) -> None:
        entry = plain({"stage": stage, "step": step, **content})
        self._metrics.append(entry)
        if self._events is not None:
            _mirror(self._events, entry)


def _bins(values: np.ndarray) -> dict[str, Any]:
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-9 * max(1.0, abs(low), abs(high)):  # numpy cannot divide so little
        low, high = low - 0.5, high + 0.5
    counts, _ = np.histogram(values, bins=HISTOGRAM_BINS, range=(low, high))
    return {"low": low, "high": high, "counts": counts}


def _mirror(events: EventFile, entry: Mapping[str, Any]) -> None:
    """Shows one line of a record in TensorBoard."""
    step = entry["step"]
    events.scalars(step, entry.get("scalars", {}))
    for name, bins in entry.get("histograms", {}).items():
        events.histogram(step, name, **bins)
    for name, markdown in entry.get("texts", {}).items():
        events.text(step, name, markdown)
    for name, path in entry.get("images", {}).items():
        events.image(step, name, path)
    if "hparams" in entry:
        events.hparams(entry["hparams"], entry["columns"])


def _timings_until(path: Path, metrics_offset: int) -> int:
    """Bytes of the timings that were written before the metrics reached beyond the offset."""
    size = 0
    if metrics_offset and path.exists():
        for line, entry in zip(path.read_bytes().splitlines(True), read_record(path), strict=False):
            if entry["metrics_offset"] > metrics_offset:
                break
            size += len(line)
    return size
