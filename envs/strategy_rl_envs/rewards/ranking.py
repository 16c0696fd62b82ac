"""How good a choice or an order of candidates is. Knows no text.

The first half is pure functions on relevances in the order chosen, the second half rewards over the
facts `action`, `relevance` (a number for each candidate) and `ranking` (indices of candidates, best
first). An index that is no candidate, or that came before, is worth 0. The rewards abstain where
no candidate is relevant, or where a relevance is missing or no finite number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.rewards.function import reward


def discounted_gain(relevances: Sequence[float], k: int | None = None) -> float:
    """Sum of relevance / log2(place + 1) over the first `k` places, which count from 1.

    Source: Jarvelin and Kekalainen 2002. A negative relevance counts as 0.
    """
    return math.fsum(
        max(0.0, relevance) / math.log2(place + 2) for place, relevance in enumerate(relevances[:k])
    )


def normalized_gain(
    relevances: Sequence[float], offered: Sequence[float], k: int | None = None
) -> float | None:
    """NDCG: the discounted gain by the greatest that the offered relevances allow, 0 to 1.

    None where nothing offered is relevant.
    """
    top = max(offered, default=0.0)
    if top <= 0:
        return None
    best = discounted_gain(sorted((value / top for value in offered), reverse=True), k)
    return min(1.0, discounted_gain([value / top for value in relevances], k) / best)


def reciprocal_rank(relevances: Sequence[float]) -> float:
    """1 / place of the first relevant one; 0 where there is none."""
    return next((1 / (place + 1) for place, value in enumerate(relevances) if value > 0), 0.0)


def hit(relevances: Sequence[float], k: int) -> bool:
    """Whether a relevant one is among the first `k`."""
    return any(value > 0 for value in relevances[:k])


@reward(bounds=(0.0, 1.0))
def accuracy(action: int, relevance: Sequence[float] | None) -> float | None:
    """1 where the action is a candidate of the greatest relevance, else 0.

    Range: 0 or 1. Cost: about 4 us. Source: the share of right answers, for one.
    """
    offered = _offered(relevance)
    if offered is None:
        return None
    return float(_relevances([action], offered)[0] == max(offered))


@reward(bounds=(0.0, 1.0))
def ndcg(
    ranking: Sequence[int] | None, relevance: Sequence[float] | None, *, k: int | None = None
) -> float | None:
    """Relevance gathered, later places counting less, by the most that was possible.

    Range: 0 to 1. Cost: about 15 us at 20 candidates. Source: Jarvelin and Kekalainen 2002.
    """
    offered = _offered(relevance)
    if offered is None or ranking is None:
        return None
    return normalized_gain(_relevances(ranking, offered), offered, _places(k))


@reward(bounds=(0.0, 1.0))
def mrr(ranking: Sequence[int] | None, relevance: Sequence[float] | None) -> float | None:
    """1 / place of the first relevant candidate; its mean over rows is the MRR.

    Range: 0 to 1. Cost: about 6 us at 20 candidates. Source: Voorhees 1999.
    """
    offered = _offered(relevance)
    if offered is None or ranking is None:
        return None
    return reciprocal_rank(_relevances(ranking, offered))


@reward(bounds=(0.0, 1.0))
def hit_at_k(
    ranking: Sequence[int] | None, relevance: Sequence[float] | None, *, k: int = 10
) -> float | None:
    """1 where a relevant candidate is among the first `k`, else 0.

    Range: 0 or 1. Cost: about 6 us at 20 candidates. Source: common in retrieval (success@k).
    """
    offered = _offered(relevance)
    if offered is None or ranking is None:
        return None
    return float(hit(_relevances(ranking, offered), _places(k) or 0))


def _offered(relevance: Sequence[float] | None) -> list[float] | None:
    """The relevances, if all are finite numbers and one is above 0."""
    if not relevance or not all(_is_finite(value) for value in relevance):
        return None
    offered = [float(value) for value in relevance]
    return offered if max(offered) > 0 else None


def _relevances(ranking: Sequence[int], offered: Sequence[float]) -> list[float]:
    seen: set[int] = set()
    relevances = []
    for index in ranking:
        counts = 0 <= index < len(offered) and index not in seen
        relevances.append(offered[index] if counts else 0.0)
        seen.add(index)
    return relevances


def _places(k: int | None) -> int | None:
    if k is not None and k < 1:
        raise SettingError(f"k: expected 1 or more, got {k}")
    return k


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
