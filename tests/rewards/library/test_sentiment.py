from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy_rl_envs.rewards.lexicon import sentiment
from strategy_rl_envs.rewards.lexicon_words import LISTS, NEGATIONS, STRENGTHS, VALENCES


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("The food was good.", 0.6),
        ("The food was very good!", 0.9),
        ("The food was slightly bad.", -0.3),
        ("The food was not good.", -0.36),
        ("I don't like it", -0.36),
        ("I don’t like it", -0.36),
        ("It is not a problem, it is good", 0.48),  # (0.36 + 0.6) / 2
        ("No. Good.", 0.6),  # a negation ends with its clause
        ("pretty bad", -0.6),
        ("good, bad", 0.0),
        ("the table", 0.0),
        ("", 0.0),
        ("服务很好", 0.9),
        ("服务不是很好", -0.54),
        ("我不满意", -0.6),  # listed as one word
        ("没问题", 0.6),
        ("价格太贵,质量差", -0.6),
        ("这本书有点无聊。", -0.3),
    ],
)
def test_sentiment_by_hand(text: str, score: float) -> None:
    assert sentiment(text) == pytest.approx(score)


def test_repeating_praise_earns_nothing() -> None:
    assert sentiment("great " * 50) == pytest.approx(sentiment("great"))


@given(st.sampled_from(sorted(VALENCES)))
def test_every_listed_word_has_its_sign(word: str) -> None:
    assert sentiment(word) == pytest.approx(0.6 * VALENCES[word])


def test_no_word_is_on_two_lists() -> None:
    for one, other in combinations(LISTS.values(), 2):
        assert not set(one) & set(other)
    for words in LISTS.values():
        assert 150 <= len(words) == len(set(words)) <= 300
    assert not VALENCES.keys() & (NEGATIONS | STRENGTHS.keys())
    assert not NEGATIONS & STRENGTHS.keys()
