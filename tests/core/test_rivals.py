"""The rivals find the optimum where it is known by hand."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from toys import policy_of, question, selection_policy, stir

from strategy_rl.env import EnvSlots, make_slots
from strategy_rl.rivals import (
    CosineActor,
    StoppingActor,
    StoppingRecord,
    StoppingRule,
    fit_plug_in_dp,
    fit_threshold,
    fit_threshold_by_state,
    isotonic,
    record_stopping,
)
from strategy_rl.rollout import EpisodePlan

RNG = np.random.default_rng(0)


def record(confidence, rewards, stop_rewards, states, right=None, valid=None):
    """A record from rows of figures, a row an episode; states are numbered from 0."""
    confidence, rewards = np.array(confidence, float), np.array(rewards, float)
    ids = np.array(states)
    return StoppingRecord(
        states=[[(float(i),) for i in row] for row in ids],
        state_ids=ids,
        known_states=[(float(i),) for i in range(ids.max() + 1)],
        confidence=confidence,
        rewards=rewards,
        stop_rewards=np.array(stop_rewards, float),
        right=np.array(rewards > 0 if right is None else right),
        valid=np.ones_like(ids, bool) if valid is None else np.array(valid),
    )


def one_state():
    """Four episodes of one step: right pays 1, wrong pays -2, stopping -0.5."""
    return record([[0.9], [0.8], [0.4], [0.3]], [[1], [1], [-2], [-2]], [[-0.5]] * 4, [[0]] * 4)


def test_the_mean_return_of_thresholds_by_hand():
    played = record(
        confidence=[[0.9, 0.2], [0.5, 0.9], [0.9, 0.9]],
        rewards=[[1, -2], [1, 1], [-2, 1]],
        stop_rewards=[[-0.5, -0.25]] * 3,
        states=[[0, 1]] * 3,
        valid=[[True, True], [True, True], [True, False]],
    )
    assert played.mean_return(np.array([0.0, 0.0])) == pytest.approx((-1 + 2 - 2) / 3)
    # The first stops at its second step, the second at its first; the third is over before.
    assert played.mean_return(np.array([0.6, 0.6])) == pytest.approx((0.75 - 0.5 - 2) / 3)
    assert played.mean_return(np.array([0.0, 0.6])) == pytest.approx((0.75 + 2 - 2) / 3)
    assert played.mean_return(np.array([2.0, 2.0])) == pytest.approx(-0.5)


def test_one_threshold_is_fitted_to_the_optimum():
    rule = fit_threshold(one_state())
    assert 0.4 < rule.threshold((0.0,)) <= 0.8
    returns = one_state().mean_return(np.array([rule.default]))
    assert returns == pytest.approx((1 + 1 - 0.5 - 0.5) / 4)


def test_where_answering_or_stopping_always_pays_the_threshold_says_so():
    always = record([[0.9], [0.2]], [[1], [1]], [[0.5]] * 2, [[0]] * 2)
    assert fit_threshold(always).default == 0.0
    never = record([[0.9], [0.2]], [[-1], [-1]], [[0.5]] * 2, [[0]] * 2)
    assert fit_threshold(never).default > 0.9


def two_states():
    """Stopping costs 0.1 in state 0 and 3 in state 1, where even a likely error is cheaper."""
    return record(
        confidence=[[0.9], [0.7], [0.5], [0.9], [0.7], [0.5]],
        rewards=[[1], [-2], [-2], [1], [-2], [-2]],
        stop_rewards=[[-0.1], [-0.1], [-0.1], [-3], [-3], [-3]],
        states=[[0], [0], [0], [1], [1], [1]],
    )


@pytest.mark.parametrize("fit", [fit_threshold_by_state, fit_plug_in_dp])
def test_thresholds_by_state_beat_one_for_all_where_stopping_costs_differ(fit):
    rule, played = fit(two_states()), two_states()
    assert 0.7 < rule.threshold((0.0,)) <= 0.9
    assert rule.threshold((1.0,)) <= 0.5
    thresholds = np.array([rule.threshold(state) for state in played.known_states])
    assert played.mean_return(thresholds) == pytest.approx((1 - 0.1 - 0.1 + 1 - 2 - 2) / 6)
    single = fit_threshold(played)
    assert played.mean_return(np.full(2, single.default)) < played.mean_return(thresholds)
    assert rule.threshold((99.0,)) == rule.default  # a state that was never met


def test_dynamic_programming_counts_what_an_answer_leads_to():
    """A guess at the first step is worth taking for the sure second step alone.

    First step: right with 0.5, pays 1 or -1.2, so -0.1 on average; stopping pays 0. Second step:
    always right, pays 1. Answering twice is worth 0.9, stopping at once 0.
    """
    played = record(
        confidence=[[0.5, 0.95]] * 4,
        rewards=[[1, 1], [-1.2, 1], [1, 1], [-1.2, 1]],
        stop_rewards=[[0, 0]] * 4,
        states=[[0, 1]] * 4,
    )
    rule = fit_plug_in_dp(played)
    assert rule.threshold((0.0,)) <= 0.5
    alone = record([[0.5]] * 4, [[1], [-1.2], [1], [-1.2]], [[0]] * 4, [[0]] * 4)
    assert fit_plug_in_dp(alone).threshold((0.0,)) > 0.5


def test_the_crossing_of_dynamic_programming_by_hand():
    """Chance of being right p: 0 at 0.2, 1 at 0.8. Right pays 1, wrong -1, stopping 0.5.

    Answering is worth 2p - 1, so it takes p = 0.75: a confidence of 0.65.
    """
    played = record([[0.2], [0.8]], [[-1], [1]], [[0.5]] * 2, [[0]] * 2)
    assert fit_plug_in_dp(played).threshold((0.0,)) == pytest.approx(0.65)


def test_the_isotonic_fit_pools_what_is_out_of_order():
    x, y = np.array([4.0, 1.0, 3.0, 2.0]), np.array([1.0, 0.0, 0.0, 1.0])
    knots, values = isotonic(x, y)  # in order: 0, 1, 0, 1
    assert knots.tolist() == [1.0, 2.5, 4.0]
    assert values.tolist() == [0.0, 0.5, 1.0]
    knots, values = isotonic(np.arange(3.0), np.array([3.0, 2.0, 1.0]))
    assert (knots.tolist(), values.tolist()) == ([1.0], [2.0])


def test_equal_confidences_count_as_one_in_whatever_order_they_come():
    for outcomes in ([0.0, 1.0], [1.0, 0.0]):
        knots, values = isotonic(np.array([0.5, 0.5]), np.array(outcomes))
        assert (knots.tolist(), values.tolist()) == ([0.5], [0.5])


# Playing.


def test_the_cosine_rival_takes_the_candidate_that_says_the_last_turn_again():
    policy = selection_policy()
    observations = [
        question("a red fox", "where is it ?", "blue", context=("no", "where is it ?")),
        question("white", "black", context=("black",)),
    ]
    chosen = CosineActor(policy).act(observations, [{}, {}], RNG)
    assert [choice.action for choice in chosen] == [1, 1]


def test_a_stopping_rule_answers_where_it_is_sure_and_stops_elsewhere():
    policy = stir(selection_policy())
    observations = [question("red", "blue", state=0.5), question("red", "blue", state=1.0)]
    best = [policy.act(obs, action_mask=[1, 1, 0, 0, 0], greedy=True) for obs in observations]

    def actions(rule):
        return [c.action for c in StoppingActor(policy, rule).act(observations, [{}, {}], RNG)]

    assert actions(StoppingRule(0.0, {})) == [decision.action for decision in best]
    assert actions(StoppingRule(2.0, {})) == [4, 4]
    assert actions(StoppingRule(0.0, {(0.5,): 2.0})) == [4, best[1].action]
    middle = sum(decision.probability for decision in best) / 2
    expected = [d.action if d.probability >= middle else 4 for d in best]
    assert actions(StoppingRule(middle, {})) == expected
    for obs in observations:
        obs["action_mask"][4] = 0
    assert actions(StoppingRule(2.0, {})) == [decision.action for decision in best]


class Quiz(gymnasium.Env):
    """Two questions with actions 0 and 1; action 2 stops. Right pays 1, wrong -1, stopping -0.3."""

    observation_space = spaces.Dict({"left": spaces.Box(0, 2, (1,), np.float32)})
    action_space = spaces.Discrete(3)
    special_actions = ("stop",)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 2
        return self._next()

    def step(self, action):
        if action == 2:
            return *self._next()[:1], -0.3 * self.left, True, False, {}
        reward = 1.0 if action == self.right else -1.0
        self.left -= 1
        obs, info = self._next()
        return obs, reward, self.left == 0, False, info

    def _next(self):
        self.right = int(self.np_random.integers(2))
        return {"left": np.full(1, self.left, np.float32)}, {"expert_action": self.right}


def test_what_stopping_would_pay_is_found_by_playing_each_episode_again():
    slots = EnvSlots(Quiz, 1)  # one is enough: a vector environment could not hold the others still
    policy = policy_of(slots.observation_space, slots.action_space, special_actions=("stop",))
    plans = [EpisodePlan(seed) for seed in range(6)]
    played = record_stopping(policy, slots, plans)
    assert played.valid.all()
    assert played.known_states == [(1.0,), (2.0,)]
    assert played.state_ids.tolist() == [[1, 0]] * 6
    assert played.stop_rewards == pytest.approx(np.array([[-0.6, -0.3]] * 6))
    assert (played.rewards == np.where(played.right, 1.0, -1.0)).all()
    assert 0 < played.right.sum() < 12
    assert (played.confidence >= 0.5).all()  # of two answers; stopping does not count


def test_where_stopping_does_not_end_an_episode_there_is_nothing_to_record():
    slots = make_slots("strategy_rl_envs:strategy_rl/TinyReply-v0", {}, 2)
    given = slots.observation_space, slots.action_space
    policy = policy_of(*given, special_actions=slots.special_actions, train="frozen")
    assert record_stopping(policy, slots, [EpisodePlan(0, 0)]) is None
