"""Rows out of JSONL, CSV and parquet files, one at a time. Knows no task.

Every fault names file, line and field. A line is capped in bytes, so no file can fill the memory.
CSV fields are always text: `001` stays `001`, `NA` stays `NA`.
"""

from __future__ import annotations

import csv
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from strategy_rl_envs.kit.errors import DataError, choices
from strategy_rl_envs.kit.record import Record
from strategy_rl_envs.kit.text import is_encodable

MAX_LINE_BYTES = 16 * 2**20
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


def read_records(path: str | Path, *, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[Record]:
    """Yield the rows of a `.jsonl`, `.csv` or `.parquet` file in their order.

    Raises:
        DataError: the file is missing, no regular file, of another type, without rows, or a row
            of it cannot be read.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path, int], Iterator[Record]]] = {
        ".jsonl": _read_jsonl,
        ".csv": _read_csv,
        ".parquet": _read_parquet,
    }
    if path.suffix not in readers:
        raise DataError(f"{path}: cannot read {path.suffix or 'a file without suffix'!r}; "
                        f"known: {', '.join(readers)}")  # fmt: skip
    _require_regular_file(path)
    empty = True
    for record in readers[path.suffix](path, max_line_bytes):
        empty = False
        yield record
    if empty:
        raise DataError(f"{path}: the file has 0 rows; expected at least one")


def _require_regular_file(path: Path) -> None:
    """Refuse what cannot be read to an end, before it is opened: a FIFO would block for ever."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        beside = [other.name for other in path.parent.glob("*")] if path.parent.is_dir() else []
        raise DataError(
            f"{path}: {error.strerror}; {choices(path.name, sorted(beside)[:20])}"
        ) from error
    if not stat.S_ISREG(mode):
        kind = "a directory" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise DataError(f"{path}: is {kind}; expected a regular file")


def _lines(path: Path, max_line_bytes: int) -> Iterator[tuple[int, str]]:
    """Yield (number, text with its line end) of each line, decoded as UTF-8."""
    offset = 0
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(max_line_bytes + 1):
            number += 1
            if len(raw) > max_line_bytes:
                raise DataError(f"{path}:{number}: the line is longer than {max_line_bytes} bytes")
            yield number, _decode(path, number, offset, raw)
            offset += len(raw)


def _decode(path: Path, number: int, offset: int, raw: bytes) -> str:
    """Decode one line; `offset` is where it begins in the file."""
    if number == 1:
        if raw.startswith(_UTF16_BOMS) or raw[1:2] == b"\0" or raw[:1] == b"\0":
            raise DataError(f"{path}:1: looks like UTF-16; convert the file to UTF-8")
        raw_without_bom = raw.removeprefix(_UTF8_BOM)
        offset += len(raw) - len(raw_without_bom)
        raw = raw_without_bom
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{number}: invalid UTF-8: byte 0x{raw[error.start]:02x} at byte {error.start} "
            f"of the line, {offset + error.start} of the file; convert the file to UTF-8"
        ) from error


def _read_jsonl(path: Path, max_line_bytes: int) -> Iterator[Record]:
    for number, line in _lines(path, max_line_bytes):
        if line.strip():
            place = f"{path}:{number}"
            values = _parse_json(place, line)
            if "\\ud" in line.lower():
                _refuse_lone_surrogates(place, values)
            yield Record(place, values)


def _parse_json(place: str, line: str) -> dict[str, Any]:
    """Read one JSON object, refusing duplicate keys, NaN and infinities."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(items)
        if len(values) < len(items):
            twice = next(key for i, (key, _) in enumerate(items) if key in dict(items[:i]))
            raise DataError(f"{place}: key {twice!r} stands twice in one object")
        return values

    def constant(word: str) -> NoReturn:
        raise DataError(f"{place}: {word} is no number that JSON knows; expected a finite one")

    try:
        values = json.loads(line, object_pairs_hook=pairs, parse_constant=constant)
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        cut = "" if line.endswith("\n") else "; the file ends here: it may still be being written"
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DataError(f"{place}: not valid JSON: {reason}{cut}") from error
    if not isinstance(values, dict):
        raise DataError(f"{place}: expected a JSON object, got {type(values).__name__}")
    return values


def _refuse_lone_surrogates(place: str, values: dict[str, Any]) -> None:
    for field, value in values.items():
        if not is_encodable(json.dumps({field: value}, ensure_ascii=False)):
            raise DataError(
                f"{place}: {field}: holds half of a surrogate pair (\\ud800 to \\udfff), "
                "which no text can; write the whole pair or the character itself"
            )


def _read_csv(path: Path, max_line_bytes: int) -> Iterator[Record]:
    lines = (line for _, line in _lines(path, max_line_bytes))
    rows = csv.reader(lines, strict=True)
    header = _next_csv_row(path, rows)
    if header is None:
        return
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise DataError(f"{path}:1: column {sorted(twice)[0]!r} stands twice in the header")
    while (row := _next_csv_row(path, rows)) is not None:
        if not row:
            continue
        if len(row) != len(header):
            raise DataError(
                f"{path}:{rows.line_num}: {len(row)} fields, but the header has {len(header)}"
            )
        yield Record(f"{path}:{rows.line_num}", dict(zip(header, row, strict=True)))


def _next_csv_row(path: Path, rows: Any) -> list[str] | None:
    try:
        return next(rows, None)
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}: not valid CSV: {error}") from error


def _read_parquet(path: Path, max_line_bytes: int) -> Iterator[Record]:
    try:
        from pyarrow import ArrowException, parquet  # only who reads parquet needs it
    except ImportError as error:
        raise DataError(f"{path}: reading parquet needs pyarrow: pip install pyarrow") from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                for values in batch.to_pylist():
                    number += 1
                    yield Record(f"{path}:row {number}", values)
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as parquet after row {number}: {error}") from error
