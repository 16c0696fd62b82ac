"""Lists of episodes: filters, order and pages."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from strategy_rl.board.catalog import RunIndex
from strategy_rl.board.faults import RequestError
from strategy_rl.board.heads import RANDOM, REASONS, Head, reasons_of
from strategy_rl.board.index import Entry
from strategy_rl.board.search import containing

Params = Mapping[str, str]
Item = TypeVar("Item")

MAX_PAGE = 1000
SORTS = ("return", "value_error", "least_probability", "length", "row", "iteration")
COMPONENT = "component:"
RETURN = "return"

_TEXTS = ("stage", "split", "policy", "kind")
_WHOLES = ("iteration", "row")


def select(run: RunIndex, params: Params) -> list[Entry]:
    """The episodes that the filters leave, in the order of `sort`, else of the files.

    Raises:
        RequestError: A parameter is none that can be used.
    """
    entries = run.entries()
    for name in _TEXTS:
        if wanted := params.get(name):
            entries = [e for e in entries if e.head[name] == wanted]
    for name in _WHOLES:
        if (number := whole(params, name)) is not None:
            entries = [e for e in entries if e.head[name] == number]
    if action := params.get("action"):
        entries = [e for e in entries if action in e.head["actions"]]
    if reason := params.get("selected"):
        entries = _selected(entries, reason)
    entries = _within(entries, value_getter(RETURN), params, RETURN)
    if component := params.get("component"):
        entries = _within(entries, value_getter(COMPONENT + component), params, "component")
    if text := params.get("text"):
        entries = containing(entries, text)
    return in_order(entries, params.get("sort") or "")


def sample(run: RunIndex, params: Params) -> list[Entry]:
    """As `select`, to be counted: of each rollout only what was drawn at random from it.

    The best and the worst would bend what is counted; they count where `selected` names them.

    Raises:
        RequestError: A parameter is none that can be used.
    """
    return select(run, {**params, "selected": params.get("selected") or RANDOM})


def page_of(items: Sequence[Item], params: Params) -> tuple[list[Item], dict[str, Any]]:
    """The items of one page; and `total`, `page` and `size`.

    Raises:
        RequestError: `page` or `size` is no whole number that can be used.
    """
    page, size = whole(params, "page", least=0) or 0, whole(params, "size", least=1) or 100
    size = min(size, MAX_PAGE)
    shown = list(items[page * size : (page + 1) * size])
    return shown, {"total": len(items), "page": page, "size": size}


def in_order(entries: list[Entry], sort: str) -> list[Entry]:
    """Sorted by a column; what has no value there comes last, in both directions.

    Raises:
        RequestError: There is no such column.
    """
    if not sort:
        return entries
    value = value_getter(sort.removeprefix("-"))
    # No tuple an entry: thousands of them set off a garbage collection over all that is indexed.
    known = [e for e in entries if value(e.head) is not None]
    unknown = [e for e in entries if value(e.head) is None]
    known.sort(key=lambda e: value(e.head), reverse=sort.startswith("-"))
    return known + unknown


def value_getter(column: str) -> Callable[[Head], Any]:
    """Reads a column of `sort` from a head; None where it has no value.

    Raises:
        RequestError: There is no such column.
    """
    if column.startswith(COMPONENT):
        name = column.removeprefix(COMPONENT)
        return lambda head: head["components"].get(name)
    if column not in SORTS:
        expected = ", ".join(SORTS)
        raise RequestError(f"sort: got {column!r}, expected {expected} or {COMPONENT}NAME")
    return lambda head: head[column]


def whole(params: Params, name: str, *, least: int | None = None) -> int | None:
    """A whole number among the parameters, or None where it is not given.

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


def number(params: Params, name: str) -> float | None:
    """A finite number among the parameters, or None where it is not given.

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


def _selected(entries: list[Entry], reason: str) -> list[Entry]:
    if reason not in REASONS:
        raise RequestError(f"selected: got {reason!r}, expected one of {', '.join(REASONS)}")
    return [e for e in entries if reason in reasons_of(e.head)]


def _within(
    entries: list[Entry], value: Callable[[Head], Any], params: Params, name: str
) -> list[Entry]:
    low, high = number(params, f"{name}_min"), number(params, f"{name}_max")
    if low is not None:
        entries = [e for e in entries if (v := value(e.head)) is not None and v >= low]
    if high is not None:
        entries = [e for e in entries if (v := value(e.head)) is not None and v <= high]
    return entries
