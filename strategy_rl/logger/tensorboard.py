"""The mirror of the record for TensorBoard: an event file, written without torch.

The file is written in place, without a thread, so that a full disk shows where it can be caught.
"""

from __future__ import annotations

import struct
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from strategy_rl.logger.layout import custom_scalars_layout
from strategy_rl.logger.metrics import find_metric

_PNG = b"\x89PNG\r\n\x1a\n"


class EventFile:
    """One event file of a run folder; older ones are removed, since the record rebuilds them.

    An OSError warns once and ends the mirror: the record stays.
    """

    def __init__(self, run_dir: Path) -> None:
        # tensorboard costs a quarter of a second: only for runs that mirror.
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._writer: Any = None
        self._run_dir = run_dir
        self._described: set[str] = set()
        try:
            path = _next_path(run_dir)
            self._writer = RecordWriter(path.open("wb"))
            self._write(file_version="brain.Event:2")
            self._add(0, [_layout_value()])
            for old in run_dir.glob("events.out.tfevents.*"):
                if old != path:
                    old.unlink()
        except OSError as error:
            self._stop(error)

    def scalars(self, step: int, scalars: Mapping[str, float | None]) -> None:
        """One point of several curves; None (not finite in the record) leaves a gap."""
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        self._add(
            step,
            [
                scalar_pb(name, value, self._description(name)).value[0]
                for name, value in scalars.items()
                if value is not None
            ],
        )

    def histogram(self, step: int, name: str, low: float, high: float, counts: list[int]) -> None:
        """One histogram of equal bins between `low` and `high`."""
        from tensorboard.compat.proto import summary_pb2
        from tensorboard.plugins.histogram.metadata import create_summary_metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        edges = np.linspace(low, high, len(counts) + 1)
        bins = np.stack([edges[:-1], edges[1:], np.asarray(counts, dtype=float)], axis=1)
        metadata = create_summary_metadata(None, self._description(name, "histogram"))
        tensor = make_tensor_proto(bins)
        self._add(step, [summary_pb2.Summary.Value(tag=name, metadata=metadata, tensor=tensor)])

    def text(self, step: int, name: str, markdown: str) -> None:
        """One entry of the Text tab."""
        from tensorboard.plugins.text.summary_v2 import text_pb

        encoded = markdown.encode("utf-8", errors="replace")
        self._add(step, [text_pb(name, encoded, self._description(name, "text")).value[0]])

    def image(self, step: int, name: str, path: str) -> None:
        """One picture of the Images tab.

        Args:
            step: what its stage counts by.
            name: its tag.
            path: of a PNG file, relative to the run's folder; one that is gone is not shown.
        """
        from tensorboard.compat.proto import summary_pb2
        from tensorboard.plugins.image.metadata import create_summary_metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        try:
            png = (self._run_dir / path).read_bytes()
        except OSError:
            return
        if png[:8] != _PNG or len(png) < 24:
            return
        width, height = (str(size).encode() for size in struct.unpack(">II", png[16:24]))
        metadata = create_summary_metadata(None, self._description(name, "image"))
        tensor = make_tensor_proto([width, height, png], dtype=np.object_)
        self._add(step, [summary_pb2.Summary.Value(tag=name, metadata=metadata, tensor=tensor)])

    def hparams(self, hparams: Mapping[str, Any], metrics: Sequence[str]) -> None:
        """The run's line of the HParams tab, in this run and not in one beside it.

        Args:
            hparams: the settings; what is no number, text or flag is shown as text.
            metrics: names of the curves whose last points are the tab's columns.
        """
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        simple = {key: _simple(value) for key, value in hparams.items()}
        session = hparams_pb(simple, start_time_secs=0).value[0]
        self._add(0, [_experiment_value(simple, metrics), session])

    def close(self) -> None:
        """Closes the file."""
        if self._writer is None:
            return
        try:
            self._writer.close()
            self._writer = None
        except OSError as error:
            self._stop(error)

    def _add(self, step: int, values: list[Any]) -> None:
        if self._writer is None or not values:
            return
        from tensorboard.compat.proto import summary_pb2

        try:
            self._write(step=step, summary=summary_pb2.Summary(value=values))
        except OSError as error:
            self._stop(error)

    def _write(self, **fields: Any) -> None:
        from tensorboard.compat.proto import event_pb2

        event = event_pb2.Event(wall_time=time.time(), **fields)
        self._writer.write(event.SerializeToString())
        self._writer.flush()

    def _stop(self, error: OSError) -> None:
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()
            self._writer = None
        warnings.warn(
            f"TensorBoard's events cannot be written: {error.strerror or error}; training and "
            "metrics.jsonl go on; `strategy-rl resume` rebuilds the events",
            stacklevel=4,
        )

    def _description(self, name: str, kind: str = "scalar") -> str | None:
        """What the tag means; TensorBoard reads it from a tag's first point only."""
        if name in self._described:
            return None
        self._described.add(name)
        metric = find_metric(name, kind)
        return f"{metric.meaning} Healthy: {metric.healthy}."


def _next_path(run_dir: Path) -> Path:
    """A new name, later in the alphabet: a TensorBoard that is open notices a new file."""
    numbers = [
        int(path.name.split(".")[3])
        for path in run_dir.glob("events.out.tfevents.*.strategy_rl")
        if path.name.split(".")[3].isdecimal()
    ]
    return run_dir / f"events.out.tfevents.{max(numbers, default=0) + 1:010d}.strategy_rl"


def _layout_value() -> Any:
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.custom_scalar import metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    return summary_pb2.Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG,
        metadata=metadata.create_summary_metadata(),
        tensor=make_tensor_proto(custom_scalars_layout().SerializeToString(), dtype=np.object_),
    )


def _experiment_value(hparams: Mapping[str, Any], metrics: Sequence[str]) -> Any:
    """The tab's columns; with types but no domains, so that other runs' values can be filtered."""
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    types = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING}
    experiment = api_pb2.Experiment(
        hparam_infos=[
            api_pb2.HParamInfo(name=key, type=types.get(type(value), api_pb2.DATA_TYPE_FLOAT64))
            for key, value in sorted(hparams.items())
        ],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name), display_name=name)
            for name in metrics
        ],
    )
    content = plugin_data_pb2.HParamsPluginData(experiment=experiment)
    return summary_pb2.Summary.Value(
        tag=metadata.EXPERIMENT_TAG,
        metadata=metadata.create_summary_metadata(content),
        tensor=metadata.NULL_TENSOR,
    )


def _simple(value: Any) -> bool | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)
