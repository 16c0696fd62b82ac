"""What the actions of episodes are called, and which of them are special."""

from __future__ import annotations

import re
from collections.abc import Sequence

from strategy_rl.episodes import Episode, Step

_CANDIDATE = re.compile(r"candidate \d+")
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)")


def kind_of(step: Step) -> str | None:
    """`candidate`, or the action's name, else its index; None for texts and nameless vectors."""
    if not isinstance(step.action, int):
        is_named = isinstance(step.action, list) and step.action_name != str(step.action)
        return step.action_name if is_named else None
    return "candidate" if _CANDIDATE.fullmatch(step.action_name) else step.action_name


def is_special(step: Step) -> bool:
    """Whether the step took a special action, such as handing over."""
    if step.special is not None:
        return step.special
    return kind_of(step) not in (None, "candidate", str(step.action))  # an older file


def parts_of(step: Step) -> tuple[str, ...]:
    """What the step set, one part a factor of a vector: `("T 0.7", "p 0.9")`; () if no setting.

    The parts of a vector's name are joined by `, `; a vector without a name has `factor 1: 0`.
    """
    kind, action = kind_of(step), step.action
    if isinstance(action, int):
        return () if kind in (None, "candidate") else (step.action_name,)
    if kind is not None:
        return tuple(kind.split(", "))
    if isinstance(action, list) and all(isinstance(value, int) for value in action):
        return tuple(f"factor {place}: {value}" for place, value in enumerate(action, start=1))
    return ()


def in_order(names: Sequence[str]) -> list[str]:
    """Names by their words, and by the size of the numbers in them."""
    return sorted(names, key=lambda name: [_part(part) for part in _NUMBER.split(name)])


def offers_candidates(episodes: Sequence[Episode]) -> bool:
    """Whether actions pick among candidates, which are no settings."""
    return any(kind_of(step) == "candidate" for episode in episodes for step in episode.steps)


def _part(part: str) -> tuple[int, float, str]:
    return (0, float(part), "") if _NUMBER.fullmatch(part) else (1, 0.0, part)
