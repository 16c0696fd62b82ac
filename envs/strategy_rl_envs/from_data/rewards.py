"""The reward components of tasks from data, and what any other reward function may ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# See `OneDecision.step`; the fields named in `reward_fields` come beside them.
FACTS = (
    *("output", "reference", "source", "context", "candidates", "action", "label", "correct"),
    *("abstained", "special", "row", "ended"),
)


def correct(correct: bool) -> float:
    """1 for the right one."""
    return float(correct)


def wrong(correct: bool, abstained: bool) -> float:
    """-1 for a wrong one."""
    return 0.0 if correct or abstained else -1.0


def abstained(abstained: bool) -> float:
    """-1 for a special action."""
    return -float(abstained)


def constant(ended: bool) -> float:
    """1 at the end, whatever was done: the control that must not win."""
    return float(ended)


COMPONENTS: dict[str, Callable[..., float]] = {
    function.__name__: function for function in (correct, wrong, abstained, constant)
}


def default_reward(has_special: bool) -> tuple[dict[str, Any], ...]:
    """1 for the right one; where the policy may abstain, -1 for a wrong one and -0.25 for that."""
    names = {"correct": 1.0, "wrong": 1.0, "abstained": 0.25} if has_special else {"correct": 1.0}
    return tuple({"name": name, "weight": weight} for name, weight in names.items())
