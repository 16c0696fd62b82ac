"""The reward components of decoding control; overlap, style and length are the library's.

A reward is paid once, for the finished text; `tokens_written` with a weight below 0 is the price of
writing on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# What the functions may ask for: see `data.Row.facts`.
FACTS = (
    *("output", "prompt", "source", "reference", "references"),
    *("keywords", "window", "kind", "row", "num_tokens"),
)


def tokens_written(num_tokens: int) -> float:
    """Tokens of the model's own vocabulary that it wrote; the end token is none."""
    return float(num_tokens)


def constant() -> float:
    """1 whatever is written: the control that must not win."""
    return 1.0


COMPONENTS: dict[str, Callable[..., float | None]] = {
    "tokens_written": tokens_written,
    "constant": constant,
}

DEFAULT_REWARD: tuple[dict[str, Any], ...] = (
    {"name": "token_f1", "weight": 1.0},
    {"name": "tokens_written", "weight": -0.01},
)
