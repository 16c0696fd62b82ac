"""Baselines without a model: the first sentence of a document, or its first words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from strategy_rl_envs.kit.documents import Document
from strategy_rl_envs.rewards.rouge import rouge_l
from strategy_rl_envs.rewards.tokens import tokens

Heuristic = Callable[[str, np.random.Generator], str]
_MOST_WORDS = 40


def first_words(text: str, count: int) -> str:
    """The first words of a text; of a script without spaces, its first characters."""
    words = text.split()
    return " ".join(words[:count]) if len(words) > 1 else text[:count]


def best_count(documents: Sequence[Document]) -> int:
    """How many first words have the best mean ROUGE-L (F1) on training documents."""
    totals = np.zeros(_MOST_WORDS)
    for document in documents:
        reference = tokens(document.references[0])
        text = " ".join(document.sentences)
        for count in range(1, _MOST_WORDS + 1):
            totals[count - 1] += rouge_l(tokens(first_words(text, count)), reference).f1
    return int(totals.argmax()) + 1
