"""Facts as a reward function may have them: what can be changed in place is copied."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from strategy_rl_envs.kit.errors import RewardError, choices

_FIXED = frozenset((str, int, float, bool, type(None), bytes))


def given(facts: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The named facts of one step; lists and mappings are copies.

    Raises:
        RewardError: the step has no such fact.
    """
    try:
        return {
            name: value if type(value := facts[name]) in _FIXED else copied(value) for name in names
        }
    except KeyError as error:
        raise RewardError(
            f"a step of row {facts.get('row')} has no fact {error}, which the task promises; "
            f"{choices(error.args[0], facts)}"
        ) from error


def columns(steps: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[Any]]:
    """The named facts of many steps, one list a fact, as batched functions get them."""
    rows = [given(facts, names) for facts in steps]
    return {name: [row[name] for row in rows] for name in names}


def copied(value: Any) -> Any:
    """A copy that shares nothing which can be changed."""
    kind = type(value)
    if kind in _FIXED or (kind is tuple and _FIXED.issuperset(map(type, value))):
        return value
    if kind is list:
        return value[:] if _FIXED.issuperset(map(type, value)) else [copied(x) for x in value]
    return copy.deepcopy(value)
