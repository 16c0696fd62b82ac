import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.rewards.library import LIBRARY
from strategy_rl_envs.rewards.ranking import (
    accuracy,
    discounted_gain,
    hit,
    hit_at_k,
    mrr,
    ndcg,
    normalized_gain,
    reciprocal_rank,
)

RELEVANCE = st.lists(st.floats(0, 10), min_size=1, max_size=12).filter(lambda found: max(found) > 0)


def test_discounted_gain_by_hand() -> None:
    assert discounted_gain([3, 2, 0, 1]) == pytest.approx(3 + 2 / math.log2(3) + 1 / math.log2(5))
    assert discounted_gain([3, 2, 0, 1], k=1) == 3
    assert discounted_gain([-1, 0]) == 0


def test_normalized_gain_by_hand() -> None:
    assert normalized_gain([0, 1], [1, 0]) == pytest.approx(1 / math.log2(3))
    assert normalized_gain([1, 0], [0, 0]) is None


def test_reciprocal_rank_and_hit_by_hand() -> None:
    assert reciprocal_rank([0, 0, 1, 1]) == pytest.approx(1 / 3)
    assert reciprocal_rank([0, 0]) == 0
    assert hit([0, 1], 2)
    assert not hit([0, 1], 1)


def test_rewards_follow_the_ranking_by_hand() -> None:
    relevance = [0.0, 1.0, 0.0, 3.0]
    assert accuracy(3, relevance) == 1
    assert accuracy(1, relevance) == accuracy(4, relevance) == accuracy(-1, relevance) == 0
    assert mrr([0, 2, 1], relevance) == pytest.approx(1 / 3)
    assert hit_at_k([0, 2, 1], relevance, k=2) == 0
    assert hit_at_k([0, 2, 1], relevance, k=3) == 1
    best = 3 + 1 / math.log2(3)
    assert ndcg([1, 3], relevance) == pytest.approx((1 + 3 / math.log2(3)) / best)
    assert ndcg([1, 3], relevance, k=1) == pytest.approx(1 / 3)


@given(RELEVANCE)
def test_the_best_order_scores_1(relevance: list[float]) -> None:
    order = sorted(range(len(relevance)), key=lambda index: -relevance[index])
    assert ndcg(order, relevance) == pytest.approx(1)
    assert mrr(order, relevance) == hit_at_k(order, relevance, k=1) == 1
    assert accuracy(order[0], relevance) == 1


@given(RELEVANCE, st.data())
def test_swapping_a_better_candidate_forward_never_lowers_ndcg(
    relevance: list[float], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(relevance))))
    place = data.draw(st.integers(0, len(order) - 1))
    better = max(range(place, len(order)), key=lambda later: relevance[order[later]])
    swapped = list(order)
    swapped[place], swapped[better] = swapped[better], swapped[place]
    assert ndcg(swapped, relevance) >= ndcg(order, relevance) - 1e-9


def test_a_candidate_named_twice_earns_once() -> None:
    assert ndcg([0, 0, 0], [1.0, 1.0, 1.0]) == pytest.approx(1 / discounted_gain([1, 1, 1]))


@pytest.mark.parametrize(
    "relevance", [None, [], [0.0, 0.0], [-1.0], [1.0, math.nan], [1.0, math.inf], [1.0, None]]
)
def test_relevances_that_tell_nothing_make_the_rewards_abstain(relevance: object) -> None:
    assert accuracy(0, relevance) is None
    for name in ("ndcg", "mrr", "hit_at_k"):
        assert LIBRARY[name]([0], relevance) is None
        assert LIBRARY[name](None, [1.0]) is None


@pytest.mark.parametrize("score", [ndcg, hit_at_k])
def test_a_cut_before_the_first_place_is_refused(score: object) -> None:
    with pytest.raises(SettingError, match="k: expected 1 or more, got 0"):
        score([0], [1.0], k=0)
