"""Lists of episodes: filters, order and pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from strategy_rl.board.catalog import RunIndex
from strategy_rl.board.faults import RequestError
from strategy_rl.board.heads import RANDOM, REASONS, Head, reasons_of
from strategy_rl.board.index import Entry
from strategy_rl.board.params import Params, number, whole, wholes
from strategy_rl.board.search import containing

Item = TypeVar("Item")

MAX_PAGE = 1000
SORTS = ("return", "value_error", "least_probability", "length", "row", "iteration")
COMPONENT = "component:"
RETURN = "return"

_TEXTS = ("stage", "split", "policy", "kind")


def select(run: RunIndex, params: Params) -> list[Entry]:
    """The episodes that the filters leave, in the order of `sort`, else of the files.

    Raises:
        RequestError: A parameter is none that can be used.
    """
    entries = run.entries()
    for name in _TEXTS:
        if wanted := params.get(name):
            entries = [e for e in entries if e.head[name] == wanted]
    if (row := whole(params, "row")) is not None:
        entries = [e for e in entries if e.head["row"] == row]
    if (iterations := wholes(params, "iteration")) is not None:
        first, last = iterations
        known = [e for e in entries if e.head["iteration"] is not None]
        entries = [e for e in known if first <= e.head["iteration"] <= last]
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
