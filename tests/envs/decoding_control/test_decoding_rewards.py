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


def test_the_control_pays_the_same_whatever_is_written():
    reward = WeightedReward(COMPONENTS, ["constant"], FACTS)
    paid = {reward.score(ROW.facts(0, output, 3)).reward for output in ("", "red", "blue fox")}
    assert paid == {1.0}
