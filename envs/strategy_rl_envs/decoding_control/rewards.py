"""The reward components of decoding control; overlap, style and length are the library's.

A reward is paid once, for the finished text; `tokens_written` with a weight below 0 is the price of
writing on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from strategy_rl_envs.kit.errors import whole_number
from strategy_rl_envs.rewards.tokens import frozen_tokens

# What the functions may ask for: see `data.Row.facts`.
FACTS = (
    *("output", "prompt", "source", "reference", "references"),
    *("keywords", "window", "kind", "row", "num_tokens", "surprisal"),
)


def tokens_written(num_tokens: int) -> float:
    """Tokens of the model's own vocabulary that it wrote; the end token is none."""
    return float(num_tokens)


def surprisal(surprisal: float) -> float:
    """Mean nats of the drawn tokens to the model as it is; weighed below 0, the price of wild text.

    Range: 0 and more.
    """
    return surprisal


def new_words(
    output: str, prompt: str, references: Sequence[str], *, target: int = 20, language: str = "auto"
) -> float | None:
    """Different words that the prompt does not have, up to `target`, as a share of it.

    Abstains where the row has references, which want facts.

    Range: 0 to 1.
    """
    whole_number("target", target, 1)
    if references:
        return None
    new = {*frozen_tokens(output, language)} - {*frozen_tokens(prompt, language)}
    return min(1.0, len(new) / target)


def constant() -> float:
    """1 whatever is written: the control that must not win."""
    return 1.0


COMPONENTS: dict[str, Callable[..., float | None]] = {
    "tokens_written": tokens_written,
    "surprisal": surprisal,
    "new_words": new_words,
    "constant": constant,
}

DEFAULT_REWARD: tuple[dict[str, Any], ...] = (
    {"name": "token_f1", "weight": 1.0},
    {"name": "tokens_written", "weight": -0.01},
)
