"""Two policies row by row: what each earned, and where they first did something else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from strategy_rl.board.episode import steps_in
from strategy_rl.board.faults import RequestError
from strategy_rl.board.heads import Head, partner_key, row_of
from strategy_rl.board.index import Entry, read_many

SORTS = ("gain", "row")


class Pair(NamedTuple):
    """The episodes of two policies on one row; `difference` is b's return less a's."""

    row: int | str
    a: Entry
    b: Entry
    difference: float | None


def pairs_of(first: Sequence[Entry], second: Sequence[Entry]) -> list[Pair]:
    """Episodes on the same row of a split, in the order of `first`; of several the last counts.

    Where a task has no rows, episodes of the same number are compared: they had the same seed.
    """
    ours, theirs = ({partner_key(e.head): e for e in entries} for entries in (first, second))
    common = [(ours[key], theirs[key]) for key in ours if key is not None and key in theirs]
    return [Pair(row_of(a.head), a, b, _difference(a.head, b.head)) for a, b in common]


def changed_only(pairs: Sequence[Pair]) -> list[Pair]:
    """Those in which the actions differ.

    Steps are read only where heads cannot tell: the same actions may come in another order.
    """
    differs = [_surely_differs(pair) for pair in pairs]
    unsure = [p for p, sure in zip(pairs, differs, strict=True) if not sure and _has_order(p)]
    changes = dict(zip((p.a.head["key"] for p in unsure), first_changes(unsure), strict=True))
    return [
        pair
        for pair, sure in zip(pairs, differs, strict=True)
        if sure or changes.get(pair.a.head["key"]) is not None
    ]


def in_order(pairs: Sequence[Pair], sort: str) -> list[Pair]:
    """By `gain` or `row`, "-" reverses; what has no difference comes last.

    Raises:
        RequestError: `sort` is neither.
    """
    column = sort.removeprefix("-")
    if column not in SORTS:
        raise RequestError(f"sort: got {sort!r}, expected gain or row, with - in front or without")
    backward = sort.startswith("-")
    if column == "row":
        return sorted(pairs, key=lambda pair: (str(type(pair.row)), pair.row), reverse=backward)
    known = [pair for pair in pairs if pair.difference is not None]
    known.sort(key=lambda pair: pair.difference or 0.0, reverse=backward)
    return known + [pair for pair in pairs if pair.difference is None]


def mean_difference(pairs: Sequence[Pair]) -> float | None:
    """Over the rows where both have a return; None where there are none."""
    known = [pair.difference for pair in pairs if pair.difference is not None]
    return math.fsum(known) / len(known) if known else None


def pairs_to_json(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """What a page shows of each pair; reads both episodes."""
    return [
        {
            "row": pair.row,
            "kind": pair.b.head["kind"],
            "difference": pair.difference,
            "first_change": change,
            "a": pair.a.head,
            "b": pair.b.head,
        }
        for pair, change in zip(pairs, first_changes(pairs), strict=True)
    ]


def first_changes(pairs: Sequence[Pair]) -> list[int | None]:
    """The first step at which the actions of each pair differ, None where none does."""
    first = read_many([pair.a for pair in pairs])
    second = read_many([pair.b for pair in pairs])
    return [_first_change(_actions(a), _actions(b)) for a, b in zip(first, second, strict=True)]


def _first_change(ours: Sequence[Any], theirs: Sequence[Any]) -> int | None:
    for step, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        if a != b:
            return step
    return None if len(ours) == len(theirs) else min(len(ours), len(theirs))


def _actions(episode: Mapping[str, Any]) -> list[Any]:
    return [step.get("action") for step in steps_in(episode)]


def _surely_differs(pair: Pair) -> bool:
    a, b = pair.a.head, pair.b.head
    return bool(a["length"] != b["length"] or a["actions"] != b["actions"])


def _has_order(pair: Pair) -> bool:
    return len(pair.a.head["actions"]) > 1


def _difference(ours: Head, theirs: Head) -> float | None:
    if ours["return"] is None or theirs["return"] is None:
        return None
    return float(theirs["return"] - ours["return"])
