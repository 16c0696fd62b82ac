import pytest

from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.rewards.prose import ends_sentence, function_words, length_window


def test_function_words_by_hand() -> None:
    assert function_words("The cat is on the mat.") == pytest.approx(4 / 6)
    assert function_words("great excellent perfect") == 0
    assert function_words("") == 0
    assert function_words("我要退货") is None


@pytest.mark.parametrize("text", ["It works.", "Does it?", 'He said "no."', "好。", "(It works!) "])
def test_the_mark_of_a_sentences_end_may_stand_in_quotes_or_brackets(text: str) -> None:
    assert ends_sentence(text) == 1


@pytest.mark.parametrize("text", ["It works", "Version 1.2 of it", "It works.\nAnd", "...", ""])
def test_an_unfinished_sentence_or_a_lone_mark_does_not_end_one(text: str) -> None:
    assert ends_sentence(text) == 0


def test_length_window_by_hand() -> None:
    lengths = {0: 0.0, 1: 0.25, 4: 1.0, 10: 1.0, 15: 0.5, 20: 0.0, 99: 0.0}
    for count, worth in lengths.items():
        assert length_window("a " * count, low=4, high=10) == pytest.approx(worth)


def test_the_steps_own_window_goes_before_the_settings() -> None:
    assert length_window("a b", [2, 2], low=8, high=9) == 1
    assert length_window("a b", None, low=8, high=9) == pytest.approx(1 / 4)


@pytest.mark.parametrize("window", [(0, 3), (5, 4)])
def test_a_window_without_room_is_refused(window: tuple[int, int]) -> None:
    with pytest.raises(SettingError, match="1 <= low <= high"):
        length_window("a", window)
