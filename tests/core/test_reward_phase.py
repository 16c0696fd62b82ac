"""What the trainer tells a reward composition, and what it does with what that reports."""

import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from toys import numbers_policy

from strategy_rl.actors import PolicyActor
from strategy_rl.collector import collect_episodes
from strategy_rl.env import EnvSlots
from strategy_rl.errors import EnvironmentFault
from strategy_rl.evaluation import Label, play
from strategy_rl.reward_checks import probe_rewards, reward_spread
from strategy_rl.rollout import EpisodePlan


class Told:
    """A composition that keeps what it is told."""

    normalised = ("x",)

    def __init__(self):
        self.progress, self.moments, self.probed = None, None, None

    def set_progress(self, progress):
        self.progress = progress

    def set_moments(self, moments):
        self.moments = dict(moments)

    def timings(self):
        return {}

    def close(self):
        pass

    def probe(self, facts):
        self.probed = list(facts)
        if any(given["number"] == 13 for given in facts):
            raise ValueError("unlucky")
        return ["a finding"]


class Judged(gymnasium.Env):
    """Two steps; an episode whose seed is in `failing` has its reward dropped in the second."""

    observation_space = spaces.Box(0, np.inf, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, failing=()):
        self.reward, self.failing = Told(), failing

    def reset(self, *, seed=None, options=None):
        self.number, self.steps = seed or 0, 0
        return self.observe()

    def step(self, action):
        self.steps += 1
        obs, info = self.observe()
        reward = float(self.number)
        info |= {"reward_components": {"x": reward}, "reward_inputs": {"number": self.number}}
        info["reward_values"] = {"x": float(self.number), "y": None if self.steps == 1 else 1.0}
        if self.number in self.failing and self.steps == 2:
            info["reward_dropped"] = f"x failed on {self.number}"
        return obs, reward, self.steps == 2, False, info

    def observe(self):
        return np.array([self.number + self.steps / 10], np.float32), {}


def slots_of(count=3, **settings):
    return EnvSlots(lambda: Judged(**settings), count)


def plans(*seeds):
    return [EpisodePlan(seed) for seed in seeds]


def rollout_of(slots, *seeds):
    return collect_episodes(
        numbers_policy(hidden_sizes=(4,)), slots, plans(*seeds), np.random.default_rng(0)
    )


def test_every_environment_hears_of_progress_and_moments_also_those_made_later():
    slots = slots_of(3)
    slots.set_reward_phase(0.25, {"x": (1.0, 2.0), "of another reward": (3.0, 4.0)})
    rollout_of(slots, 1, 2, 3)
    assert len(slots.rewards) == 3
    assert {reward.progress for reward in slots.rewards} == {0.25}
    assert all(reward.moments == {"x": (1.0, 2.0)} for reward in slots.rewards)
    slots.set_reward_phase(1.0, {})
    assert all((reward.progress, reward.moments) == (1.0, {}) for reward in slots.rewards)


def test_the_values_of_all_steps_are_kept_with_nan_where_a_component_abstained():
    values = rollout_of(slots_of(2), 3, 5).reward_values
    assert sorted(values["x"]) == [3.0, 3.0, 5.0, 5.0]
    assert sorted(values["y"], key=math.isnan)[:2] == [1.0, 1.0]
    assert np.isnan(values["y"]).sum() == 2


def test_an_episode_whose_reward_was_dropped_leaves_the_rollout_whole():
    rollout = rollout_of(slots_of(failing=[5]), 3, 5, 7)
    assert rollout.dropped == {1: "x failed on 5"}
    assert len(rollout) == 4
    assert rollout.rewards.tolist() == [3.0, 7.0, 3.0, 7.0]
    assert rollout.episode_returns.tolist() == [6.0, 14.0]
    assert rollout.episode_columns.tolist() == [0, 2]
    assert rollout.components == {"x": 10.0}
    assert len(rollout.batch) == len(rollout.stored) == len(rollout.logprobs) == 4
    kept, whole = rollout.advantages(1.0, 1.0), rollout_of(slots_of(), 3, 5, 7).advantages(1, 1)
    torch.testing.assert_close(kept.advantages, whole.advantages[[0, 2, 3, 5]])


def test_one_dropped_episode_is_an_accident_and_more_than_a_tenth_an_error():
    assert len(rollout_of(slots_of(failing=[1]), 1, 2).dropped) == 1
    with pytest.raises(EnvironmentFault, match=r"failed in 2 of 4 episodes.*x failed on 1"):
        rollout_of(slots_of(failing=[1, 3]), 1, 2, 3, 4)


def test_the_spread_of_rewards_leaves_dropped_episodes_out():
    policy = numbers_policy(hidden_sizes=(4,))
    many = slots_of(4, failing=[5])
    spread, values = reward_spread(
        policy, many, plans(*range(5, 35)), np.random.default_rng(0), repeats=1
    )
    assert spread["rollout/reward_spread_zero_share"] == 1.0
    assert len(values["x"]) == 60


def test_a_row_that_is_judged_needs_its_reward():
    with pytest.raises(EnvironmentFault, match=r"x failed on 5; `on_error: drop` is for training"):
        play(
            PolicyActor(numbers_policy(hidden_sizes=(4,))),
            slots_of(failing=[5]),
            plans(3, 5),
            Label("p", "test", 0),
            rng=np.random.default_rng(0),
            keep_texts=False,
        )


def test_before_training_the_reward_is_tried_on_the_facts_of_real_steps():
    slots = slots_of(2)
    assert probe_rewards(slots, plans(3, 5), 0) == ["a finding"]
    assert slots.rewards[0].probed == [{"number": 3}] * 2 + [{"number": 5}] * 2
    with pytest.raises(EnvironmentFault, match="the reward fails before training: unlucky"):
        probe_rewards(slots, plans(13), 0)


def test_environments_without_a_composition_of_rewards_are_left_alone():
    slots = EnvSlots(lambda: gymnasium.make("CartPole-v1"), 1)
    slots.set_reward_phase(0.5, {})
    assert slots.rewards == []
    assert probe_rewards(slots, plans(1), 0) == []
