"""Baselines without a model: chance, word overlap, the most frequent class, a special action."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from strategy_rl_envs.from_data.data import Row, Source, load
from strategy_rl_envs.from_data.fields import ClassFields, SelectionFields
from strategy_rl_envs.kit.selection import random_legal_action
from strategy_rl_envs.kit.tfidf import TfIdf, dot

Heuristic = Callable[[Mapping[str, Any], np.random.Generator], int]


def selection_heuristics(
    source: Source, fields: SelectionFields, room: int, special: Sequence[str]
) -> dict[str, Heuristic]:
    """Chance, word overlap with the context, and each special action; `room` for candidates."""

    def tfidf(obs: Mapping[str, Any], rng: np.random.Generator) -> int:
        return _overlap(source, fields)(obs, rng)

    return {"random": random_legal_action, "tfidf": tfidf, **_always(room, special)}


def class_heuristics(
    source: Source, fields: ClassFields, special: Sequence[str]
) -> dict[str, Heuristic]:
    """Chance, the most frequent class, word overlap with each class, and each special action."""
    count = len(fields.classes)

    def chance(obs: Mapping[str, Any], rng: np.random.Generator) -> int:
        return int(rng.integers(count + len(special)))

    def majority(obs: Mapping[str, Any], rng: np.random.Generator) -> int:
        return _majority(source, fields)

    def tfidf(obs: Mapping[str, Any], rng: np.random.Generator) -> int:
        return _centroids(source, fields)(obs, rng)

    named = {"random": chance, "majority": majority, "tfidf": tfidf}
    return named | _always(count, special)


def _always(first: int, special: Sequence[str]) -> dict[str, Heuristic]:
    def make(action: int) -> Heuristic:
        return lambda obs, rng: action

    return {f"always_{name}": make(first + place) for place, name in enumerate(special)}


class ClassCentroids:
    """Pick the class whose mean training text shares most with the text (Rocchio's method).

    Args:
        rows: the training rows.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        texts = [" ".join(row.context) for row in rows]
        self._tfidf = TfIdf(texts)
        sums: list[dict[str, float]] = [{} for _ in rows[0].candidates]
        for row, text in zip(rows, texts, strict=True):
            total = sums[row.label]
            for term, weight in self._tfidf.vector(text).items():
                total[term] = total.get(term, 0.0) + weight
        self._centroids = [_unit(total) for total in sums]

    def __call__(self, obs: Mapping[str, Any], rng: np.random.Generator) -> int:
        """Return the index of the nearest class; ties are broken at random."""
        vector = self._tfidf.vector(" ".join(obs.values()))
        scores = np.array([dot(vector, centroid) for centroid in self._centroids])
        return int(rng.choice(np.flatnonzero(scores == scores.max())))


def _unit(vector: dict[str, float]) -> dict[str, float]:
    length = dot(vector, vector) ** 0.5 or 1.0
    return {term: weight / length for term, weight in vector.items()}


# Counted once a process, and only where they are asked for.
@lru_cache(maxsize=4)
def _overlap(source: Source, fields: SelectionFields) -> TfIdf:
    rows = load(source, fields, "train").rows
    return TfIdf(dict.fromkeys(text for row in rows for text in row.context + row.candidates))


@lru_cache(maxsize=4)
def _centroids(source: Source, fields: ClassFields) -> ClassCentroids:
    return ClassCentroids(load(source, fields, "train").rows)


@lru_cache(maxsize=4)
def _majority(source: Source, fields: ClassFields) -> int:
    labels = Counter(row.label for row in load(source, fields, "train").rows)
    return labels.most_common(1)[0][0]
