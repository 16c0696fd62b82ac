import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.tokenizers import DefaultTokenizer

from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.rewards.tokens import ngrams, tokens, without_spaces


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Don't panic, it's 42!", "auto", ["don", "t", "panic", "it", "s", "42"]),
        ("snake_case", "en", ["snake", "case"]),
        ("iPhone手机很好", "auto", ["iphone", "手", "机", "很", "好"]),
        ("１２３ ＡＢＣ", "zh", ["123", "abc"]),
        ("手机 abc好", "en", ["手机", "abc好"]),
        ("Café naïve ÜBER", "auto", ["café", "naïve", "über"]),
        ("cafe\u0301", "auto", ["café"]),
        ("हिन्दी भाषा", "auto", ["हिन्दी", "भाषा"]),
        ("こんにちは、世界", "ja", ["こ", "ん", "に", "ち", "は", "世", "界"]),
        ("한국어 문장", "auto", ["한국어", "문장"]),
        ("😀 ... \x00 _", "auto", []),
        ("", "auto", []),
    ],
)
def test_texts_are_cut_into_words_and_characters(
    text: str, language: str, expected: list[str]
) -> None:
    assert tokens(text, language) == expected


@given(st.text(st.characters(codec="ascii")))
def test_ascii_texts_give_the_tokens_of_rouge_score(text: str) -> None:
    assert tokens(text) == DefaultTokenizer(use_stemmer=False).tokenize(text)


@given(st.text())
def test_every_text_has_tokens_that_are_tokens_again(text: str) -> None:
    found = tokens(text)
    assert tokens(" ".join(found)) == [again for token in found for again in tokens(token)]
    assert all(found)


def test_changing_the_list_does_not_change_the_next_answer() -> None:
    tokens("one two").append("three")
    assert tokens("one two") == ["one", "two"]


@pytest.mark.parametrize("language", ["english", "", "EN", "zh_CN"])
def test_a_language_that_is_no_code_is_refused(language: str) -> None:
    with pytest.raises(SettingError, match="expected 'auto' or a code"):
        tokens("text", language)


def test_the_script_is_that_of_half_the_tokens() -> None:
    assert without_spaces("我用 iPhone")
    assert not without_spaces("the word 好 means good")
    assert not without_spaces("")


def test_ngrams_are_the_runs_of_n_tokens() -> None:
    assert ngrams(["a", "b", "c"], 2) == [("a", "b"), ("b", "c")]
    assert ngrams(["a"], 2) == []
