"""Texts to tokens: words, and single characters where a script writes no spaces between words.

Knows no metric. ASCII texts give the same tokens as the `rouge-score` package without stemming.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import lru_cache
from unicodedata import normalize

from strategy_rl_envs.kit.errors import SettingError

# Han, kana, bopomofo; Thai, Lao, Burmese, Khmer
_SPACELESS = (
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    "\u0e01-\u0e2e\u0e81-\u0eae\u1000-\u102a\u1780-\u17a2"
)
# Vowel signs and accents that Python's \w leaves out: they would cut words of these scripts.
_MARKS = (
    "\u0300-\u036f\u0591-\u05bd\u05bf\u05c1-\u05c7\u064b-\u065f\u0670\u0900-\u0903\u093a-\u094f"
    "\u0951-\u0957\u0962\u0963\u0981-\u0983\u09bc-\u09cd\u0a01-\u0a03\u0a3c-\u0a4d\u0abc-\u0acd"
    "\u0b3c-\u0b57\u0bbe-\u0bcd\u0c3e-\u0c56\u0cbc-\u0cd6\u0d3b-\u0d4d\u0dca-\u0ddf"
    "\u0e30-\u0e3a\u0e47-\u0e4e\u0eb0-\u0ebc\u0ec8-\u0ecd\u102b-\u103e\u17b4-\u17d3"
)
# Four times as fast as a regular expression.
_ASCII = "".join(chr(code).lower() if chr(code).isalnum() else " " for code in range(128))
_WORDS = re.compile(rf"[^\W_](?:[^\W_]|[{_MARKS}])*")
_MIXED = re.compile(
    rf"[{_SPACELESS}][{_MARKS}]*|(?:(?![{_SPACELESS}])[^\W_])(?:(?![{_SPACELESS}])[^\W_]|[{_MARKS}])*"
)
_ANY_SPACELESS = re.compile(f"[{_SPACELESS}]")
_CODE = re.compile(r"[a-z]{2,3}")
_SPACELESS_LANGUAGES = frozenset({"auto", "zh", "yue", "ja", "th", "lo", "my", "km"})

Tokens = tuple[str, ...]


def tokens(text: str, language: str = "auto") -> list[str]:
    """Split a text into lower-case tokens; punctuation, symbols and emoji are left out.

    Args:
        text: Any text; full-width letters count as the plain ones (NFKC).
        language: `auto` and languages without spaces (`zh`, `ja`, `th`, ...): words, and each
            character of such a script by itself. Another code (`en`, `de`, ...): words alone.

    Raises:
        SettingError: The language is neither `auto` nor a code of two or three letters.
    """
    return list(frozen_tokens(text, language))


# Four thousand texts of 300 tokens are 10 MB, since equal tokens are kept once.
@lru_cache(maxsize=4096)
def frozen_tokens(text: str, language: str = "auto") -> Tokens:
    """The same tokens as a tuple, remembered for the texts of late."""
    if language != "auto" and not _CODE.fullmatch(language):
        raise SettingError(
            f"language: got {language!r}; expected 'auto' or a code such as 'en' or 'zh'"
        )
    # interned tokens carry their hash along, which the metrics ask for again and again
    return tuple(map(sys.intern, _split(text, language in _SPACELESS_LANGUAGES)))


@lru_cache(maxsize=4096)
def without_spaces(text: str) -> bool:
    """Whether at least half of a text's tokens are characters of a script without spaces."""
    found = frozen_tokens(text)
    return bool(found) and 2 * sum(map(_is_spaceless, found)) >= len(found)


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Every run of `n` tokens, in order; none where there are fewer tokens."""
    return list(zip(*(words[start:] for start in range(n)), strict=False))


def _split(text: str, by_character: bool) -> list[str]:
    if text.isascii():
        return text.translate(_ASCII).split()
    return (_MIXED if by_character else _WORDS).findall(normalize("NFKC", text).lower())


def _is_spaceless(token: str) -> bool:
    return _ANY_SPACELESS.match(token) is not None
