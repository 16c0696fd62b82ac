"""The reward of a finished text: what it shares with a reference, less a price for its tokens."""

import pytest

from strategy_rl_envs.decoding_control.data import Row
from strategy_rl_envs.decoding_control.rewards import COMPONENTS, DEFAULT_REWARD, FACTS
from strategy_rl_envs.rewards import WeightedReward

ROW = Row("a", "a", "question", "Which?", "", ("a big red fox", "red"), (), None)


def test_facts_of_a_row_are_what_rewards_are_promised():
    assert tuple(ROW.facts(0, "", 0)) == FACTS


@pytest.mark.parametrize(
    ("output", "tokens", "expected"),
    [
        ("", 0, 0.0),
        ("red", 1, 1.0 - 0.01),
        # with "big red fox" (an article does not count): precision 2/3, recall 2/3
        ("A red fox there", 5, 2 / 3 - 0.05),
        ("blue", 28, -0.28),
    ],
)
def test_the_default_reward_is_the_best_f1_less_a_hundredth_a_token(output, tokens, expected):
    reward = WeightedReward(COMPONENTS, DEFAULT_REWARD, FACTS)
    assert reward.score(ROW.facts(0, output, tokens)).reward == pytest.approx(expected)


def test_new_words_are_counted_once_and_without_those_of_the_prompt():
    row = Row("a", "a", "list", "List words on mail.", "", (), (), None)
    reward = WeightedReward(COMPONENTS, [{"name": "new_words", "settings": {"target": 4}}], FACTS)

    def paid(output):
        return reward.score(row.facts(0, output, 9)).reward

    assert paid("Mail, letter; LETTER words") == 1 / 4
    assert paid("one two three four five six") == 1.0
    assert paid("") == 0.0


def test_rows_with_references_want_facts_and_new_words_abstains():
    reward = WeightedReward(COMPONENTS, ["new_words", "token_f1"], FACTS)
    assert reward.score(ROW.facts(0, "red", 1)).values == {"new_words": None, "token_f1": 1.0}


def test_surprisal_is_paid_as_it_was_measured():
    entries = [{"name": "surprisal", "weight": -0.5}, "constant"]
    reward = WeightedReward(COMPONENTS, entries, FACTS)
    assert reward.score(ROW.facts(0, "red", 1, 3.0)).reward == 1.0 - 1.5


def test_the_control_pays_the_same_whatever_is_written():
    reward = WeightedReward(COMPONENTS, ["constant"], FACTS)
    paid = {reward.score(ROW.facts(0, output, 3)).reward for output in ("", "red", "blue fox")}
    assert paid == {1.0}
