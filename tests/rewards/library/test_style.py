import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.rewards.style import (
    compression,
    copy_ratio,
    distinct_n,
    keyword_coverage,
    length,
    length_target,
    readability,
    repetition,
)

WORDS = st.lists(st.sampled_from(("a", "b", "c", "猫")), max_size=30).map(" ".join)


def test_length_counts_words_characters_or_both_scripts() -> None:
    assert length("one two, three!") == 3
    assert length("one 二三") == 3
    assert length("one two", unit="characters") == 7


@pytest.mark.parametrize(("words", "score"), [(0, 0), (5, 0.5), (10, 1), (15, 0.5), (20, 0)])
def test_length_target_is_a_tent(words: int, score: float) -> None:
    assert length_target("word " * words, target=10) == pytest.approx(score)
    assert length_target("字" * words, target=10) == pytest.approx(score)


def test_compression_by_hand() -> None:
    assert compression("one", "one two three four") == pytest.approx(3 / 4)
    assert compression("one two three", "one") == 0
    assert compression("", "one two") == 0  # keeps nothing
    assert compression("one", None) is None
    assert compression("one", "...") is None


def test_copy_ratio_by_hand() -> None:
    # of "a b c" and "b c x" the first is copied
    assert copy_ratio("a b c x", "a b c d") == pytest.approx(1 / 2)
    assert copy_ratio("a b", "a b c d") == 0  # too short for three in a row
    assert copy_ratio("我爱北京", "他说我爱北京", n=2) == 1
    assert copy_ratio("a b c", None) is None


@given(WORDS)
def test_a_copy_of_the_source_is_all_copied(text: str) -> None:
    assert copy_ratio(text, text, n=1) == float(bool(text))


def test_repetition_and_distinct_by_hand() -> None:
    # ab, ba, ab, ba: two different of four
    assert repetition("a b a b a", n=2) == pytest.approx(1 / 2)
    assert distinct_n("a b a b a", n=2) == pytest.approx(1 / 2)
    assert repetition("哈哈哈", n=1) == pytest.approx(2 / 3)
    assert repetition("a b c d") == 0
    assert distinct_n("") == repetition("") == 0


@given(WORDS, st.integers(1, 4))
def test_repetition_and_distinct_share_1_out(text: str, n: int) -> None:
    total = repetition(text, n=n) + distinct_n(text, n=n)
    assert total == pytest.approx(1 if len(text.split()) >= n else 0)


@given(WORDS.filter(bool))
def test_saying_it_twice_repeats_more(text: str) -> None:
    assert repetition(f"{text} {text}", n=1) > repetition(text, n=1)


def test_keyword_coverage_by_hand() -> None:
    text = "The delivery was late, so I want my money back."
    assert keyword_coverage(text, ["money back", "Delivery", "refund"]) == pytest.approx(2 / 3)
    assert keyword_coverage(text, ["money late"]) == 0
    assert keyword_coverage(text, ["late"], words=("refund",)) == pytest.approx(1 / 2)
    assert keyword_coverage("我要退货", ["退货", "货退"]) == pytest.approx(1 / 2)
    assert keyword_coverage(text) is None
    assert keyword_coverage(text, ["?!"]) is None


def test_flesch_reading_ease_by_hand() -> None:
    # 6 words, 1 sentence, 10 syllables: 206.835 - 1.015 * 6 - 84.6 * 10 / 6
    text = "My simple letter made people happy."
    assert readability(text) == pytest.approx((206.835 - 6.09 - 141) / 100)
    assert readability("The cat sat. The dog ran.") == 1
    assert readability("Incomprehensibilities notwithstanding, institutionalization") == 0


def test_readability_of_chinese_falls_with_the_length_of_sentences() -> None:
    assert readability("我喜欢这本书。它很好看。") == 1
    # 30 characters in one sentence: (60 - 30) / 45
    assert readability("我" * 30 + "。") == pytest.approx(2 / 3)
    assert readability("我" * 80) == 0
    assert readability("我" * 15 + "！" + "我" * 15) == 1


def test_nothing_is_not_readable() -> None:
    assert readability("") == readability("...") == 0


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(SettingError, match="target: expected 1 or more, got 0"):
        length_target("text", target=0)
    with pytest.raises(SettingError, match="n: expected 1 or more, got 0"):
        repetition("text", n=0)
    with pytest.raises(SettingError, match="expected 'auto', 'en' or 'zh'"):
        readability("text", language="de")
