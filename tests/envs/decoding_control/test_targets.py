"""What a text is to reach, by hand. Letters stand for tokens; "a" and "b c" are keywords."""

from __future__ import annotations

import pytest

from strategy_rl_envs.decoding_control.targets import NO_TARGET, TARGETS, Target, spelled

A, B, C, OTHER = 1, 2, 3, 9
TARGET = Target(keywords=(((A,),), ((B, C), (C, B))), window=(4, 6))


@pytest.mark.parametrize(
    ("tokens", "missing", "next_ids"),
    [
        ([], 2, [A, B, C]),
        ([OTHER, A], 1, [B, C]),
        ([A, B], 1, [C]),  # goes on with what was begun
        ([B], 2, [C]),  # before another is begun
        ([A, B, OTHER], 1, [B, C]),
        ([A, OTHER, C, B], 0, []),
    ],
)
def test_keywords_are_missing_until_one_of_their_spellings_stands_there(tokens, missing, next_ids):
    assert len(TARGET.missing(tokens)) == missing
    assert TARGET.next_ids(tokens) == next_ids


def test_what_a_policy_sees_by_hand():
    def seen(tokens, words):
        return dict(zip(TARGETS, TARGET.seen(tokens, words), strict=True))

    assert seen([], 0) == {
        "keywords_missing": 1.0,
        "inside_keyword": 0.0,
        "words_missing": 1.0,
        "words_left": 1.0,
        "in_window": 0.0,
    }
    assert seen([A, OTHER, OTHER, OTHER, B], 5) == {
        "keywords_missing": 0.5,
        "inside_keyword": 1.0,
        "words_missing": 0.0,
        "words_left": pytest.approx(1 / 6),
        "in_window": 1.0,
    }
    assert seen([OTHER] * 3, 3)["words_missing"] == 0.25
    late = seen([OTHER] * 8, 8)
    assert (late["words_left"], late["in_window"]) == (0.0, 0.0)


def test_a_text_that_is_to_reach_nothing_sees_so():
    assert NO_TARGET.seen([OTHER] * 30, 30) == [0.0, 0.0, 0.0, 1.0, 1.0]
    assert NO_TARGET.next_ids([OTHER]) == []


def test_a_word_is_spelled_with_and_without_space_and_capital_each_once():
    assert spelled("fox", lambda text: [ord(c) for c in text]) == tuple(
        tuple(map(ord, text)) for text in (" fox", "fox", " Fox", "Fox")
    )
    assert spelled("\u72d0\u72f8", lambda text: [7] if text.strip() else []) == ((7,),)
