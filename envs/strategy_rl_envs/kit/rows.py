"""All rows of a data file, read once a process. Knows no task."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from strategy_rl_envs.kit.reader import read_records
from strategy_rl_envs.kit.record import Record, Tally

RowT = TypeVar("RowT")
ViewT = TypeVar("ViewT", bound=Hashable)
ReadRow: TypeAlias = Callable[[Record, ViewT, Tally], Iterable[RowT]]


@dataclass(frozen=True, eq=False)
class Split(Generic[RowT]):
    """All rows of a file. It is equal to itself alone, so that caches may go by it.

    Attributes:
        rows: In the order of the file.
        counts: Rows used, skipped and changed, by reason.
        fingerprint: SHA-256 of the file's bytes.
    """

    rows: tuple[RowT, ...]
    counts: dict[str, int]
    fingerprint: str


def read_split(path: Path, view: ViewT, read: ReadRow[ViewT, RowT]) -> Split[RowT]:
    """Read a file whose lines have an `id` each; the same file and view are read once a process.

    Args:
        path: JSONL, CSV or parquet.
        view: What `read` is told.
        read: A function of a module: makes rows of a line, none where it cannot be used, and
            counts them.

    Raises:
        DataError: The file or a row cannot be used, an id stands twice, or more than half of the
            rows are skipped.
    """
    try:
        stat = path.stat()
    except OSError:
        return _read(path, (0, 0), view, read)  # the reader says what is wrong
    return _read(path, (stat.st_mtime_ns, stat.st_size), view, read)


@lru_cache(maxsize=16)
def _read(path: Path, stamp: tuple[int, int], view: Any, read: ReadRow[Any, RowT]) -> Split[RowT]:
    tally = Tally()
    rows: list[RowT] = []
    seen: set[str] = set()
    for record in read_records(path):
        name = record.text("id")
        if name in seen:
            raise record.fault("id", f"{name!r} stands twice in the file")
        seen.add(name)
        rows.extend(read(record, view, tally))
    tally.close(str(path))
    with path.open("rb") as file:
        fingerprint = hashlib.file_digest(file, "sha256").hexdigest()
    return Split(tuple(rows), tally.counts(), fingerprint)
