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
    "words_missing",  # share of the fewest words; 0 where any number will do
    "words_left",  # share of the most words that may be added; 1 where any number will do
    "in_window",  # whether the text has as many words as it should
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

    def seen(self, tokens: Sequence[int], words: int) -> list[float]:
        """Numbers from 0 to 1, in the order of `TARGETS`.

        Args:
            tokens: Of the text.
            words: How many words they are.
        """
        missing = self.missing(tokens)
        inside = any(_begun(s, tokens) for spellings in missing for s in spellings)
        share = len(missing) / max(1, len(self.keywords))
        if self.window is None:
            return [share, float(inside), 0.0, 1.0, 1.0]
        low, high = self.window
        return [
            share,
            float(inside),
            max(0, low - words) / low,
            max(0, high - words) / high,
            float(low <= words <= high),
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
