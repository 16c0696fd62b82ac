"""The reward of an abstractive summary: what it has in common with the ones that people wrote.

The components are the library's; `constant` alone is the task's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# What the functions may ask for: see `Summarize.step`.
FACTS = ("output", "prompt", "source", "reference", "references", "row")


def constant() -> float:
    """1 whatever is written: the control that must not win."""
    return 1.0


COMPONENTS: dict[str, Callable[..., float | None]] = {"constant": constant}

# F1 of words and of their order, so that neither length nor a bag of words pays. What has no weight
# is watched: copying may not grow, nor may pairs of words that match a reference become fewer.
DEFAULT_REWARD: tuple[dict[str, Any], ...] = (
    {"name": "rouge_l", "weight": 0.75},
    {"name": "rouge_1", "weight": 0.25},
    {"name": "repetition", "weight": -0.5, "settings": {"n": 2}},
    {"name": "rouge_2", "weight": 0.0},
    {"name": "copy_ratio", "weight": 0.0},
    {"name": "compression", "weight": 0.0},
)
