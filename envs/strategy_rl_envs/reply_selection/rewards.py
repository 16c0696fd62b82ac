"""The reward components of reply selection: plain functions of what happened in a turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# What the functions may ask for: see `ReplySelection._facts`.
FACTS = (
    *("correct", "handed_over", "left", "ended", "output", "reference"),
    *("context", "candidates", "action", "row", "turn"),
)


def correct_reply(correct: bool) -> float:
    """1 for the real reply."""
    return 1.0 if correct else 0.0


def wrong_reply(correct: bool, handed_over: bool, left: bool) -> float:
    """-1 for a wrong reply that the customer bears with."""
    return 0.0 if correct or handed_over or left else -1.0


def hand_over(handed_over: bool) -> float:
    """-1 for a turn that a human has to answer."""
    return -1.0 if handed_over else 0.0


def customer_leaves(left: bool) -> float:
    """-1 for the wrong reply after which the customer leaves."""
    return -1.0 if left else 0.0


def constant(ended: bool) -> float:
    """1 at the end of the episode, whatever was done: the control that must not win."""
    return 1.0 if ended else 0.0


COMPONENTS: dict[str, Callable[..., float]] = {
    function.__name__: function
    for function in (correct_reply, wrong_reply, hand_over, customer_leaves, constant)
}

# Prices by mode. A second wrong reply costs more than four hand-overs, so what is best depends on
# what happened before; a single turn has no before.
DEFAULT_REWARD: dict[str, tuple[dict[str, Any], ...]] = {
    "conversation": (
        {"name": "correct_reply", "weight": 1.0},
        {"name": "wrong_reply", "weight": 0.5},
        {"name": "hand_over", "weight": 0.25},
        {"name": "customer_leaves", "weight": 2.0},
    ),
    "single": (
        {"name": "correct_reply", "weight": 1.0},
        {"name": "wrong_reply", "weight": 1.0},
        {"name": "hand_over", "weight": 0.25},
    ),
}
