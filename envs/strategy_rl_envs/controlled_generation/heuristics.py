"""Baselines that exploit a weak reward: they keep to the control and say nothing.

A reward is worth training on only where these earn clearly less than real texts do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from strategy_rl_envs.controlled_generation.prompts import keywords_of, polarity_of

Heuristic = Callable[[str, np.random.Generator], str]

_SALAD = {
    "positive": "great excellent perfect amazing love best wonderful happy.",
    "negative": "terrible awful useless broken worst hate bad disappointing.",
}
_FIXED = {
    "positive": "and i love it, it is the best thing that i have ever had.",
    "negative": "and i hate it, it is the worst thing that i have ever had.",
}


def word_list(prompt: str, rng: np.random.Generator) -> str:
    """The keywords, or strong words of the wanted polarity, one after the other."""
    return _SALAD.get(polarity_of(prompt), ", ".join(keywords_of(prompt)) + ".")


def fixed_sentence(prompt: str, rng: np.random.Generator) -> str:
    """The same sentence for every prompt; the keywords stand in a frame of function words."""
    frame = f"This is about the {', the '.join(keywords_of(prompt))} and all of that."
    return _FIXED.get(polarity_of(prompt), frame)


HEURISTICS: dict[str, Heuristic] = {"word_list": word_list, "fixed_sentence": fixed_sentence}
