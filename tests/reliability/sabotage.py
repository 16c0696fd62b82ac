"""What can be done to a child of the nursery before it starts. Arguments are JSON values."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

OPERATIONS = ("open", "write", "fsync", "rename", "remove")


def break_disk(*, at: int, number: int | None = None, trace: str | None = None) -> None:
    """The `at`-th change of the disk kills the process, or fails with an error number.

    Args:
        at: Counted from 1; 0: never.
        number: Of the error; None: the process ends at once, as under SIGKILL.
        trace: A file that gets a line for each operation.
    """
    from strategy_rl import files

    calls = 0

    def broken(name: str) -> Callable[..., Any]:
        real = getattr(files.Disk, name)

        def operation(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if trace is not None:
                with Path(trace).open("a") as file:
                    file.write(f"{name} {_name(arguments[0])}\n")
            if calls == at:
                if number is None:
                    os._exit(137)
                raise OSError(number, os.strerror(number))
            return real(files.disk, *arguments)

        return operation

    for name in OPERATIONS:
        setattr(files.disk, name, broken(name))


def _name(target: Path | BinaryIO) -> str:
    return target.name if isinstance(target, Path) else Path(target.name).name


def only_save(*, folder: str, at: int, number: int | None = None, trace: str | None = None) -> None:
    """Save checkpoint 2 in a folder on a broken disk, and do nothing else."""
    import torch

    from strategy_rl.checkpoint import Checkpoints
    from strategy_rl.errors import StorageError

    break_disk(at=at, number=number, trace=trace)
    try:
        Checkpoints(Path(folder), keep=1).save(2, {"weights": torch.full((3,), 2.0)}, {"n": 2})
    except StorageError as error:
        os.write(1, str(error).encode())
        os._exit(error.exit_code)
    os._exit(0)


def leave_out_plots() -> None:
    """Write reports without pictures."""
    import strategy_rl.report

    strategy_rl.report.write_plots = lambda *_: []  # type: ignore[attr-defined]


def full_record(*, first: int, last: int) -> None:
    """The disk takes no line of a record from the first-th attempt to the last-th."""
    from strategy_rl.logger.record import Record

    real, attempts = Record._flush, 0

    def flush(self: Record) -> None:
        nonlocal attempts
        attempts += 1
        if first <= attempts <= last:
            raise OSError(28, os.strerror(28))
        real(self)

    Record._flush = flush  # type: ignore[method-assign]


def signal_at(
    *, place: str, signums: Sequence[int], call: int = 1, ignored: Sequence[int] = ()
) -> None:
    """The process sends itself signals when a function is called for the call-th time.

    Args:
        place: `module:function` or `module:Class.method`.
        signums: One after the other.
        call: Counted from 1.
        ignored: Signals that are ignored from outside, as `nohup` does.
    """
    for signum in ignored:
        signal.signal(signum, signal.SIG_IGN)
    before(place, lambda: [os.kill(os.getpid(), signum) for signum in signums], call)


def before(place: str, action: Callable[[], object], call: int = 1) -> None:
    """Do something before a function, `module:function` or `module:Class.method`, is called."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner: Any = import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    real, calls = getattr(owner, name), 0

    def wrapped(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            action()
        return real(*arguments, **options)

    setattr(owner, name, wrapped)


def speak_to_nobody() -> None:
    """The reader of what it prints has gone, as after `2>&1 | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - it lives as long as the process
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115


def mend() -> None:
    """The faulty task is repaired; its settings stay as they were."""
    from reliability_tasks import Drift

    Drift.mended = True


def limit_file_size(*, size: int, place: str) -> None:
    """From the first call of a function on, no file may grow beyond so many bytes."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before(place, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))


def use_up_memory(*, place: str) -> None:
    """The first call of a function asks torch for more than there can be."""
    import torch

    before(place, lambda: torch.empty(10**16))


def spoil_weights(*, place: str) -> None:
    """Every policy that is made before a function is first called then has weights of nan."""
    import torch

    from strategy_rl.generation import TextPolicy
    from strategy_rl.policy import Policy

    policies: list[Policy | TextPolicy] = []
    makers: dict[type, Any] = {kind: kind.__init__ for kind in (Policy, TextPolicy)}  # type: ignore[misc]

    def noted(policy: Any, *arguments: Any, **options: Any) -> None:
        makers[type(policy)](policy, *arguments, **options)
        policies.append(policy)

    def spoil() -> None:
        for policy in policies:
            for parameter in policy.network.parameters():
                parameter.data.fill_(torch.nan)

    for kind in makers:
        setattr(kind, "__init__", noted)  # noqa: B010 - as mypy wants it
    before(place, spoil)


def forget(*, names: Sequence[str]) -> None:
    """A resume leaves a part of the state as a fresh run has it.

    Args:
        names: Tensors, or one counter as `counters.NAME`.
    """
    from strategy_rl.training import TrainingState

    real = TrainingState.load

    def load(self: TrainingState, tensors: dict[str, Any], counters: dict[str, Any]) -> None:
        fresh = self.tensors()
        kept = {name: tensor for name, tensor in tensors.items() if name not in names}
        kept |= {name: fresh[name] for name in names if name in fresh}
        # A fresh optimizer has no moments: they begin at 0.
        moments = [name for name in names if name.startswith("optimizer.")]
        kept |= {name: tensors[name] * 0 for name in moments}
        fresh_counters = {key: self.counters[key] for key in counters if f"counters.{key}" in names}
        real(self, kept, {**counters, **fresh_counters})

    TrainingState.load = load  # type: ignore[method-assign]
