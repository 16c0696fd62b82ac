"""A run's folder while it is being worked in: records, checkpoints, signals.

Implements the hooks that the training loops call. Knows nothing of what is trained.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from strategy_rl import files
from strategy_rl.checkpoint import Checkpoint, Checkpoints
from strategy_rl.config import Experiment
from strategy_rl.episodes import Episode
from strategy_rl.errors import CheckpointError, Interrupted
from strategy_rl.folder import (
    changes,
    deciding_fields,
    note_environment,
    remove_leftovers,
    some,
    status_kept,
)
from strategy_rl.logger import METRICS_FILE, EpisodeLog, MetricsLogger
from strategy_rl.training import TrainingState

SIGNALS = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if os.name != "nt" else ()))

log = logging.getLogger(__name__)


class Session:
    """The one process that works in a run's folder.

    Attributes:
        path: The folder.
        checkpoint: What to go on from; None at the start.
    """

    def __init__(self, path: Path, experiment: Experiment, signals: Signals) -> None:
        self.path = path
        self.experiment = experiment
        self._checkpoints = Checkpoints(path, experiment.checkpoint.keep)
        self.checkpoint: Checkpoint | None = self._checkpoints.load_newest()
        self._serial = self.checkpoint.number if self.checkpoint else 0
        self._stage = "prepare"
        self._bar: Any = None
        self._signals = signals
        self._identity: dict[str, Any] = {}
        self.pin("config", deciding_fields(experiment))  # refuses before anything is cut
        self.logger = MetricsLogger(
            path, tensorboard=experiment.logging.tensorboard, resume_offset=self._metrics_offset()
        )
        # At once: what was written after the checkpoint goes, even where nothing more is kept.
        kept = self.checkpoint.state.get("episode_offsets", {}) if self.checkpoint else {}
        self._episode_logs = {name: self._episode_log(name, size) for name, size in kept.items()}

    # The hooks of the training loops.

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Record scalars under their full names."""
        self.logger.log(self._stage, step, scalars)

    def log_histogram(self, step: int, name: str, values: np.ndarray) -> None:
        """Record a distribution of values."""
        self.logger.log_histogram(self._stage, step, name, values)

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Move the bar of the stage; a terminal that is gone stops nothing."""
        with suppress(OSError):
            if self._bar is None:
                self._bar = tqdm(total=total, desc=self._stage, disable=None, leave=True)
            self._bar.total = total
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)

    def safe_point(self, state: TrainingState, *, due: bool, exact: bool = True) -> None:
        """Save where it is due, or where a signal waits; then heed the signal.

        With `exact` false a checkpoint between the due ones would change what follows, so a
        signal falls back on the last one.
        """
        if due or (self._signals.came is not None and exact):
            self._serial += 1
            self._checkpoints.save(
                self._serial,
                state.tensors(),
                {
                    "stage": self._stage,
                    "counters": state.counters,
                    "metrics_offset": self.logger.offset,
                    "episode_offsets": {
                        name: kept.offset for name, kept in self._episode_logs.items()
                    },
                    "identity": self._identity,
                },
            )
        self.heed_signals()

    def log_episodes(self, name: str, episodes: Iterable[Episode]) -> None:
        """Add episodes to `episodes/NAME-*.jsonl`."""
        if name not in self._episode_logs:
            self._episode_logs[name] = self._episode_log(name, 0)
        self._episode_logs[name].add(episodes)

    def _episode_log(self, name: str, keep_bytes: int) -> EpisodeLog:
        header = {"task": self.experiment.task.id, "split": name}
        return EpisodeLog(self.path / "episodes", name, header, keep_bytes)

    def close(self) -> None:
        """Close the records."""
        self.logger.close()
        for log_file in self._episode_logs.values():
            log_file.close()

    # The stages.

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Name the stage that what follows belongs to, and take its time."""
        self._stage = name
        log.info("%s ...", name)
        started = time.monotonic()
        try:
            yield
        finally:
            if self._bar is not None:
                with suppress(OSError):
                    self._bar.close()
                self._bar = None
        self.logger.log_time(name, 0, {f"time/{name}_seconds": time.monotonic() - started})

    def restore(self, state: TrainingState) -> TrainingState:
        """Put the checkpoint into `state` if it is of this stage."""
        if self.checkpoint is not None and self.checkpoint.state["stage"] == self._stage:
            state.load(self.checkpoint.tensors, self.checkpoint.state["counters"])
            log.info("going on from checkpoint %d", self.checkpoint.number)
        return state

    def is_past(self, stage: str) -> bool:
        """Whether the checkpoint belongs to a later stage than `stage`."""
        order = ("sft", "ppo")
        if self.checkpoint is None:
            return False
        return order.index(self.checkpoint.state["stage"]) > order.index(stage)

    def pin(self, name: str, value: Any) -> None:
        """Make a digest, or plain values, part of every checkpoint; a resume must meet the same.

        Raises:
            CheckpointError: The checkpoint was made with another one.
        """
        self._identity[name] = value
        saved = self.checkpoint.state["identity"].get(name) if self.checkpoint else None
        other = [] if saved is None else list(changes(saved, value, name))
        if other:
            raise CheckpointError(
                f"{self.path}: its checkpoint was made with another {name}: {some(other)}; put the "
                f"old {name} back, or start a new run"
            )

    def _metrics_offset(self) -> int | None:
        """Where the record goes on.

        Raises:
            CheckpointError: The record has lost what was written before the checkpoint.
        """
        if self.checkpoint is None:
            return None
        offset, record = int(self.checkpoint.state["metrics_offset"]), self.path / METRICS_FILE
        size = record.stat().st_size if record.is_file() else 0
        if size < offset:
            raise CheckpointError(
                f"{record} holds {size} bytes, its checkpoint {self.checkpoint.number} was made "
                f"after {offset}; put the whole file back, or start a new run"
            )
        return offset

    def heed_signals(self) -> None:
        """Leave if a signal has come.

        Raises:
            Interrupted: One has.
        """
        if self._signals.came is not None:
            raise Interrupted(self._signals.came)


class Signals:
    """Holds signals back for the next safe point; a second one ends the process at once.

    Attributes:
        came: The signal that waits, or None.
    """

    def __init__(self) -> None:
        self.came: int | None = None

    @contextmanager
    def held(self) -> Iterator[Signals]:
        """Hold them back while the block works.

        A signal that is ignored from outside, as SIGHUP is under `nohup`, stays ignored.
        """
        in_main_thread = threading.current_thread() is threading.main_thread()
        foreign = (signal.SIG_IGN, None)  # None: a handler that Python did not install
        mine = [s for s in SIGNALS if in_main_thread and signal.getsignal(s) not in foreign]
        handlers = {signum: signal.signal(signum, self._take) for signum in mine}
        try:
            yield self
        finally:
            for signum, handler in handlers.items():
                signal.signal(signum, handler)

    def _take(self, signum: int, frame: FrameType | None) -> None:
        if self.came is not None:
            os._exit(128 + signum)  # asked twice: leave now, the last checkpoint is whole
        self.came = signum
        log.warning("signal %d: stopping at the next safe point; again to leave at once", signum)


@contextmanager
def working_in(path: Path, experiment: Experiment) -> Iterator[Session]:
    """Work in a run's folder, alone; `status.json` tells how it goes and how it ended.

    Raises:
        RunError: Another process works there.
        CheckpointError: No checkpoint is good, or it does not belong to this experiment.
    """
    # Signals are held the longest: none comes between the last stage and the status "complete".
    with Signals().held() as signals, files.locked(path), status_kept(path):
        remove_leftovers(path)
        session = Session(path, experiment, signals)
        try:
            note_environment(path)
            yield session
        finally:
            session.close()
