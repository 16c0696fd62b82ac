"""Files that are whole or absent, whatever stops the process. Knows nothing of what is in them.

A write goes to a temporary name beside its goal, is synced, renamed and its folder synced.
Everything that changes the disk goes through `disk`, so that a test can fail or kill at any step.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from strategy_rl.config import shorten
from strategy_rl.errors import InputError, RunError, StorageError

LOCK_NAME = ".lock"
_TEMPORARY = ".tmp-"
_CHUNK = 1 << 20

_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "raise the limit on file sizes",
    errno.EACCES: "check the permissions",
    errno.EPERM: "check the permissions",
    errno.EROFS: "choose a folder that can be written",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "that is a folder; name a file",
    errno.EEXIST: "remove it, or choose another name",
    errno.ENOTEMPTY: "remove it, or choose another name",
    errno.EMFILE: "raise the limit on open files",
}


class Disk:
    """The five operations through which files change."""

    def open(self, path: Path, mode: str) -> BinaryIO:
        """Open a file in a binary mode; a new one follows the umask."""
        return path.open(mode)  # type: ignore[return-value]

    def write(self, file: BinaryIO, data: bytes) -> None:
        """Write all of `data`."""
        file.write(data)

    def fsync(self, target: BinaryIO | Path) -> None:
        """Wait until an open file, or the entries of a folder, are on the disk."""
        if not isinstance(target, Path):
            target.flush()
            os.fsync(target.fileno())
        elif os.name != "nt":  # Windows cannot sync folders
            handle = os.open(target, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def rename(self, source: Path, goal: Path) -> None:
        """Put a file in the place of `goal`, at once; a folder only where nothing is."""
        source.replace(goal)

    def remove(self, path: Path) -> None:
        """Remove a file, or a folder with what is in it; links are not followed."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


disk = Disk()


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a StorageError that names the path and what to do."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "check the disk")
        raise StorageError(f"{path}: {error.strerror or error}; {advice}") from error


def temporary_beside(path: Path) -> Path:
    """A fresh name in the same folder, which `remove_temporaries` would remove."""
    return path.with_name(f"{_TEMPORARY}{path.name}-{secrets.token_hex(4)}")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: afterwards the old or the new content is there, never a part.

    Raises:
        StorageError: the disk refused; the old content is still there.
    """
    temporary = temporary_beside(path)
    with storage_errors(path):
        try:
            with disk.open(temporary, "wb") as file:
                disk.write(file, data)
                disk.fsync(file)
            disk.rename(temporary, path)
            disk.fsync(path.parent)
        except BaseException:
            with suppress(OSError):
                disk.remove(temporary)
            raise


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically."""
    write_bytes(path, text.encode("utf-8"))


def json_bytes(value: Any) -> bytes:
    """A value as a strict JSON file; NaN and infinity raise ValueError."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically; NaN and infinity raise ValueError."""
    write_bytes(path, json_bytes(value))


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, so that a power cut does not take their names away.

    Raises:
        StorageError: the disk refused, or a file is in the way.
    """
    with storage_errors(path):
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            disk.fsync(folder.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill; it is synced and becomes `path` if the block ends well.

    Raises:
        StorageError: the disk refused, or `path` exists and is not empty.
    """
    temporary = temporary_beside(path)
    make_folder(path.parent)
    with storage_errors(path):
        try:
            temporary.mkdir()
            yield temporary
            _sync_tree(temporary)
            disk.rename(temporary, path)
            disk.fsync(path.parent)
        except BaseException:
            with suppress(OSError):
                disk.remove(temporary)
            raise


def _sync_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            with disk.open(Path(parent, name), "rb+") as file:
                disk.fsync(file)
        disk.fsync(Path(parent))


def is_temporary(name: str) -> bool:
    """Whether `temporary_beside` made the name."""
    return name.startswith(_TEMPORARY)


def remove_temporaries(folder: Path) -> None:
    """Remove what interrupted writes left directly in `folder`; only for the owner of the run."""
    with storage_errors(folder):
        for path in sorted(folder.glob(_TEMPORARY + "*")):
            disk.remove(path)


def read_json(path: Path) -> Any:
    """Read a JSON file; duplicate keys, NaN and infinity are refused.

    Raises:
        StorageError: the file cannot be read.
        InputError: the file is no such JSON.
    """
    with storage_errors(path):
        data = path.read_bytes()
    try:
        return parse_json(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}") from error


def parse_json(text: str) -> Any:
    """Values of a JSON text; ValueError also for duplicate keys, NaN and infinity."""
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {shorten(twice)} is given twice")
    return values


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with storage_errors(path), path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of a value as strict JSON, in hexadecimal."""
    return hashlib.sha256(json_bytes(value)).hexdigest()


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from using a run folder; a lock whose owner has died is replaced.

    Raises:
        RunError: another process uses the folder.
        StorageError: the disk refused.
    """
    path = folder / LOCK_NAME
    with storage_errors(path):
        owner = _acquire(path)
    try:
        yield
    finally:
        with suppress(OSError):
            if _read_owner(path) == owner:
                disk.remove(path)


def _acquire(path: Path) -> dict[str, Any]:
    owner = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": _start_of(os.getpid()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    while True:
        try:
            with disk.open(path, "xb") as file:
                disk.write(file, json.dumps(owner).encode())
                disk.fsync(file)
            return owner
        except FileExistsError:
            _set_stale_aside(path)


def _set_stale_aside(path: Path) -> None:
    """Remove a dead owner's lock; raise RunError where the owner lives."""
    seen = _read_owner(path)
    if seen is not None and _alive(seen):
        who = f"process {seen.get('pid')} on {seen.get('host')} since {seen.get('since')}"
        raise RunError(f"{path.parent} is in use by {who}; wait, or delete {path} if it is gone")
    aside = temporary_beside(path)
    with suppress(FileNotFoundError):
        disk.rename(path, aside)
        if _read_owner(aside) != seen:  # another process was faster and this is its lock
            disk.rename(aside, path)
        else:
            disk.remove(aside)


def _read_owner(path: Path) -> dict[str, Any] | None:
    for _ in range(5):
        with suppress(OSError, ValueError):
            owner = parse_json(path.read_text("utf-8"))
            if isinstance(owner, dict):
                return owner
        time.sleep(0.05)  # its owner may be about to write it
    return None


def _alive(owner: dict[str, Any]) -> bool:
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname() or not isinstance(pid, int) or os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return _start_of(pid) == owner.get("started")


def _start_of(pid: int) -> str | None:
    """When a process started, in kernel ticks; "ended" for a zombie, None off Linux."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return "ended" if fields[0] in "ZX" else fields[19]
