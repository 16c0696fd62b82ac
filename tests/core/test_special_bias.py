"""The sceptic's rival: the SFT policy with the best bias of its special action."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from toys import policy_of, question, selection_policy, stir

from strategy_rl.env import EnvSlots
from strategy_rl.errors import EnvironmentFault
from strategy_rl.rivals import (
    StoppingActor,
    StoppingRule,
    confident_actions,
    fit_plug_in_dp,
    fit_threshold,
    record_stopping,
)
from strategy_rl.rollout import EpisodePlan

RNG = np.random.default_rng(0)
ASKED = [
    question(*texts, state=state)
    for texts in (("red", "blue"), ("green", "black", "white"), ("brown", "red", "blue", "green"))
    for state in (0.0, 0.4, 1.0)
]


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.7, 0.95])
def test_a_threshold_on_the_odds_is_a_bias_of_the_special_action(threshold):
    policy = stir(selection_policy(), scale=1.0)
    actor = StoppingActor(policy, StoppingRule(threshold, {}), odds=True)
    chosen = [choice.action for choice in actor.act(ASKED, [{}] * len(ASKED), RNG)]
    policy.network.shift_special(torch.tensor([threshold]).logit())
    biased = policy.evaluate(policy.encode(ASKED)).distribution.mode()
    assert chosen == biased.tolist()


def test_the_odds_compare_the_best_ordinary_action_with_the_special_one():
    policy = stir(selection_policy(), scale=1.0)
    batch = policy.encode(ASKED)
    best, sure = confident_actions(policy, batch, odds=True)
    probabilities = policy.evaluate(batch).distribution.stored.exp().numpy()
    ordinary, stop = probabilities[:, :4].max(1), probabilities[:, 4]
    assert (best == probabilities[:, :4].argmax(1)).all()
    assert sure == pytest.approx(ordinary / (ordinary + stop), abs=1e-5)


class Picking(gymnasium.Env):
    """Three picks worth 1, 0 and -1, or stop; but not before the first."""

    observation_space = spaces.Dict({"picks": spaces.Box(0, 3, (1,), np.float32)})
    action_space = spaces.Discrete(3)
    special_actions = ("stop",)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.picks = 0
        return self.observe()

    def step(self, action):
        if action == 2:
            assert self.picks, "stop is illegal"
            return *self.observe()[:1], 0.0, True, False, self.observe()[1]
        self.picks += 1
        obs, info = self.observe()
        return obs, 2.0 - self.picks, self.picks == 3, False, info

    def observe(self):
        mask = np.array([1, 1, self.picks > 0], np.int8)
        return {"picks": np.full(1, self.picks, np.float32)}, {"action_mask": mask}


def test_a_rule_is_not_fitted_on_a_step_whose_reward_was_dropped():
    class Failing(Picking):
        failing = 0

        def step(self, action):
            obs, reward, terminated, truncated, info = super().step(action)
            if (action == 2) == self.failing:
                info = {**info, "reward_dropped": "it failed"}
            return obs, reward, terminated, truncated, info

    for failing in (False, True):  # the reward of a pick, and that of stopping
        Failing.failing = failing
        slots = EnvSlots(Failing, 1)
        policy = policy_of(slots.observation_space, slots.action_space, special_actions=("stop",))
        with pytest.raises(EnvironmentFault, match="it failed; `on_error: drop` is for training"):
            record_stopping(policy, slots, [EpisodePlan(0)])


@pytest.fixture
def picked():
    slots = EnvSlots(Picking, 1)
    policy = policy_of(slots.observation_space, slots.action_space, special_actions=("stop",))
    plans = [EpisodePlan(seed) for seed in range(4)]
    return record_stopping(policy, slots, plans, odds=True)


def test_where_the_special_action_is_illegal_no_threshold_takes_it(picked):
    assert picked.rewards.tolist() == [[1.0, 0.0, -1.0]] * 4
    assert (picked.stop_rewards == 0).all()
    always_stop = np.full(len(picked.known_states), 2.0)
    assert picked.mean_return(always_stop) == pytest.approx(1.0)  # after the first pick
    assert picked.mean_return(0 * always_stop) == pytest.approx(0.0)


def test_rules_are_fitted_on_what_was_free_to_decide(picked):
    everywhere = np.full(len(picked.known_states), fit_threshold(picked).default)
    assert picked.mean_return(everywhere) == pytest.approx(1.0)
    rule = fit_plug_in_dp(picked)
    by_state = np.array([rule.threshold(state) for state in picked.known_states])
    assert picked.mean_return(by_state) == pytest.approx(1.0)
