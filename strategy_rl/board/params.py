"""Numbers among a request's parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from strategy_rl.board.faults import RequestError

Params = Mapping[str, str]

_RANGE = re.compile(r"(-?[0-9]{1,16})(-(-?[0-9]{1,16})?)?")


def whole(params: Params, name: str, *, least: int | None = None) -> int | None:
    """A whole number, or None where it is not given.

    Raises:
        RequestError: It is none, or less than `least`.
    """
    given = params.get(name)
    if not given:
        return None
    sign_less = given.removeprefix("-")
    number = int(given) if sign_less.isascii() and sign_less.isdigit() and len(given) < 18 else None
    if number is None or (least is not None and number < least):
        limit = "" if least is None else f" of at least {least}"
        raise RequestError(f"{name}: got {given!r}, expected a whole number{limit}")
    return number


def wholes(params: Params, name: str) -> tuple[int, float] | None:
    """The first and the last of whole numbers: `10`, `10-14`, or `10-` for 10 and more.

    Raises:
        RequestError: It is neither.
    """
    given = params.get(name)
    if not given:
        return None
    found = _RANGE.fullmatch(given)
    if found is None:
        raise RequestError(
            f"{name}: got {given!r}, expected a whole number or a range such as 10-14"
        )
    first, to, last = found.groups()
    return int(first), int(first) if to is None else math.inf if last is None else int(last)


def number(params: Params, name: str) -> float | None:
    """A finite number, or None where it is not given.

    Raises:
        RequestError: It is none.
    """
    given = params.get(name)
    if not given:
        return None
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RequestError(f"{name}: got {given!r}, expected a number")
    return value
