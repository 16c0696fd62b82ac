"""Word overlap weighted by rarity: a baseline without a model. Knows no task."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_RUNS = re.compile(f"(?P<han>[{_HAN}]+)|[^\\W_{_HAN}]+")


def terms(text: str) -> list[str]:
    """Split a text into lower-case words; runs of Chinese characters into character pairs."""
    found: list[str] = []
    for match in _RUNS.finditer(text.lower()):
        run = match.group()
        if match["han"] and len(run) > 1:
            found.extend(run[place : place + 2] for place in range(len(run) - 1))
        else:
            found.append(run)
    return found


class TfIdf:
    """Pick the candidate whose tf-idf vector has the largest cosine with the context's.

    idf = ln((1 + n) / (1 + df)) + 1 over the `n` texts given. Ties are broken at random.

    Args:
        texts: the training texts, each once.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        counts: Counter[str] = Counter()
        number = 0
        for text in texts:
            counts.update(set(terms(text)))
            number += 1
        self._idf = {term: math.log((1 + number) / (1 + df)) + 1 for term, df in counts.items()}
        self._unseen = math.log(1 + number) + 1
        self.vector = lru_cache(maxsize=65_536)(self._vector)

    def __call__(self, obs: Mapping[str, Any], rng: np.random.Generator) -> int:
        """Return the index of the candidate that is nearest to the context."""
        context = self._vector(" ".join(obs["context"]))
        scores = np.array([dot(self.vector(text), context) for text in obs["candidates"]])
        return int(rng.choice(np.flatnonzero(scores == scores.max())))

    def _vector(self, text: str) -> dict[str, float]:
        """Weigh a text's terms; the squares of the weights add up to 1 (or to 0 without terms)."""
        weights = {
            term: count * self._idf.get(term, self._unseen)
            for term, count in Counter(terms(text)).items()
        }
        length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        return {term: weight / length for term, weight in weights.items()}


def dot(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Add up the products of the weights of shared terms: the cosine of vectors of length 1."""
    return sum(weight * other[term] for term, weight in one.items() if term in other)
