"""A Gymnasium space for texts in any script. Knows no tokenizer."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.spaces import Text

# A few scripts, an accent, an emoji: enough for samples to find faults that ASCII hides.
SAMPLE_CHARACTERS = (
    "abcdefghij XYZ0123456789.,?!'\u00e9\u00fc\u4f60\u597d\u4e16\u754c\u0645\u0440\u044f\U0001f600"
)


class UnicodeText(Text):
    """Any Unicode text of bounded length, counted in code points.

    Gymnasium's `Text` holds texts over a listed alphabet, by default ASCII letters and digits.
    This one holds every text that UTF-8 can encode, so lone surrogates are the only characters left
    out. Samples are drawn from a small alphabet of several scripts.

    Args:
        max_length: most code points of a text, at least `min_length`.
        min_length: fewest code points; 0 admits the empty text.
        seed: seed of the sampling generator.
    """

    def __init__(
        self,
        max_length: int,
        *,
        min_length: int = 0,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(max_length, min_length=min_length, charset=SAMPLE_CHARACTERS, seed=seed)

    def contains(self, x: Any) -> bool:
        """Say whether `x` is a text of allowed length without lone surrogates."""
        if not isinstance(x, str) or not self.min_length <= len(x) <= self.max_length:
            return False
        return x.isascii() or is_encodable(x)

    @property
    def is_np_flattenable(self) -> bool:
        """False: code points have no place in the alphabet that `flatten` counts by."""
        return False

    def __repr__(self) -> str:
        return f"UnicodeText({self.min_length}, {self.max_length})"

    def __eq__(self, other: object, /) -> bool:
        return (
            isinstance(other, UnicodeText)
            and self.min_length == other.min_length
            and self.max_length == other.max_length
        )

    __hash__ = None  # type: ignore[assignment]  # mutable, like every Gymnasium space


def is_encodable(text: str) -> bool:
    """Say whether UTF-8 can encode the text, that is, whether it holds no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
