"""Which fields of a user's file make a decision. Knows no file and nothing of Gymnasium."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

from strategy_rl_envs.kit.errors import choices
from strategy_rl_envs.kit.record import Record

_SHOWN_CHARS = 60


class Fields(Hashable, Protocol):
    """Which fields of a file make a row; hashable, since it is a key of caches."""

    def read(self, record: Record) -> tuple[tuple[str, ...], tuple[str, ...], int]:
        """Return context, candidates and label of a row, or raise `DataError`."""


@dataclass(frozen=True)
class SelectionFields:
    """A row has texts and candidates of its own; the label is an index or the text itself."""

    context: tuple[str, ...]
    candidates: tuple[str, ...]
    label: str

    def read(self, record: Record) -> tuple[tuple[str, ...], tuple[str, ...], int]:
        """Return context, candidates and label of a row."""
        several = len(self.candidates) > 1
        candidates = (
            tuple(record.text(field) for field in self.candidates)
            if several
            else record.texts(self.candidates[0])
        )
        return _texts(record, self.context), candidates, _index(record, self.label, candidates)


@dataclass(frozen=True)
class ClassFields:
    """A row has texts and the name of its class; without `classes` it is the only candidate."""

    text: tuple[str, ...]
    label: str
    classes: tuple[str, ...] = ()

    def read(self, record: Record) -> tuple[tuple[str, ...], tuple[str, ...], int]:
        """Return texts, classes and label of a row."""
        texts = tuple(record.text(field) for field in self.text)
        name = name_of(record, self.label)
        if not self.classes:
            return texts, (name,), 0
        if name not in self.classes:
            raise record.fault(self.label, f"{name!r} is no class; {choices(name, self.classes)}")
        return texts, self.classes, self.classes.index(name)


def _texts(record: Record, fields: tuple[str, ...]) -> tuple[str, ...]:
    """Return the texts of the fields in order; each holds a text or a list of texts."""
    found: list[str] = []
    for field in fields:
        value = record.get(field)
        found += record.texts(field) if isinstance(value, list | tuple) else [record.text(field)]
    return tuple(found)


def _index(record: Record, field: str, candidates: tuple[str, ...]) -> int:
    """Return the label as an index: given as such, or as the candidate's text."""
    value = record.get(field)
    if not candidates:
        raise record.fault(field, "there are no candidates; expected two or more")
    if isinstance(value, str) and value in candidates:
        return candidates.index(value)
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        known = choices(value, [text[:_SHOWN_CHARS] for text in candidates])
        raise record.fault(field, f"{value[:_SHOWN_CHARS]!r} is none of the candidates; {known}")
    index = int(value) if isinstance(value, str) else record.integer(field)  # CSV knows texts alone
    if not 0 <= index < len(candidates):
        raise record.fault(field, f"{index} is no candidate; they are 0 to {len(candidates) - 1}")
    return index


def name_of(record: Record, field: str) -> str:
    """Return a field that names something: a text, a whole number or true and false."""
    value = record.get(field)
    return str(value).lower() if isinstance(value, bool) else _text_or_number(record, field, value)


def _text_or_number(record: Record, field: str, value: Any) -> str:
    name = str(value) if isinstance(value, int) else record.text(field)
    if not name.strip():
        raise record.fault(field, "is empty; expected a name")
    return name
