"""What a policy tells of a choice, beside the choice itself."""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from toys import counters, numbers_policy, policy_of, stir

from strategy_rl.actors import PolicyActor, RandomActor, actor_of
from strategy_rl.env import EnvSlots
from strategy_rl.evaluation import Label, play
from strategy_rl.reference import Reference
from strategy_rl.rollout import EpisodePlan

OBSERVATIONS = [np.array([x], np.float32) for x in (-2.0, 0.0, 3.0)]


def choices(actor, observations=OBSERVATIONS, infos=None):
    infos = infos or [{}] * len(observations)
    return actor.act(observations, infos, np.random.default_rng(0))


@pytest.mark.parametrize("greedy", [True, False])
def test_log_probability_entropy_and_the_greedy_action_are_those_of_the_distribution(greedy):
    policy = stir(numbers_policy(actions=3), scale=1.0)
    for choice in choices(actor_of(policy, greedy=greedy)):
        p = choice.probabilities
        assert sum(p) == pytest.approx(1.0)
        assert choice.logprob == pytest.approx(math.log(p[choice.action]), abs=1e-5)
        assert choice.entropy == pytest.approx(-sum(x * math.log(x) for x in p), abs=1e-5)
        assert choice.greedy_action == int(np.argmax(p))
        assert not greedy or choice.action == choice.greedy_action
        assert choice.kl is choice.reference_action is choice.reference_probabilities is None


def test_the_reference_is_asked_about_the_same_observation_and_the_kl_is_exact():
    policy = stir(numbers_policy(actions=3), scale=1.0)
    reference = Reference(policy)
    alone = choices(PolicyActor(policy))
    same = choices(PolicyActor(policy, reference=reference))
    assert [c.kl for c in same] == pytest.approx([0.0] * 3, abs=1e-6)
    stir(policy, scale=1.0, seed=1)
    moved = choices(PolicyActor(policy, reference=reference))
    for before, after in zip(alone, moved, strict=True):
        p, q = after.probabilities, before.probabilities
        assert after.reference_probabilities == pytest.approx(q)
        assert after.reference_action == before.action
        kl = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        assert after.kl == pytest.approx(kl, abs=1e-5)
    assert max(c.kl for c in moved) > 0.01


def test_factors_and_boxes_have_no_list_of_probabilities_but_all_the_rest():
    box = spaces.Box(-np.inf, np.inf, (1,))
    for space in (spaces.MultiDiscrete([2, 3]), spaces.Box(-1, 1, (2,))):
        policy = stir(policy_of(box, space))
        choice = choices(PolicyActor(policy, reference=Reference(policy)))[0]
        assert choice.probabilities is choice.reference_probabilities is None
        assert math.isfinite(choice.logprob + choice.entropy)
        sizes = [len(factor) for factor in choice.factor_probabilities or ()]
        assert sizes == list(getattr(space, "nvec", ()))
        assert choice.kl == pytest.approx(0.0, abs=1e-6)
        np.testing.assert_allclose(choice.greedy_action, choice.action)
        np.testing.assert_allclose(choice.reference_action, choice.action)


def test_an_episode_tells_what_stood_behind_each_step():
    class Once(gymnasium.Env):
        observation_space = spaces.Box(-np.inf, np.inf, (1,))
        action_space = spaces.Discrete(3)

        def reset(self, *, seed=None, options=None):
            return np.ones(1, np.float32), {"action_mask": np.array([1, 0, 1], np.int8)}

        def step(self, action):
            return np.ones(1, np.float32), 1.0, True, False, {}

    policy = stir(numbers_policy(actions=3), scale=1.0)
    actor = PolicyActor(policy, reference=Reference(policy))
    label = Label("ppo", "test", 0)
    (episode,) = play(
        actor,
        EnvSlots(Once, 1),
        [EpisodePlan(0)],
        label,
        rng=np.random.default_rng(0),
        keep_texts=True,
    )
    (step,) = episode.steps
    assert step.legal_actions == [0, 2]
    assert len(step.probabilities) == len(step.reference_probabilities) == 2
    assert step.reference_probabilities == pytest.approx(step.probabilities)
    assert step.greedy_action == step.reference_action == step.action
    assert step.greedy_name == step.reference_name == str(step.action)
    assert step.logprob == pytest.approx(math.log(max(step.probabilities)), abs=1e-5)
    assert step.kl == pytest.approx(0.0, abs=1e-6)


def test_a_cut_episode_ends_with_the_value_of_what_would_have_come():
    policy = stir(numbers_policy())
    label = Label("ppo", "test", 0)
    plans = [EpisodePlan(2), EpisodePlan(3)]  # terminated, cut

    def final_values(actor):
        played = play(
            actor, counters(2), plans, label, rng=np.random.default_rng(0), keep_texts=True
        )
        return [episode.final_value for episode in played]

    after = policy.evaluate(policy.encode([np.array([0.33], np.float32)])).values
    assert final_values(PolicyActor(policy)) == [None, pytest.approx(float(after[0]))]
    assert final_values(RandomActor(spaces.Discrete(2))) == [None, None]
