import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer

from strategy_rl_envs.rewards.rouge import KINDS, limited_recall, rouge_l, rouge_n

WORDS = st.lists(st.sampled_from(("the", "cat", "sat", "on", "a", "mat", "7")), max_size=40)
THEIRS = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
SPLIT = DefaultTokenizer(use_stemmer=False).tokenize


@pytest.mark.parametrize("kind", ["1", "2", "l"])
@given(candidate=WORDS, reference=WORDS)
def test_rouge_equals_rouge_score(kind: str, candidate: list[str], reference: list[str]) -> None:
    theirs = THEIRS.score(" ".join(reference), " ".join(candidate))[f"rouge{kind.upper()}"]
    assert KINDS[kind](candidate, reference) == pytest.approx(tuple(theirs), abs=1e-9)


@given(candidate=st.text(max_size=200), reference=st.text(max_size=200))
def test_rouge_equals_rouge_score_on_its_own_tokens(candidate: str, reference: str) -> None:
    theirs = THEIRS.score(reference, candidate)
    ours, gold = SPLIT(candidate), SPLIT(reference)
    for kind, score in KINDS.items():
        expected = tuple(theirs[f"rouge{kind.upper()}"])
        assert score(ours, gold) == pytest.approx(expected, abs=1e-9)


def test_rouge_1_by_hand() -> None:
    # a twice (of three), b and d are shared: 4 of 6 and 4 of 5
    assert rouge_n(list("aabcad"), list("abade"), 1) == pytest.approx((4 / 6, 4 / 5, 8 / 11))


def test_rouge_2_by_hand() -> None:
    # "the cat" alone is shared, of 3 and of 2 pairs
    score = rouge_n(["the", "cat", "sat", "down"], ["see", "the", "cat"], 2)
    assert score == pytest.approx((1 / 3, 1 / 2, 2 / 5))


def test_rouge_l_by_hand() -> None:
    # police ... the gunman: three in order, of four each
    score = rouge_l(["police", "kill", "the", "gunman"], ["police", "killed", "the", "gunman"])
    assert score == pytest.approx((3 / 4, 3 / 4, 3 / 4))
    # the gunman, or kill police: the order counts
    score = rouge_l(["the", "gunman", "kill", "police"], ["police", "kill", "the", "gunman"])
    assert score.f1 == pytest.approx(1 / 2)


def test_rouge_l_of_chinese_characters_by_hand() -> None:
    assert rouge_l(list("我很爱你"), list("我爱你")) == pytest.approx((3 / 4, 1, 6 / 7))


@given(candidate=WORDS, reference=WORDS)
def test_swapping_the_texts_swaps_precision_and_recall(
    candidate: list[str], reference: list[str]
) -> None:
    for score in KINDS.values():
        there, back = score(candidate, reference), score(reference, candidate)
        assert (there.precision, there.recall) == (back.recall, back.precision)


def test_limited_recall_ignores_what_lies_behind_the_limit() -> None:
    reference = ["a", "b", "c", "d"]
    assert limited_recall(["a", "b", "x", "c", "d"], reference, 3, "1") == 1 / 2
    assert limited_recall(["a", "b", "x", "c", "d"], reference, 5, "1") == 1
    assert limited_recall(["a", "b"], reference, 0) == 0


@given(candidate=WORDS, reference=WORDS, limit=st.integers(0, 50))
def test_limited_recall_never_falls_with_more_room(
    candidate: list[str], reference: list[str], limit: int
) -> None:
    for kind in KINDS:
        less = limited_recall(candidate, reference, limit, kind)
        assert less <= limited_recall(candidate, reference, limit + 1, kind)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="n: expected 1 or more, got 0"):
        rouge_n(["a"], ["a"], 0)
    with pytest.raises(ValueError, match="num_tokens: expected 0 or more, got -1"):
        limited_recall(["a"], ["a"], -1)


def test_rouge_l_of_220_by_80_tokens_takes_under_50_microseconds() -> None:
    candidate = [f"w{i * i % 97}" for i in range(220)]
    reference = [f"w{i * 7 % 89}" for i in range(80)]
    best = float("inf")
    for _ in range(10):  # the quickest of ten: other jobs share the machine
        start = time.perf_counter()
        for _ in range(100):
            rouge_l(candidate, reference)
        best = min(best, (time.perf_counter() - start) / 100)
    assert best < 50e-6
