"""One row of a data file and the checks on its fields. Knows no file format."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from strategy_rl_envs.kit.errors import DataError, choices

MAX_SKIPPED_SHARE = 0.5


class Record:
    """A row's values and where they stand; each method checks one field and names it in errors.

    Args:
        place: `file:line`, the beginning of every error message.
        values: what the row holds, by field.
    """

    __slots__ = ("place", "values")

    def __init__(self, place: str, values: Mapping[str, Any]) -> None:
        self.place = place
        self.values = values

    def __contains__(self, field: str) -> bool:
        return self.values.get(field) is not None

    def fault(self, field: str, problem: str) -> DataError:
        """Make the error that says what is wrong with a field."""
        return DataError(f"{self.place}: {field}: {problem}")

    def get(self, field: str) -> Any:
        """Return a field that must be there."""
        if field in self:
            return self.values[field]
        if field in self.values:
            raise self.fault(field, "is null; expected a value")
        raise self.fault(field, f"the field is missing; {choices(field, self.values)}")

    def text(self, field: str, default: str | None = None) -> str:
        """Return a field as text; `default` stands for a missing one."""
        if default is not None and field not in self:
            return default
        value = self.get(field)
        if not isinstance(value, str):
            raise self.fault(field, f"expected a text, got {_shown(value)}")
        return value

    def texts(self, field: str) -> tuple[str, ...]:
        """Return a field that holds a list of texts."""
        values = self.get(field)
        if not isinstance(values, list | tuple):
            raise self.fault(field, f"expected a list of texts, got {_shown(values)}")
        for place, value in enumerate(values):
            if not isinstance(value, str):
                raise self.fault(f"{field}[{place}]", f"expected a text, got {_shown(value)}")
        return tuple(values)

    def integer(self, field: str) -> int:
        """Return a field that holds a whole number."""
        value = self.get(field)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fault(field, f"expected a whole number, got {_shown(value)}")
        return value

    def number(self, field: str) -> float:
        """Return a field that holds a finite number."""
        value = self.get(field)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fault(field, f"expected a number, got {_shown(value)}")
        if not math.isfinite(value):
            raise self.fault(field, f"expected a finite number, got {value}")
        return float(value)

    def records(self, field: str) -> list[Record]:
        """Return a field that holds a list of objects, each with its own place."""
        values = self.get(field)
        if not isinstance(values, list | tuple):
            raise self.fault(field, f"expected a list of objects, got {_shown(values)}")
        inner = []
        for number, value in enumerate(values):
            if not isinstance(value, Mapping):
                raise self.fault(f"{field}[{number}]", f"expected an object, got {_shown(value)}")
            inner.append(Record(f"{self.place}: {field}[{number}]", value))
        return inner


class Tally:
    """Count the rows of a file that were used, skipped or changed, by reason."""

    def __init__(self) -> None:
        self.used = 0
        self.skipped: Counter[str] = Counter()
        self.changed: Counter[str] = Counter()

    def close(self, source: str) -> None:
        """Report the counts in one line, where there is something to say.

        Raises:
            DataError: more than half of the rows had to be skipped.
        """
        skipped = self.skipped.total()
        if skipped > MAX_SKIPPED_SHARE * (skipped + self.used):
            raise DataError(
                f"{source}: {skipped} of {skipped + self.used} rows cannot be used "
                f"({_listed(self.skipped)}); at most half may be skipped, so check the file"
            )
        if skipped or self.changed:
            logging.getLogger(__name__).warning(
                "%s: %d rows used, skipped: %s; changed: %s",
                *(source, self.used, _listed(self.skipped), _listed(self.changed)),
            )

    def counts(self) -> dict[str, int]:
        """Return all counts in one JSON-able mapping."""
        skipped = {f"skipped: {reason}": count for reason, count in sorted(self.skipped.items())}
        changed = {f"changed: {reason}": count for reason, count in sorted(self.changed.items())}
        return {"used": self.used, **skipped, **changed}


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items())) or "none"
