"""A run's folder: how it begins, what it says about itself. Knows nothing of training."""

from __future__ import annotations

import logging
import platform
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from strategy_rl import files
from strategy_rl.config import Experiment, dump_yaml, load_experiment, shorten
from strategy_rl.errors import InputError, Interrupted, MemoryFault, RunError, StorageError
from strategy_rl.imports import load_imports

CONFIG, SEEDS = "config.yaml", "seeds.json"
STATUS, ENVIRONMENT = "status.json", "environment.json"
_PACKAGES = ("strategy-rl", "torch", "transformers", "gymnasium", "numpy", "peft")

_CHECKOUT = Path(__file__).resolve().parent.parent

log = logging.getLogger(__name__)


def prepare_folder(path: Path, experiment: Experiment, seeds: Sequence[int] | None = None) -> None:
    """Make a run's folder with its resolved configuration, written last: it makes it a run.

    Raises:
        RunError: There is something already.
    """
    refuse_used(path)
    files.make_folder(path)
    with files.locked(path), files.storage_errors(path):
        refuse_used(path)  # another process may have been faster
        files.remove_temporaries(path)
        (path / SEEDS).unlink(missing_ok=True)
        if seeds is not None:
            files.write_json(path / SEEDS, {"seeds": list(seeds)})
        files.write_text(path / CONFIG, dump_yaml(experiment))


def refuse_used(path: Path) -> None:
    """Leave alone what is there already; the rests of a start that was killed are nothing.

    Raises:
        RunError: Something is there.
    """
    if path.exists() and not path.is_dir():
        raise RunError(f"{path} is no folder; choose another one with --out")
    with files.storage_errors(path):
        found = [child.name for child in path.iterdir()] if path.is_dir() else []
    rests = (SEEDS, files.LOCK_NAME)
    if any(name not in rests and not files.is_temporary(name) for name in found):
        raise RunError(
            f"{path} exists already; go on with `strategy-rl resume {path}`, or choose another "
            "folder with --out"
        )


def remove_leftovers(path: Path) -> None:
    """Remove what interrupted writes left; for the owner of the run only."""
    with files.storage_errors(path):
        for folder in (path, *(child for child in path.iterdir() if child.is_dir())):
            files.remove_temporaries(folder)


def read_status(path: Path) -> str | None:
    """`running`, `complete`, `preempted`, `failed`; None where nothing ran or it is damaged."""
    if not (path / STATUS).is_file():
        return None
    try:
        return str(files.read_json(path / STATUS)["status"])
    except (InputError, KeyError, TypeError):
        log.warning("%s is damaged; the checkpoints tell how far the run is", path / STATUS)
        return None


@contextmanager
def status_kept(path: Path) -> Iterator[None]:
    """Keep `status.json` true while the block works; stray errors get names and exit codes.

    Raises:
        MemoryFault: Memory ran out.
        StorageError: A file could not be read or written.
    """
    _write_status(path, "running")
    try:
        with _named_errors(path):
            yield
    except BaseException as error:
        status = "preempted" if isinstance(error, Interrupted) else "failed"
        with suppress(StorageError):  # a full disk may be the very reason
            _write_status(path, status, f"{type(error).__name__}: {error}")
        raise
    _write_status(path, "complete")


def note_environment(path: Path) -> None:
    """Write down where the run works; say so where it began elsewhere."""
    now = describe_environment()
    with suppress(InputError, StorageError):
        before = files.read_json(path / ENVIRONMENT)
        moved = list(changes({name: before.get(name) for name in now}, now))
        if moved:
            log.warning(
                "this run began elsewhere, so its last digits may differ from those of a run that "
                "never stopped: %s",
                some(moved),
            )
    files.write_json(path / ENVIRONMENT, now)


def describe_environment() -> dict[str, Any]:
    """Versions, hardware and threads: what byte-equality across runs depends on."""
    return {
        "python": platform.python_version(),
        "git_commit": _git_commit(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def experiment_of(path: Path, *, trust_imports: bool) -> Experiment:
    """The experiment of a run's folder, with the Python files that it needs.

    Raises:
        RunError: It is no run folder.
        InputError: It names Python files that were never run from an experiment file here.
    """
    if not (path / CONFIG).is_file():
        raise RunError(f"{path} is no run folder: it holds no {CONFIG}")
    experiment = load_experiment(path / CONFIG)
    load_imports(experiment.imports, trust=trust_imports)
    return experiment


def deciding_fields(experiment: Experiment) -> dict[str, Any]:
    """All that decides the result; what is only shown or kept is left out."""
    left_out: Any = {
        "name": True,
        "logging": True,
        "backbone": {"cache_dir", "cache_max_mb"},
        "checkpoint": {"keep"},
    }
    return experiment.model_dump(mode="json", exclude=left_out)


def changes(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """What differs between two trees of plain values, one line a leaf."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        if before != now:
            yield f"{name} was {shorten(before)}, is {shorten(now)}"
        return
    for key in sorted(before.keys() | now.keys()):
        place = f"{name}.{key}" if name else key
        yield from changes(before.get(key), now.get(key), place)


def some(lines: Sequence[str]) -> str:
    """The first few of many."""
    more = f" and {len(lines) - 5} more" if len(lines) > 5 else ""
    return "; ".join(lines[:5]) + more


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and "DefaultCPUAllocator" not in str(error):
            raise
        raise MemoryFault(
            f"out of memory: {error}; use smaller minibatches or a smaller model"
        ) from error
    except OSError as error:
        with files.storage_errors(Path(error.filename or path)):
            raise


def _write_status(path: Path, status: str, reason: str = "") -> None:
    files.write_json(path / STATUS, {"status": status, "reason": reason})


def _git_commit() -> str | None:
    """The commit of the checkout that this package runs from; None where it is none."""
    if not (_CHECKOUT / ".git").exists():  # else git would name a repository around it
        return None
    try:
        command = ["git", "-C", str(_CHECKOUT), "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
