"""What can be seen of a text in the making without its model: repetition, copying, length."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from strategy_rl_envs.decoding_control.targets import NO_TARGET, Target

RECENT = 8  # tokens that are looked at for repetition

# What `surface` gives. `next` is the most probable next token, `last` the last one written.
SURFACE = (
    "recent_repeated",  # share of the last `RECENT` tokens that stood earlier in the text
    "distinct",  # distinct tokens / tokens; 1 without any
    "copied",  # share of the tokens that stand in the prompt
    "next_in_text",
    "next_in_prompt",
    "next_begins_word",
    "last_ends_sentence",
    "last_begins_word",
    "written",  # tokens / most tokens
    "left",  # 1 - written
)


class Facts(Protocol):
    """What `reading.TokenFacts` knows of a token."""

    def ends_sentence(self, token: int) -> bool:
        """Whether a sentence ends with it."""

    def begins_word(self, token: int) -> bool:
        """Whether a word begins with it."""


@dataclass(frozen=True)
class Text:
    """One text in the making.

    Attributes:
        prompt: The ids that stand in the prompt.
        tokens: Ids written so far, without an end token.
        choice: Index of each factor of the last action (`Menu.choice`); None before the first.
        target: What it is to reach.
    """

    prompt: Collection[int]
    tokens: Sequence[int]
    choice: Sequence[int] | None = None
    target: Target = NO_TARGET


def surface(text: Text, likeliest: int, facts: Facts, max_new_tokens: int) -> list[float]:
    """Numbers from 0 to 1, in the order of `SURFACE`; shares of an empty text are 0.

    Args:
        text: What was written.
        likeliest: The most probable next token.
        facts: Of single tokens.
        max_new_tokens: The most tokens of a text.
    """
    tokens = text.tokens
    count = len(tokens)
    written = count / max_new_tokens
    return [
        _recently_repeated(tokens),
        len(set(tokens)) / count if count else 1.0,
        sum(token in text.prompt for token in tokens) / max(1, count),
        float(likeliest in tokens),
        float(likeliest in text.prompt),
        float(facts.begins_word(likeliest)),
        float(count > 0 and facts.ends_sentence(tokens[-1])),
        float(count > 0 and facts.begins_word(tokens[-1])),
        written,
        1.0 - written,
    ]


def count_words(tokens: Sequence[int], facts: Facts) -> int:
    """Tokens that begin a word; the first one always does."""
    return sum(place == 0 or facts.begins_word(token) for place, token in enumerate(tokens))


def _recently_repeated(tokens: Sequence[int]) -> float:
    first: dict[int, int] = {}
    for place, token in enumerate(tokens):
        first.setdefault(token, place)
    recent = range(max(0, len(tokens) - RECENT), len(tokens))
    return sum(first[tokens[place]] < place for place in recent) / max(1, len(recent))
