"""Rows of a user's own file, by the names of its fields. Knows nothing of Gymnasium."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from strategy_rl_envs.from_data.fields import ClassFields, Fields, SelectionFields, name_of
from strategy_rl_envs.kit.errors import DataError
from strategy_rl_envs.kit.reader import read_records
from strategy_rl_envs.kit.record import Record, Tally
from strategy_rl_envs.kit.selection import SPLITS
from strategy_rl_envs.kit.splits import share_groups, split_file


@dataclass(frozen=True, slots=True)
class Row:
    """One decision: the texts shown, the choices, the index of the right one.

    Attributes:
        context: texts that are shown.
        candidates: texts to choose from; for classification all classes.
        label: index of the right candidate.
        group: rows that share it stay on one side of every split and resampling.
        extra: the fields of the row that reward functions are given besides.
    """

    context: tuple[str, ...]
    candidates: tuple[str, ...]
    label: int
    group: str
    extra: Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """Where rows come from and what is done to all of them alike.

    Attributes:
        data: a folder, a pattern with `{split}`, or one file that is shared out by `shares`.
        group: field whose rows stay together; None: rows with the same texts do.
        shares: of train, validation and test; read where `data` is one file.
        extra: fields for the reward functions.
        max_chars: a longer text is cut, a text of the context at its beginning.
    """

    data: str
    group: str | None
    shares: tuple[float, float, float]
    extra: tuple[str, ...]
    max_chars: int


@dataclass(frozen=True)
class Loaded:
    """Rows of a split, in the order of the file.

    Attributes:
        rows: one at least.
        counts: rows used, skipped and changed, by reason.
        fingerprint: SHA-256 of the file's bytes.
        widest: most candidates of a row.
    """

    rows: tuple[Row, ...]
    counts: dict[str, int]
    fingerprint: str
    widest: int


def load(source: Source, fields: Fields, split: str) -> Loaded:
    """Read the rows of a split; the same file and fields are read once a process.

    Raises:
        DataError: the file or a row cannot be used, or more than half of the rows are skipped.
        SettingError: one file holds too few rows to share out.
    """
    path = split_file(source.data, split)
    if path is not None:
        return _read(path, _stamp(path), source, fields)
    path = Path(source.data).expanduser()
    return _share_out(path, _stamp(path), source, fields)[split]


def find_classes(source: Source, fields: ClassFields) -> tuple[str, ...]:
    """Read the names of the classes off the training rows: numbers by size, texts by letter.

    Raises:
        DataError: the label is not a class that rows share.
    """
    rows = load(source, fields, "train").rows
    found = {row.candidates[0] for row in rows}
    if len(found) < 2 or len(found) > max(10, len(rows) // 2):
        raise DataError(
            f"{source.data}: {fields.label}: {len(found)} distinct value(s) in {len(rows)} "
            "training row(s); expected 2 or more, each in several rows"
        )
    return tuple(sorted(found, key=_by_size))


def _by_size(name: str) -> tuple[bool, int, str]:
    number = name.isascii() and name.isdigit()
    return not number, int(name) if number else 0, name


@lru_cache(maxsize=16)
def _read(path: Path, stamp: tuple[int, int], source: Source, fields: Fields) -> Loaded:
    tally = Tally()
    rows = []
    for record in read_records(path):
        row = _read_row(record, source, fields, tally)
        if row is not None:
            rows.append(row)
    tally.close(str(path))
    with path.open("rb") as file:
        fingerprint = hashlib.file_digest(file, "sha256").hexdigest()
    return _loaded(rows, tally.counts(), fingerprint)


@lru_cache(maxsize=4)
def _share_out(
    path: Path, stamp: tuple[int, int], source: Source, fields: Fields
) -> dict[str, Loaded]:
    whole = _read(path, stamp, source, fields)
    splits = share_groups((row.group for row in whole.rows), source.shares)
    parts: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for row in whole.rows:
        parts[splits[row.group]].append(row)
    return {split: _loaded(rows, whole.counts, whole.fingerprint) for split, rows in parts.items()}


def _loaded(rows: list[Row], counts: dict[str, int], fingerprint: str) -> Loaded:
    return Loaded(tuple(rows), counts, fingerprint, max(len(row.candidates) for row in rows))


def _read_row(record: Record, source: Source, fields: Fields, tally: Tally) -> Row | None:
    """Check one row; None where it gives nothing to decide."""
    context, candidates, label = fields.read(record)
    extra = {field: _extra(record, field) for field in source.extra}
    reason = _unusable(context, candidates, isinstance(fields, SelectionFields))
    if reason:
        tally.skipped[reason] += 1
        return None
    tally.used += 1
    texts = json.dumps([context, candidates if isinstance(fields, SelectionFields) else ()])
    digest = hashlib.sha256(texts.encode()).hexdigest()[:16]
    group = digest if source.group is None else name_of(record, source.group)
    if max(map(len, context + candidates)) > source.max_chars:
        tally.changed[f"texts cut to {source.max_chars} characters"] += 1
        context = tuple(text[-source.max_chars :] for text in context)
        candidates = tuple(text[: source.max_chars] for text in candidates)
    return Row(context, candidates, label, group, extra)


def _unusable(
    context: tuple[str, ...], candidates: tuple[str, ...], own_candidates: bool
) -> str | None:
    """Say why a row gives nothing to decide or to learn; None where it does."""
    if not any(text.strip() for text in context):
        return "empty text"
    if not own_candidates:
        return None
    if not all(text.strip() for text in candidates):
        return "empty candidate"
    return "one candidate" if len(set(candidates)) == 1 else None


def _extra(record: Record, field: str) -> Any:
    """Return a field for the reward functions as it is; null stands for nothing."""
    if field not in record.values:
        return record.get(field)  # says that it is missing
    value = record.values[field]
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise record.fault(field, f"{error}; expected what JSON can hold") from error
    return deepcopy(value)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return 0, 0  # the reader says what is wrong
    return stat.st_mtime_ns, stat.st_size
