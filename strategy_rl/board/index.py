"""An index of one episodes file: where each line is and what a list shows of it.

Only appended bytes are read again. A last line without its end is left for later. A file that
shrank, was replaced or changed in what was read already is read anew.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
import zlib
from collections.abc import Iterator
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from strategy_rl.board.faults import RequestError
from strategy_rl.board.heads import Head, parse_heads, parse_line, reasons_of

SCHEMA = 1
LINE_BITS = 21  # 32 bits of the file's name and 21 of the line are a number that browsers hold

_BATCH = 1000  # lines that appear together
_EDGE = 256  # bytes at both ends by which a file is known again

log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """One episode: its head, which is JSON, and where its line is."""

    head: Head
    file: FileIndex
    offset: int
    size: int


class FileIndex:
    """The episodes of one file; `update` by one thread, everything else by any.

    Attributes:
        header: The first line.
        base: The keys of this file's episodes are base + line, the header being line 0.
        scaled_values: Whether values are in other units than rewards; `value_error` is None then.
    """

    def __init__(self, path: Path, scaled_values: bool = False) -> None:
        self.path, self.scaled_values = path, scaled_values
        self.base = zlib.crc32(path.name.encode("utf-8", "replace")) << LINE_BITS
        self._lock = threading.Lock()
        self._mark: tuple[int, int, int] | None = None
        self._clear()

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> list[Entry]:
        """All episodes, in the order of the file."""
        with self._lock:
            return list(self._entries.values())

    def entry(self, key: int) -> Entry | None:
        """The episode with a key, if it is of this file."""
        with self._lock:
            return self._entries.get(key)

    def named(self) -> dict[str, dict[Any, None]]:
        """What the episodes can be filtered by: values by facet, in order of appearance."""
        with self._lock:
            return {name: dict(seen) for name, seen in self._named.items()}

    def update(self) -> bool:
        """Read what is new; gives whether anything changed.

        Raises:
            OSError: The file cannot be read.
        """
        status = os.stat(self.path)
        mark = (status.st_ino, status.st_size, status.st_mtime_ns)
        if mark == self._mark or not stat.S_ISREG(status.st_mode):
            return False
        with self.path.open("rb") as file:
            if self._mark is not None and not self._goes_on(file, mark):
                self._clear()
            changed = self._read(file)
        self._mark = mark
        return changed

    def _clear(self) -> None:
        with self._lock:
            self._entries: dict[int, Entry] = {}
            self._named: dict[str, dict[Any, None]] = {}
        self.header: dict[str, Any] | None = None
        self._end = 0  # of the lines that were read
        self._lines = 0
        self._edges = (b"", b"")

    def _goes_on(self, file: BinaryIO, mark: tuple[int, int, int]) -> bool:
        """Whether what was read is still there, and more behind it."""
        assert self._mark is not None
        same_file, grew = mark[0] == self._mark[0], mark[1] > self._mark[1]
        return same_file and grew and self._read_edges(file) == self._edges

    def _read_edges(self, file: BinaryIO) -> tuple[bytes, bytes]:
        size = min(self._end, _EDGE)
        first = _read_at(file, 0, size)
        return first, _read_at(file, self._end - size, size)

    def _read(self, file: BinaryIO) -> bool:
        """Read whole lines from where the last reading ended."""
        file.seek(self._end)
        lines = (line for line in file if line.endswith(b"\n"))
        if self._lines == 0:
            first = next(lines, None)
            if first is None:
                return False
            self._begin(first)
        usable = self.header is not None
        changed = False
        while usable and (batch := list(islice(lines, _BATCH))):
            self._add(batch)
            changed = True
        self._edges = self._read_edges(file)
        return changed

    def _begin(self, line: bytes) -> None:
        header = parse_line(line)
        self._lines, self._end = 1, len(line)
        schema = None if header is None else header.get("schema")
        if schema == SCHEMA:
            self.header = header
        else:
            log.warning("%s is left out: schema is %r, expected %d", self.path, schema, SCHEMA)

    def _add(self, lines: list[bytes]) -> None:
        heads = parse_heads(lines)
        entries: dict[int, Entry] = {}
        for line, head in zip(lines, heads, strict=True):
            if head is not None and self._lines < 1 << LINE_BITS:
                head["key"] = self.base + self._lines
                head["value_error"] = None if self.scaled_values else head["value_error"]
                entries[head["key"]] = Entry(head, self, self._end, len(line))
            self._lines += 1
            self._end += len(line)
        if len(entries) < len(lines):
            log.warning("%s: %d lines are no episodes", self.path, len(lines) - len(entries))
        found = _facets([entry.head for entry in entries.values()])
        with self._lock:
            self._entries.update(entries)
            for name, seen in found.items():
                self._named.setdefault(name, {}).update(seen)


def _facets(heads: list[Head]) -> dict[str, dict[Any, None]]:
    found: dict[str, dict[Any, None]] = {
        name: dict.fromkeys(head[name] for head in heads)
        for name in ("stage", "split", "policy", "iteration", "kind")
    }
    for name in ("actions", "components"):
        found[name] = dict.fromkeys(chain.from_iterable(head[name] for head in heads))
    selected = [reasons_of(head) for head in heads if head["selection"] is not None]
    found["reasons"] = dict.fromkeys(chain.from_iterable(selected))
    return found


def read_whole(entry: Entry) -> dict[str, Any]:
    """An episode with its steps.

    Raises:
        RequestError: The file changed since it was indexed.
    """
    return next(read_many([entry]))


def read_many(entries: list[Entry]) -> Iterator[dict[str, Any]]:
    """Episodes with their steps, in order.

    Raises:
        RequestError: A file changed since it was indexed.
    """
    for entry, line in zip(entries, read_lines(entries), strict=True):
        yield _parsed(entry, line)


def read_lines(entries: list[Entry]) -> Iterator[bytes]:
    """The lines of episodes, in order; each file stays open while its turn lasts.

    Raises:
        RequestError: A file is gone.
    """
    for path, group in groupby(entries, key=lambda entry: entry.file.path):
        with _open(path) as file:
            for entry in group:
                yield _read_at(file, entry.offset, entry.size)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise RequestError(f"{path.name}: {error.strerror}; reload the list", 404) from error


def _parsed(entry: Entry, line: bytes) -> dict[str, Any]:
    fields = parse_line(line)
    name = entry.head["episode_id"]
    if fields is None or fields.get("episode_id") != name:
        raise RequestError(f"episode {name!r} is no longer in its file; reload the list", 404)
    return fields


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
