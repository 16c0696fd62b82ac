"""Which action was taken how often, by iteration, kind, policy, row or step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from strategy_rl.board.episode import steps_in
from strategy_rl.board.faults import RequestError
from strategy_rl.board.heads import Head
from strategy_rl.board.index import Entry, read_many
from strategy_rl.board.moments import Moment, moments_of

MAPS = ("iteration", "kind", "policy", "row", "step")
MAX_ACTIONS, MAX_ROWS, MAX_READ = 40, 200, 2000
OTHER = "other"

Counts = Mapping[tuple[Any, str], int]  # by row and action
RowOf = Callable[[Head], Hashable]
Moments = Mapping[tuple[str | None, int | None], Moment]


class Decision(NamedTuple):
    """One step's names, for counting; `expert` is None where the expert's choice is unknown."""

    row: Hashable
    action: str
    expert: str | None


def action_map(entries: Sequence[Entry], by: str) -> dict[str, Any]:
    """How often each action was taken, one row a value of `by`.

    Iterations are put together into ranges: a row is then a stage and an iteration, or a range of
    them, as a list of episodes is filtered.

    Steps are read for `by=step` and for the expert's actions, so of at most 2000 episodes: with
    more, `by=step` counts the first, and the expert's actions are None.

    Returns:
        `rows`, `actions`, `counts` and `expert_counts`, a list a row; `left_out`, how many rows
        there are beyond the 200 shown; `episodes`, how many there are, and `read`, of how many the
        steps were read.

    Raises:
        RequestError: `by` is none of the five.
    """
    if by not in MAPS:
        raise RequestError(f"by: got {by!r}, expected one of {', '.join(MAPS)}")
    by_step = by == "step"
    moments = moments_of(entry.head for entry in entries) if by == "iteration" else {}
    row_of = _row_getter(by, moments)
    read = entries[:MAX_READ] if by_step or len(entries) <= MAX_READ else []
    decisions = list(_decisions(read, None if by_step else row_of))
    taken = Counter((d.row, d.action) for d in decisions) if by_step else _taken(entries, row_of)
    expert = Counter((d.row, d.expert) for d in decisions if d.expert is not None)
    found, names = _rows((row for row, _ in taken), moments), _names(taken, expert)
    rows = found[:MAX_ROWS]
    return {
        "by": by,
        "rows": [row.filters() if isinstance(row, Moment) else row for row in rows],
        "left_out": len(found) - len(rows),
        "actions": names,
        "counts": _table(taken, rows, names),
        "expert_counts": _table(expert, rows, names) if expert else None,
        "episodes": len(entries),
        "read": len(read),
    }


def _row_getter(by: str, moments: Moments) -> RowOf:
    if by == "iteration":
        return lambda head: moments[head["stage"], head["iteration"]]
    return itemgetter(by)


def _taken(entries: Sequence[Entry], row_of: RowOf) -> Counter[tuple[Any, str]]:
    counts: Counter[tuple[Any, str]] = Counter()
    for entry in entries:
        row = row_of(entry.head)
        for name, count in entry.head["actions"].items():
            counts[row, name] += int(count)
    return counts


def _decisions(entries: Sequence[Entry], row_of: RowOf | None) -> Iterator[Decision]:
    """Of each step; its place in the episode is the row unless `row_of` names one."""
    for entry, episode in zip(entries, read_many(list(entries)), strict=True):
        for place, step in enumerate(steps_in(episode)):
            row = row_of(entry.head) if row_of else place
            yield Decision(row, str(step.get("action_name")), expert_of(step))


def expert_of(step: Mapping[str, Any]) -> str | None:
    """The name of the expert's action; older files name only the legal ones."""
    name, action = step.get("expert_name"), step.get("expert_action")
    if isinstance(name, str):
        return name
    legal, names = step.get("legal_actions"), step.get("legal_names")
    if isinstance(legal, list) and isinstance(names, list) and action in legal[: len(names)]:
        return str(names[legal.index(action)])
    return None if action is None else str(action)


def _rows(rows: Iterable[Any], moments: Moments) -> list[Any]:
    """Distinct: moments in the order of training, numbers by size, names as they appear."""
    found = list(dict.fromkeys(rows))
    if moments:
        places = {moment: place for place, moment in enumerate(moments.values())}
        found.sort(key=places.__getitem__)
    elif all(row is None or isinstance(row, int) for row in found):
        found.sort(key=lambda row: (row is None, row))
    return found


def _names(taken: Counts, expert: Counts) -> list[str]:
    """The actions taken most, then the expert's, by name; the rest is `other`."""
    totals: Counter[str] = Counter()
    for (_, name), count in taken.items():
        totals[name] += count
    totals.update(dict.fromkeys((name for _, name in expert), 0))
    names = [name for name, _ in totals.most_common()]
    return sorted(names[:MAX_ACTIONS]) + ([OTHER] if len(names) > MAX_ACTIONS else [])


def _table(counts: Counts, rows: Sequence[Any], names: Sequence[str]) -> list[list[int]]:
    places = {name: place for place, name in enumerate(names)}
    lines = {row: [0] * len(names) for row in rows}
    for (row, name), count in counts.items():
        if row in lines:
            lines[row][places.get(name, len(names) - 1)] += count
    return list(lines.values())
