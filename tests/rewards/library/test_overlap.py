import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu import sentence_bleu, sentence_chrf, sentence_ter

from strategy_rl_envs.rewards.library import LIBRARY
from strategy_rl_envs.rewards.overlap import (
    bleu,
    chrf,
    exact_match,
    rouge_1,
    rouge_2,
    rouge_l,
    ter,
    token_f1,
)

OVERLAPS = ("rouge_1", "rouge_2", "rouge_l", "bleu", "chrf", "ter", "token_f1", "exact_match")
PIECES = ("The", "cat", "sat", "on", "a", "mat", ",", "dogs", "ran", ".")
SENTENCES = st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join)


@given(output=SENTENCES, reference=SENTENCES.filter(str.strip))
def test_bleu_chrf_and_ter_equal_sacrebleu(output: str, reference: str) -> None:
    theirs = sentence_bleu(output, [reference]).score / 100
    assert bleu(output, reference) == pytest.approx(theirs, abs=1e-9)
    theirs = sentence_chrf(output, [reference]).score / 100
    assert chrf(output, reference) == pytest.approx(theirs, abs=1e-9)
    theirs = 1 - min(1.0, sentence_ter(output, [reference]).score / 100)
    assert ter(output, reference) == pytest.approx(theirs, abs=1e-9)


def test_chinese_bleu_and_ter_equal_sacrebleu_by_character() -> None:
    output, reference = "我今天很喜欢这本书", "我今天喜欢这本书。"
    theirs = sentence_bleu(output, [reference], tokenize="zh").score / 100
    assert bleu(output, reference) == pytest.approx(theirs)
    theirs = sentence_ter(output, [reference], normalized=True, asian_support=True).score / 100
    assert ter(output, reference) == pytest.approx(1 - theirs)


def test_ter_by_hand() -> None:
    assert ter("a b c d", "a b c d e") == pytest.approx(1 - 1 / 5)  # one word missing
    assert ter("c d a b", "a b c d") == pytest.approx(1 - 1 / 4)  # one shift
    assert ter("x y z x y z", "a b") == 0  # six edits of two words


def test_long_texts_are_compared_without_shifts() -> None:
    assert ter("c d a b", "a b c d", max_words=3) == pytest.approx(0)  # delete two, insert two
    long = " ".join(f"w{i}" for i in range(500))
    assert ter(long + " more", long) == pytest.approx(1 - 1 / 500)


def test_bleu_of_several_references_takes_matches_from_all() -> None:
    assert bleu("a b c d", None, ["a b c d x", "y a b c d"]) == pytest.approx(
        sentence_bleu("a b c d", ["a b c d x", "y a b c d"]).score / 100
    )


def test_token_f1_by_hand() -> None:
    # article gone: {quick, brown, fox} against {brown, fox, jumps}
    assert token_f1("The quick brown fox.", "a brown fox jumps") == pytest.approx(2 / 3)
    assert token_f1("我很爱你", "我爱你！") == pytest.approx(6 / 7)


def test_exact_match_ignores_case_articles_and_punctuation() -> None:
    assert exact_match("The  Don't-know!", "dontknow") == 1
    assert exact_match("北京。", "北京") == 1
    assert exact_match("北京", "南京") == 0


@pytest.mark.parametrize("reference", ["?", "😀", "The", "\x00", "\ud800"])
def test_nothing_is_no_answer_to_a_reference_without_words(reference: str) -> None:
    assert exact_match("", reference) == token_f1("", reference) == 0
    assert exact_match(reference, reference) == token_f1(reference, reference) == 1


def test_two_empty_answers_agree() -> None:
    assert exact_match("", "") == token_f1("", "") == 1


@pytest.mark.parametrize("name", OVERLAPS)
def test_the_best_of_several_references_counts(name: str) -> None:
    score = LIBRARY[name]
    assert score("a b c d", "x", ["y y", "a b c d", "z"]) == pytest.approx(1)
    assert score("a b c d", None, ["a b c d"]) == pytest.approx(1)
    assert score("a b c d", "a b c d", []) == pytest.approx(1)


@pytest.mark.parametrize("name", OVERLAPS)
def test_without_a_reference_nothing_is_said(name: str) -> None:
    assert LIBRARY[name]("text", None) is None
    assert LIBRARY[name]("text", None, []) is None


@pytest.mark.parametrize("name", OVERLAPS[:6])
def test_a_reference_without_anything_to_compare_is_left_out(name: str) -> None:
    assert LIBRARY[name]("text", " ") is None
    assert LIBRARY[name]("a b c d", None, [" ", "a b c d"]) == pytest.approx(1)


@pytest.mark.parametrize("name", OVERLAPS)
@given(st.lists(st.sampled_from(("cat", "mat", "猫", "狗", "é", "7")), min_size=4, max_size=60))
def test_the_reference_itself_scores_1(name: str, words: list[str]) -> None:
    text = " ".join(words)
    assert LIBRARY[name](text, text) == pytest.approx(1)


def test_rouge_measures_and_limit_by_hand() -> None:
    assert rouge_1("a b x", "a b c d", measure="precision") == pytest.approx(2 / 3)
    assert rouge_1("a b x", "a b c d", measure="recall") == pytest.approx(1 / 2)
    assert rouge_1("x a b", "a b c d", measure="recall", max_tokens=2) == pytest.approx(1 / 4)
    assert rouge_2("a b x", "a b c d") == pytest.approx(2 / 5)
    assert rouge_2("word", "word") is None  # no pair to find
    assert rouge_l("b a x", "a b c d", measure="recall") == pytest.approx(1 / 4)
    assert rouge_l("我很爱你", "我爱你") == pytest.approx(6 / 7)
