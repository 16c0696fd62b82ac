"""What a reward function may give back, as plain floats. Knows no function and no step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

# One step's result: a number, None where the function abstains, or named sub-scores.
Raw = float | None | dict[str, float | None]

WANTED = "a finite number, None (to abstain) or a mapping of named sub-scores"


class NotANumber(ValueError):
    """A function gave something else; the message says what came and what was expected."""


class IsolationError(RuntimeError):
    """The function failed in its own process; the message is a predicate, as `raised ...`."""


def read_raw(value: Any) -> Raw:
    """Make floats of what a function gave for one step.

    Raises:
        NotANumber: it is no finite number, None or mapping of them.
    """
    if type(value) is float and math.isfinite(value):
        return value
    if not isinstance(value, Mapping):
        return read_number(value)
    if not value:
        raise NotANumber(f"gave an empty mapping; expected {WANTED}")
    for name in value:
        if not isinstance(name, str) or not name or "/" in name:
            raise NotANumber(f"gave the sub-score {name!r}; expected a name without '/'")
    return {name: read_number(sub, f" for {name!r}") for name, sub in value.items()}


def read_many(value: Any, count: int) -> list[Raw | NotANumber]:
    """Make floats of what a batched function gave for `count` steps; a wrong entry stays alone.

    Raises:
        NotANumber: it is no list, array or tensor of that length.
    """
    if getattr(value, "ndim", None) == 1 and hasattr(value, "tolist"):
        value = (value.detach() if hasattr(value, "detach") else value).tolist()
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise NotANumber(f"gave {_shown(value)} for {count} steps; expected a list of {count}")
    if len(value) != count:
        raise NotANumber(f"gave a list of {len(value)} for {count} steps; expected one entry each")
    return [read_entry(entry) for entry in value]


def read_entry(value: Any) -> Raw | NotANumber:
    """As `read_raw`, but a wrong value gives the error."""
    try:
        return read_raw(value)
    except NotANumber as error:
        return error


def read_number(value: Any, where: str = "") -> float | None:
    """Make a float of a bool, int, numpy scalar, Decimal or tensor without dimensions.

    Raises:
        NotANumber: it is neither a finite number nor None.
    """
    if value is None:
        return None
    if getattr(value, "ndim", None) == 0 and not isinstance(value, np.generic):
        value = value.detach() if hasattr(value, "detach") else value
        value = value.item()
    if not isinstance(value, Real | Decimal | np.bool_):
        raise NotANumber(f"gave {_shown(value)}{where}; expected {WANTED}")
    try:
        number = float(value)
    except (OverflowError, ValueError):  # an int beyond floats; a signalling NaN
        number = math.nan
    if not math.isfinite(number):
        raise NotANumber(f"gave {value!s:.40}{where}; expected a finite number")
    return number


def _shown(value: Any) -> str:
    """A short picture of a value, with its type; a coroutine nobody awaits is closed."""
    if inspect.iscoroutine(value):
        value.close()
        return "a coroutine (is it made by a function without `async def`?)"
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    return f"{value!r:.80} ({type(value).__name__})"
