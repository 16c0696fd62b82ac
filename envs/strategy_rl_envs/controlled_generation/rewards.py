"""The reward components of controlled generation.

`control` says how far the instruction is kept and `judge` gives a second opinion that stays out of
the reward: where `control` rises and `judge` falls, the policy exploits the first.

    kind        control                                         judge
    sentiment   rating by n-grams (`scorer`), full at 1 of 4    lexicon of the library
    keywords    share of the keywords, half if in a row         ROUGE-L with the real sentence
    length      words as wanted, times ROUGE-1 with a summary   ROUGE-L with that summary
    poem_form   lines of the wanted length                      characters that are not repeated
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from strategy_rl_envs.controlled_generation.keywords import longest_row
from strategy_rl_envs.controlled_generation.scorer import rating
from strategy_rl_envs.rewards.lexicon import sentiment
from strategy_rl_envs.rewards.overlap import rouge_1, rouge_l
from strategy_rl_envs.rewards.prose import function_words, length_window
from strategy_rl_envs.rewards.style import copy_ratio, distinct_n, keyword_coverage
from strategy_rl_envs.rewards.tokens import frozen_tokens

# What the functions may ask for: see `ControlledGeneration.step`.
FACTS = (
    *("output", "prompt", "source", "reference"),
    *("kind", "target", "wanted", "keywords", "window", "row"),
)
ENOUGH = 1.0  # people call a text of this mean rating clearly positive; more earns nothing
LEAST, MOST = 0.2, 0.75  # function words: 19 of 20 real sentences have as many
_ROW = 3  # keywords in a row, from which on they are a list
_NAMED = re.compile(r"\b(positive|negative)(ly)?\b", re.IGNORECASE)
_LINE = re.compile(r"[^\s，。！？；、,.!?;]+")


def wanted_sentiment(output: str, wanted: str) -> float | None:
    """How clearly the text has the wanted polarity: 0 (not at all, or the other one) to 1.

    It grows with the expected rating and is full at `ENOUGH`: praise beyond that earns nothing. Nor
    does it to name the polarity.
    """
    if not wanted:
        return None
    if not frozen_tokens(output):
        return 0.0
    return _unit(_signed(rating(_NAMED.sub("", output)), wanted) / ENOUGH)


def judged_sentiment(output: str, wanted: str) -> float | None:
    """The same by the lexicon of the library, from 0 to 1; 0.5 where it knows no word."""
    if not wanted:
        return None
    if not frozen_tokens(output):
        return 0.0
    return (_signed(sentiment(_NAMED.sub("", output)), wanted) + 1) / 2


def keywords_used(output: str, keywords: Sequence[str]) -> float | None:
    """Share of the keywords that the text names, halved where it lists three or more in a row."""
    named = keyword_coverage(output, keywords)
    if named is None:
        return None
    return float(named / 2 if longest_row(output, keywords) >= _ROW else named)


def length_kept(
    output: str, kind: str, window: Sequence[int], reference: str | None
) -> float | None:
    """Whether the summary has the wanted number of words, times its ROUGE-1 with a real one."""
    if kind != "length":
        return None
    said = 1.0 if reference is None else rouge_1(output, reference)
    return float(length_window(output, window) * (said or 0.0))


def poem_form(output: str, kind: str, target: Mapping[str, Any]) -> float | None:
    """Share of the wanted lines that have the wanted number of characters; one more costs one.

    A line ends at a mark of punctuation or a line break.
    """
    if kind != "poem_form":
        return None
    lines = _LINE.findall(output)
    wanted = 2 * target["couplets"]
    right = sum(len(frozen_tokens(line)) == target["chars_per_line"] for line in lines[:wanted])
    return float(max(0, right - max(0, len(lines) - wanted)) / wanted)


def control(
    output: str,
    kind: str,
    target: Mapping[str, Any],
    window: Sequence[int],
    reference: str | None,
) -> float:
    """How far the instruction is kept, from 0 to 1, whatever its kind."""
    found: float | None
    if kind == "sentiment":
        found = wanted_sentiment(output, target["sentiment"])
    elif kind == "keywords":
        found = keywords_used(output, target["keywords"])
    elif kind == "length":
        found = length_kept(output, kind, window, reference)
    else:
        found = poem_form(output, kind, target)
    return found or 0.0


def judge(output: str, kind: str, wanted: str, reference: str | None) -> float:
    """A second opinion, from 0 to 1, on what `control` measures; 0 where nothing is known."""
    if kind == "sentiment":
        return judged_sentiment(output, wanted) or 0.0
    if kind == "poem_form":
        return float(distinct_n(output, n=1))
    return 0.0 if reference is None else rouge_l(output, reference) or 0.0


def prose(output: str, kind: str) -> float:
    """1 where from `LEAST` to `MOST` of the words are function words, falling to 0 at none and all.

    Old Chinese verse has none; there any character will do.
    """
    if kind == "poem_form":
        return float(bool(frozen_tokens(output)))
    share = function_words(output) or 0.0
    return min(1.0, share / LEAST, (1 - share) / (1 - MOST))


def echo(output: str, prompt: str, source: str, kind: str) -> float:
    """Share of the output's word triples that stand in the prompt; weigh it below 0.

    A text to be summarized does not count as part of the prompt.
    """
    asked = prompt.removesuffix(source) if kind == "length" else prompt
    return float(copy_ratio(output, asked) or 0.0)


def constant() -> float:
    """1 whatever is written: the control that must not win."""
    return 1.0


COMPONENTS: dict[str, Callable[..., float | None]] = {
    function.__name__: function
    for function in (
        *(control, judge, prose, echo, constant),
        *(wanted_sentiment, judged_sentiment, keywords_used, length_kept, poem_form),
    )
}

# The gate: a list of words earns nothing by the words that it lists. `echo`: nor does the prompt.
DEFAULT_REWARD: tuple[dict[str, Any], ...] = (
    {"name": "control", "weight": 1.0, "gate": {"name": "prose", "at_least": 0.5}},
    {"name": "prose", "weight": 0.1},
    {"name": "ends_sentence", "weight": 0.2},
    {"name": "length_window", "weight": 0.1},
    {"name": "repetition", "weight": -0.5, "settings": {"n": 2}},
    {"name": "echo", "weight": -0.5},
    {"name": "judge", "weight": 0.0},
    {"name": "distinct_n", "weight": 0.0},
)


def _signed(value: float, wanted: str) -> float:
    return value if wanted == "positive" else -value


def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)
