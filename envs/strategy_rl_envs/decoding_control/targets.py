"""What a text is to reach: words to be named, and how many words it should have. Knows no model.

Words are counted as tokens that begin one, which is close to what rewards count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

Ids = tuple[int, ...]

# What `seen` gives.
TARGETS = (
    "keywords_missing",  # share of the keywords; 0 without any
    "inside_keyword",  # whether the text stops in the middle of one that is missing
    "words_to_window",  # words that are wanted still / most tokens
    "words_left",  # words until there are too many / most tokens; 1 where any number will do
)


@dataclass(frozen=True)
class Target:
    """What one text is to reach.

    Attributes:
        keywords: The spellings of each, as token ids.
        window: Fewest and most words; None where any number will do.
    """

    keywords: tuple[tuple[Ids, ...], ...] = ()
    window: tuple[int, int] | None = None

    def missing(self, tokens: Sequence[int]) -> list[tuple[Ids, ...]]:
        """Keywords that no spelling of stands in the text."""
        return [
            spellings
            for spellings in self.keywords
            if not any(_stands_in(spelling, tokens) for spelling in spellings)
        ]

    def next_ids(self, tokens: Sequence[int]) -> list[int]:
        """Tokens that go on with a missing keyword, or else begin one; each once."""
        spellings = [s for missing in self.missing(tokens) for s in missing]
        begun = [(s, _begun(s, tokens)) for s in spellings]
        furthest = max((count for _, count in begun), default=0)
        return list(dict.fromkeys(s[count] for s, count in begun if count == furthest))

    def seen(self, tokens: Sequence[int], words: int, max_new_tokens: int) -> list[float]:
        """Numbers from 0 to 1, in the order of `TARGETS`.

        Args:
            tokens: Of the text.
            words: How many words they are.
            max_new_tokens: The most tokens of a text.
        """
        missing = self.missing(tokens)
        inside = any(_begun(s, tokens) for spellings in missing for s in spellings)
        low, high = self.window or (0, words + max_new_tokens)
        return [
            len(missing) / max(1, len(self.keywords)),
            float(inside),
            min(1.0, max(0, low - words) / max_new_tokens),
            min(1.0, max(0, high - words) / max_new_tokens),
        ]


NO_TARGET = Target()


def spelled(word: str, encode: Callable[[str], Sequence[int]]) -> tuple[Ids, ...]:
    """How a word may be written: behind a space or not, with a capital letter or not."""
    cases = dict.fromkeys((word, word[:1].upper() + word[1:]))
    found = (tuple(encode(space + case)) for case in cases for space in (" ", ""))
    return tuple(dict.fromkeys(ids for ids in found if ids))


def _stands_in(spelling: Ids, tokens: Sequence[int]) -> bool:
    size = len(spelling)
    return any(tuple(tokens[at : at + size]) == spelling for at in range(len(tokens) - size + 1))


def _begun(spelling: Ids, tokens: Sequence[int]) -> int:
    """How many tokens of a spelling the text ends with, not all of them."""
    counts = range(min(len(spelling) - 1, len(tokens)), 0, -1)
    return next((n for n in counts if tuple(tokens[-n:]) == spelling[:n]), 0)
