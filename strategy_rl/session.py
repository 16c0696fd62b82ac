"""A run's folder while it is being worked in: records, checkpoints, signals, status.

Implements the hooks that the training loops call. Knows nothing of what is trained.
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from strategy_rl import files
from strategy_rl.checkpoint import Checkpoint, Checkpoints
from strategy_rl.config import Experiment, dump_yaml
from strategy_rl.errors import CheckpointError, Interrupted, RunError, StrategyRLError
from strategy_rl.logger import MetricsLogger
from strategy_rl.training import TrainingState

CONFIG, STATUS, ENVIRONMENT = "config.yaml", "status.json", "environment.json"
SIGNALS = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if os.name != "nt" else ()))

log = logging.getLogger(__name__)


class Session:
    """The one process that works in a run's folder.

    Attributes:
        path: The folder.
        checkpoint: What to go on from; None at the start.
    """

    def __init__(self, path: Path, experiment: Experiment) -> None:
        self.path = path
        self.experiment = experiment
        self._checkpoints = Checkpoints(path, experiment.checkpoint.keep)
        self.checkpoint: Checkpoint | None = self._checkpoints.load_newest()
        self._serial = self.checkpoint.number if self.checkpoint else 0
        self._stage = "prepare"
        self._bar: Any = None
        self._signum: int | None = None
        self._identity: dict[str, Any] = {"config": config_digest(experiment)}
        offset = self.checkpoint.state["metrics_offset"] if self.checkpoint else None
        self.logger = MetricsLogger(
            path, tensorboard=experiment.logging.tensorboard, resume_offset=offset
        )
        self._compare("config", self._identity["config"])

    # The hooks of the training loops.

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Record scalars under their full names."""
        self.logger.log(self._stage, step, scalars)

    def log_histogram(self, step: int, name: str, values: np.ndarray) -> None:
        """Record a distribution of values."""
        self.logger.log_histogram(self._stage, step, name, values)

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Move the bar of the stage."""
        if self._bar is None:
            self._bar = tqdm(total=total, desc=self._stage, disable=None, leave=True)
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)

    def safe_point(self, state: TrainingState, *, due: bool, exact: bool = True) -> None:
        """Save where it is due, or where a signal waits; then heed the signal.

        With `exact` false a checkpoint between the due ones would change what follows, so a
        signal falls back on the last one.
        """
        if due or (self._signum is not None and exact):
            self._serial += 1
            self._checkpoints.save(
                self._serial,
                state.tensors(),
                {
                    "stage": self._stage,
                    "counters": state.counters,
                    "metrics_offset": self.logger.offset,
                    "identity": self._identity,
                },
            )
        self.heed_signals()

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

    def pin(self, name: str, digest: str) -> None:
        """Make a digest part of every checkpoint; a resume must meet the same one.

        Raises:
            CheckpointError: The checkpoint was made with another one.
        """
        self._identity[name] = digest
        self._compare(name, digest)

    def _compare(self, name: str, digest: str) -> None:
        saved = self.checkpoint.state["identity"].get(name) if self.checkpoint else None
        if saved is not None and saved != digest:
            raise CheckpointError(
                f"{self.path}: its checkpoint was made with another {name} (digest {saved[:12]}, "
                f"now {digest[:12]}); put the old {name} back, or start a new run"
            )

    # Signals and status.

    def heed_signals(self) -> None:
        """Leave if a signal has come.

        Raises:
            Interrupted: One has.
        """
        if self._signum is not None:
            raise Interrupted(self._signum)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._signum is not None:
            os._exit(128 + signum)  # asked twice: leave now, the last checkpoint is whole
        self._signum = signum
        log.warning("signal %d: stopping at the next safe point; again to leave at once", signum)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Keep status and signal handlers while the block works."""
        files.write_json(self.path / ENVIRONMENT, describe_environment())
        self._status("running")
        handlers = (
            {s: signal.signal(s, self._on_signal) for s in SIGNALS}
            if threading.current_thread() is threading.main_thread()
            else {}
        )
        try:
            yield
        except Interrupted as interruption:
            self._status("preempted", str(interruption))
            raise
        except (StrategyRLError, MemoryError, OSError) as error:
            self._status("failed", f"{type(error).__name__}: {error}")
            raise
        except BaseException as error:
            self._status("failed", f"{type(error).__name__}: {error}")
            raise
        else:
            self._status("complete")
        finally:
            for signum, handler in handlers.items():
                signal.signal(signum, handler)
            self.logger.close()

    def _status(self, status: str, reason: str = "") -> None:
        files.write_json(self.path / STATUS, {"status": status, "reason": reason})


def prepare_folder(path: Path, experiment: Experiment) -> None:
    """Make a run's folder with its resolved configuration.

    Raises:
        RunError: There is something already.
    """
    if path.exists() and any(path.iterdir()):
        raise RunError(
            f"{path} exists already; go on with `strategy-rl resume {path}`, or choose another "
            "folder with --out"
        )
    with files.storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    files.write_text(path / CONFIG, dump_yaml(experiment))


def read_status(path: Path) -> str | None:
    """`running`, `complete`, `preempted`, `failed`; None where nothing ran."""
    if not (path / STATUS).is_file():
        return None
    return str(files.read_json(path / STATUS)["status"])


def config_digest(experiment: Experiment) -> str:
    """A fingerprint of all that decides the result; what is only shown or kept is left out."""
    fields = experiment.model_dump(mode="json", exclude={"name", "logging"})
    return files.digest_of(fields)


def describe_environment() -> dict[str, Any]:
    """Versions, hardware and threads: what byte-equality across runs depends on."""
    packages = ("strategy-rl", "torch", "transformers", "gymnasium", "numpy", "peft")
    return {
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages if _installed(name)},
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _installed(name: str) -> bool:
    try:
        version(name)
    except ImportError:
        return False
    return True
