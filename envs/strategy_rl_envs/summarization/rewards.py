"""The reward components of summarization: plain functions of what a pick did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# What the functions may ask for: see `Summarization._facts`.
FACTS = (
    *("recall_gain", "cost", "utility", "picked", "ended"),
    *("output", "reference", "references", "source", "context", "candidates", "history"),
    *("action", "row"),
)


def recall_gain(recall_gain: float) -> float:
    """What the pick adds to the mean ROUGE-1, -2 and -L recall of the summary."""
    return recall_gain


def word_cost(cost: float) -> float:
    """Minus the price of the picked words."""
    return -cost


def final_utility(utility: float, ended: bool) -> float:
    """The summary's whole worth at the end, 0 before: the same sum, told late."""
    return utility if ended else 0.0


def constant(ended: bool) -> float:
    """1 at the end of the episode, whatever was done: the control that must not win."""
    return 1.0 if ended else 0.0


COMPONENTS: dict[str, Callable[..., float]] = {
    function.__name__: function for function in (recall_gain, word_cost, final_utility, constant)
}

# Their sum over an episode is the worth of the summary.
DEFAULT_REWARD: tuple[dict[str, Any], ...] = (
    {"name": "recall_gain", "weight": 1.0},
    {"name": "word_cost", "weight": 1.0},
)
