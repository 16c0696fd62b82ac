"""Rewards for how an output is written, whatever it says. Knows no task.

An output without a word gets the low end, so that saying nothing never pays.

Costs: microseconds on one core for an output of 60 words not seen before, a source of 400.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.rewards.function import reward
from strategy_rl_envs.rewards.tokens import frozen_tokens, ngrams, without_spaces


@reward
def length(
    output: str, *, unit: Literal["tokens", "characters"] = "tokens", language: str = "auto"
) -> float:
    """How long the output is: a thing to watch rather than to reward.

    Range: 0 and more. Cost: about 7 us. Source: none needed.
    """
    return float(len(output) if unit == "characters" else len(frozen_tokens(output, language)))


@reward(bounds=(0.0, 1.0))
def length_target(output: str, *, target: int = 30, language: str = "auto") -> float:
    """1 at the target length in tokens, falling evenly to 0 at none and at twice as many.

    Range: 0 to 1. Cost: about 7 us. Source: a tent, our own.
    """
    _at_least("target", target, 1)
    return max(0.0, 1 - abs(len(frozen_tokens(output, language)) - target) / target)


@reward(bounds=(0.0, 1.0))
def compression(output: str, source: str | None, *, language: str = "auto") -> float | None:
    """Share of the source's tokens that the output saves.

    Range: 0 (no shorter, or empty: nothing is kept) to 1, never reached. Cost: about 7 us.
    Source: one less the inverse of the compression ratio of Grusky et al. 2018.
    """
    if source is None or not (whole := len(frozen_tokens(source, language))):
        return None
    left = len(frozen_tokens(output, language))
    return max(0.0, 1 - left / whole) if left else 0.0


@reward(bounds=(0.0, 1.0))
def copy_ratio(
    output: str, source: str | None, *, n: int = 3, language: str = "auto"
) -> float | None:
    """Share of the output's n-grams that stand in the source; weigh it below 0 for new wording.

    Range: 0 to 1. Cost: about 37 us. Source: one less the novel n-grams of See et al. 2017.
    """
    if source is None:
        return None
    grams = _grams(output, n, language)
    known = set(_grams(source, n, language))
    return sum(gram in known for gram in grams) / len(grams) if grams else 0.0


@reward(bounds=(0.0, 1.0))
def repetition(output: str, *, n: int = 3, language: str = "auto") -> float:
    """Share of the output's n-grams that it held before; weigh it below 0.

    Range: 0 (all different) to just below 1. Cost: about 12 us.
    Source: seq-rep-n of Welleck et al. 2020.
    """
    grams = _grams(output, n, language)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


@reward(bounds=(0.0, 1.0))
def distinct_n(output: str, *, n: int = 2, language: str = "auto") -> float:
    """Share of the output's n-grams that differ from each other.

    Range: 0 (fewer than n tokens) to 1. Cost: about 12 us. Source: distinct-n of Li et al. 2016,
    here within one output; short outputs reach 1 easily.
    """
    grams = _grams(output, n, language)
    return len(set(grams)) / len(grams) if grams else 0.0


@reward(bounds=(0.0, 1.0))
def keyword_coverage(
    output: str,
    keywords: Sequence[str] | None = None,
    *,
    words: tuple[str, ...] = (),
    language: str = "auto",
) -> float | None:
    """Share of the keywords that the output names, each token by token.

    The keywords are the step's fact `keywords` and the setting `words` together; it abstains where
    there are none. Range: 0 to 1. Cost: about 13 us with 5 keywords. Source: as in CommonGen
    (Lin et al. 2020), without lemmas.
    """
    wanted = {frozen_tokens(word, language) for word in (*(keywords or ()), *words)} - {()}
    if not wanted:
        return None
    found = frozen_tokens(output, language)
    present = {gram for size in {len(word) for word in wanted} for gram in ngrams(found, size)}
    return len(wanted & present) / len(wanted)


@reward(bounds=(0.0, 1.0))
def readability(output: str, *, language: str = "auto") -> float:
    """How easy the output is to read.

    English: Flesch reading ease / 100 (Flesch 1948), syllables counted as groups of vowels; cut
    off below 0 and above 1. Chinese and other scripts without spaces: 1 at 15 characters a
    sentence, falling evenly to 0 at 60 (our own). `en` and `zh` alone are known; `auto` takes the
    script. Range: 0 to 1. Cost: about 52 us.
    """
    if language not in ("auto", "en", "zh"):
        raise SettingError(f"language: got {language!r}; expected 'auto', 'en' or 'zh'")
    words = frozen_tokens(output, language)
    if not words:
        return 0.0
    sentences = sum(any(map(str.isalnum, part)) for part in _SENTENCE_END.split(output))
    words_a_sentence = len(words) / max(1, sentences)
    if language == "zh" or (language == "auto" and without_spaces(output)):
        return _unit((_HARD_SENTENCE - words_a_sentence) / (_HARD_SENTENCE - _EASY_SENTENCE))
    syllables_a_word = sum(map(_syllables, words)) / len(words)
    return _unit((206.835 - 1.015 * words_a_sentence - 84.6 * syllables_a_word) / 100)


_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[。！？…\n]")
_VOWELS = re.compile("[aeiouy]+")
_EASY_SENTENCE, _HARD_SENTENCE = 15, 60


def _syllables(word: str) -> int:
    """Groups of vowels, less a silent e at the end; at least one."""
    count = len(_VOWELS.findall(word))
    silent = word.endswith("e") and not word.endswith(("le", "ee"))
    return max(1, count - silent)


def _grams(text: str, n: int, language: str) -> list[tuple[str, ...]]:
    _at_least("n", n, 1)
    return ngrams(frozen_tokens(text, language), n)


def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)  # in this order NaN stays NaN, for the caller to refuse


def _at_least(setting: str, given: int, low: int) -> None:
    if given < low:
        raise SettingError(f"{setting}: expected {low} or more, got {given}")
