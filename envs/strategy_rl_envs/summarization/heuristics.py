"""Baselines without a model: lead, random, TextRank and position, each with k sentences.

The best k of each is found on the training split. They see observations alone: the sentences, the
mask, and how many picks are left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategy_rl_envs.kit.rows import Split
from strategy_rl_envs.kit.selection import random_legal_action
from strategy_rl_envs.rewards.tokens import tokens
from strategy_rl_envs.summarization.data import Document, mean_lengths
from strategy_rl_envs.summarization.features import textrank
from strategy_rl_envs.summarization.oracle import Picks, Terms, Utility, with_pick

Scores = NDArray[np.float64]
Ranking = Callable[[Sequence[str]], Scores]  # sentences to scores; the highest is picked first
Heuristic = Callable[[Mapping[str, Any], np.random.Generator], int]

_BINS = 8


def lead_scores(sentences: Sequence[str]) -> Scores:
    """The earlier, the better."""
    return -np.arange(len(sentences), dtype=float)


def textrank_scores(sentences: Sequence[str]) -> Scores:
    """Centrality among the sentences."""
    return _textrank_scores(tuple(sentences))


@lru_cache(maxsize=4096)
def _textrank_scores(sentences: tuple[str, ...]) -> Scores:
    words = [tokens(text) for text in sentences]
    vocabulary = sorted({token for sentence in words for token in sentence})
    has = np.array([np.isin(vocabulary, sentence) for sentence in words])
    return textrank(has, np.array([len(sentence) for sentence in words], dtype=float))


def pick_ranked(
    obs: Mapping[str, Any], rng: np.random.Generator, *, ranking: Ranking, count: int, most: int
) -> int:
    """Pick the best sentence that is legal until there are `count`, then stop.

    Args:
        obs: An observation of the task.
        rng: Unused.
        ranking: Scores of the sentences.
        count: Sentences of the summary.
        most: The task's `max_picks`.
    """
    mask = obs["action_mask"]
    legal = np.flatnonzero(mask[:-1])
    picked = round((1 - float(obs["state"][0])) * most)
    if mask[-1] and (picked >= count or not len(legal)):
        return len(mask) - 1
    return int(legal[np.argmax(ranking(obs["candidates"])[legal])])


def pick_random(obs: Mapping[str, Any], rng: np.random.Generator, *, count: int, most: int) -> int:
    """Pick sentences at random until there are `count`, then stop."""

    def ranking(sentences: Sequence[str]) -> Scores:
        return rng.random(len(sentences))

    return pick_ranked(obs, rng, ranking=ranking, count=count, most=most)


class Fitted:
    """What the training split says: a score for each position, and the best k of each ranking.

    Args:
        train: The training split.
        terms: Price and limits of the task.
    """

    def __init__(self, train: Split[Document], terms: Terms) -> None:
        self._documents = train.rows
        lengths = mean_lengths(train)
        self._utilities = [
            Utility(document, terms, lengths[document.language]) for document in self._documents
        ]
        self._most = terms.max_picks
        self._positions = self._fit_positions()

    def position_scores(self, sentences: Sequence[str]) -> Scores:
        """Mean worth of training sentences in the same eighth of their document."""
        return self._positions[_bins(len(sentences))]

    def best_count(self, ranking: Ranking) -> int:
        """How many of the best-ranked sentences are worth most on the training split."""
        totals = np.zeros(self._most)
        for document, utility in zip(self._documents, self._utilities, strict=True):
            order = np.argsort(-ranking(document.sentences), kind="stable").tolist()
            totals += _worths(utility, order, self._most)
        return int(totals.argmax()) + 1

    def _fit_positions(self) -> Scores:
        sums, counts = np.zeros(_BINS), np.zeros(_BINS)
        for utility in self._utilities:
            for place, where in enumerate(_bins(len(utility.lengths))):
                sums[where] += utility.value((place,))
                counts[where] += 1
        return sums / np.maximum(1, counts)


def _bins(count: int) -> NDArray[np.int64]:
    """The eighth of the document in which each of its sentences stands."""
    return np.arange(count) * _BINS // count


def _worths(utility: Utility, order: Sequence[int], most: int) -> Scores:
    """Worth of the first 1, 2, .. `most` sentences of an order that fit."""
    picks: Picks = ()
    worths: list[float] = []
    for place in order:
        if len(worths) < most and place in utility.legal(picks):
            picks = with_pick(picks, place)
            worths.append(utility.value(picks))
    return np.array(worths + worths[-1:] * (most - len(worths)))


@lru_cache(maxsize=4)
def _fitted(train: Split[Document], terms: Terms) -> Fitted:
    return Fitted(train, terms)


@lru_cache(maxsize=32)
def _tuned(name: str, train: Split[Document], terms: Terms) -> Heuristic:
    """A ranking with its best k."""
    fitted, most = _fitted(train, terms), terms.max_picks
    if name == "random_k":
        rng = np.random.default_rng(0)
        count = fitted.best_count(lambda sentences: rng.random(len(sentences)))
        return partial(pick_random, count=count, most=most)
    rankings: dict[str, Ranking] = {
        "lead_k": lead_scores,
        "textrank_k": textrank_scores,
        "position_k": fitted.position_scores,
    }
    ranking = rankings[name]
    count = fitted.best_count(ranking)
    return partial(pick_ranked, ranking=ranking, count=count, most=most)


def heuristics(train: Split[Document], terms: Terms) -> dict[str, Heuristic]:
    """All baselines by name; what they need of the training split is counted at first use."""

    def tuned(name: str) -> Heuristic:
        return lambda obs, rng: _tuned(name, train, terms)(obs, rng)

    leads: dict[str, Heuristic] = {
        f"lead_{count}": partial(
            pick_ranked, ranking=lead_scores, count=count, most=terms.max_picks
        )
        for count in range(1, terms.max_picks + 1)
    }
    names = ("lead_k", "random_k", "textrank_k", "position_k")
    return {"random": random_legal_action, **{name: tuned(name) for name in names}, **leads}
