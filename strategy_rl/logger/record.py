"""A file of JSON lines that outlives a full disk. Knows nothing of what the lines mean."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from strategy_rl.episodes import json_line
from strategy_rl.errors import RunError
from strategy_rl.files import storage_errors

# Kept in memory while the disk refuses them: lines, and bytes of them.
MAX_PENDING, MAX_PENDING_BYTES = 10_000, 64 << 20


class Record:
    """Appends lines; those that the disk refuses wait in memory and are tried again.

    Training must not die because of a metric (a full disk): an OSError warns once.
    """

    def __init__(self, path: Path, *, keep_bytes: int = 0) -> None:
        """Opens `path` and cuts it after `keep_bytes` (or its last whole line before them).

        Raises:
            StorageError: the file cannot be opened; at the start that is no small matter.
        """
        self._path = path
        self._pending: list[bytes] = []
        self._warned = False
        with storage_errors(path):
            self._file = path.open("ab", buffering=0)
            self._size = self._cut(keep_bytes)

    @property
    def size(self) -> int:
        """Bytes of whole lines that were written."""
        return self._size

    @property
    def offset(self) -> int:
        """Bytes of whole lines that are on the disk, synced."""
        try:
            self._flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self._warn(error)
        return self._size

    def append(self, entry: Mapping[str, Any]) -> None:
        """Adds one line."""
        self._pending.append(json_line(entry))
        try:
            self._flush()
        except OSError as error:
            self._warn(error)
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        """What is too much; a first line that is not on the disk yet, a header perhaps, stays."""
        header = self._pending[:1] if not self._size else []
        lines = self._pending[len(header) :][-MAX_PENDING:]
        size = sum(map(len, lines))
        while size > MAX_PENDING_BYTES and len(lines) > 1:
            size -= len(lines.pop(0))
        self._pending = header + lines

    def close(self) -> None:
        """Writes what still waits, if the disk takes it."""
        try:
            self._flush()
        except OSError as error:
            self._warn(error)
        finally:
            self._file.close()

    def _flush(self) -> None:
        while self._pending:
            line = memoryview(self._pending[0])
            try:
                while line:
                    line = line[self._file.write(line) :]
            except OSError:
                os.ftruncate(self._file.fileno(), self._size)  # no half line stays behind
                raise
            self._size += len(self._pending.pop(0))

    def _cut(self, keep_bytes: int) -> int:
        kept = self._path.read_bytes()[:keep_bytes]
        size = kept.rfind(b"\n") + 1
        if size != keep_bytes:
            warnings.warn(
                f"{self._path}: {size} bytes of whole lines where the checkpoint expects "
                f"{keep_bytes}; the record has a gap, training is not affected",
                stacklevel=4,
            )
        os.ftruncate(self._file.fileno(), size)
        return size

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._path}: {error.strerror or error}; training goes on, the lines wait in "
                "memory; free some space",
                stacklevel=4,
            )


def read_record(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a record; a half-written last one is left out. None where there is no file.

    Raises:
        RunError: a whole line is not a JSON object; names file and line.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                entry = json.loads(line)
            except ValueError as error:
                raise RunError(f"{path}:{number}: not JSON: {error}; restore the file") from error
            if not isinstance(entry, dict):
                raise RunError(f"{path}:{number}: expected an object, got {line[:40]!r}")
            yield entry
