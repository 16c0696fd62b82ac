"""Rewards for whether an output is a sentence of wanted size. Knows no task.

They are cheap guards of a reward that a list of words would satisfy as well as a sentence does.

Costs: microseconds on one core for an output of 60 words not seen before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.rewards.function import reward
from strategy_rl_envs.rewards.tokens import frozen_tokens, without_spaces

# What binds a sentence together: articles, pronouns, prepositions, conjunctions, auxiliaries.
_BINDING = """
a about above after against all also an and another any are as at be because been before being
below between both but by can could did do does doing down during each either else every few for
from further had has have having he her here hers herself him himself his how i if in instead into
is it its itself just many may me might mine more most much must my myself neither no nor not of
off on once one only or other our ours ourselves out over own same shall she should since so some
such than that the their theirs them themselves then there these they this those though through to
too under unless until up upon us very was we were what when where whether which while who whom
whose why will with within without would yet you your yours yourself
am cannot didn doesn don dont hadn hasn haven isn ll re s t ve weren won wouldn
"""
FUNCTION_WORDS = frozenset(_BINDING.split())
_SENTENCE_END = re.compile(r"[.!?。！？…][\"'”’」』)\]]*\s*\Z")


@reward(bounds=(0.0, 1.0))
def function_words(output: str) -> float | None:
    """Share of the output's words that are English function words, as `the`, `of` and `is`.

    In English prose four or five words of ten are; in a list of keywords or of praise hardly one.
    It abstains on scripts without spaces.

    Range: 0 (or no word) to 1. Cost: about 6 us. Source: the closed word classes; our own list.
    """
    if without_spaces(output):
        return None
    words = frozen_tokens(output)
    return sum(word in FUNCTION_WORDS for word in words) / len(words) if words else 0.0


@reward(bounds=(0.0, 1.0))
def ends_sentence(output: str) -> float:
    """1 where there is a word, and the last one is followed by the mark of a sentence's end.

    Closing quotes and brackets may stand behind the mark. Range: 0 or 1. Cost: about 5 us.
    Source: none needed.
    """
    return float(_SENTENCE_END.search(output) is not None and bool(frozen_tokens(output)))


@reward(bounds=(0.0, 1.0))
def length_window(
    output: str, window: Sequence[int] | None = None, *, low: int = 1, high: int = 30
) -> float:
    """1 from the fewest to the most tokens, falling evenly to 0 at none and at twice the most.

    The step's fact `window`, (fewest, most), goes before the settings `low` and `high`.

    Range: 0 to 1. Cost: about 5 us. Source: a trapezoid, our own.
    """
    fewest, most = (low, high) if window is None else window
    if not 1 <= fewest <= most:
        raise SettingError(f"low, high: expected 1 <= low <= high, got {fewest} and {most}")
    count = len(frozen_tokens(output))
    return min(1.0, count / fewest, max(0.0, 2 - count / most))
