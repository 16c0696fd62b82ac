"""Invariants that are always on: a planted fault has a name, and the weights stay as they were."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import moved, numbers_policy, policy_of, rollout_of, stir, train

from strategy_rl.collector import collect_episodes
from strategy_rl.env import make_slots
from strategy_rl.errors import DivergenceError
from strategy_rl.reference import Reference, check_reference
from strategy_rl.rollout import EpisodePlan
from strategy_rl.training import apply_gradients


def test_dropout_that_was_left_on_shows_as_a_ratio_that_does_not_start_at_one():
    policy = stir(numbers_policy())
    policy.train(dropout=0.5)
    before = policy.state()
    with pytest.raises(DivergenceError, match=r"ratio .* away from 1.*dropout"):
        train(policy)
    assert not moved(before, policy.state())


def test_a_policy_that_changed_after_the_rollout_shows_as_a_ratio_that_is_not_one():
    policy = stir(numbers_policy())

    def collect(iteration):
        rollout = rollout_of(policy)
        stir(policy, 0.01, seed=1)
        return rollout

    with pytest.raises(DivergenceError, match="ratio of new to old probability"):
        train(policy, collect=collect)


def test_a_mask_that_is_forgotten_after_the_rollout_shows_as_a_ratio_that_is_not_one():
    slots = make_slots("strategy_rl_envs:strategy_rl/ProbeMask-v0", {}, 4)
    policy = stir(policy_of(slots.observation_space, slots.action_space))
    plans = [EpisodePlan(number) for number in range(24)]
    rollout = collect_episodes(policy, slots, plans, np.random.default_rng(0))
    assert not rollout.batch.mask.all()
    train(policy, collect=lambda iteration: rollout, iterations=1, learning_rate=0.0)
    forgotten = replace(rollout.batch, mask=torch.ones_like(rollout.batch.mask))
    with pytest.raises(DivergenceError, match="ratio of new to old probability"):
        train(policy, collect=lambda iteration: replace(rollout, batch=forgotten))


def test_a_reference_that_is_not_the_start_shows_as_a_kl_that_does_not_start_at_0():
    policy = stir(numbers_policy())
    rollout, reference = rollout_of(policy), Reference(policy)
    check_reference(policy, reference, rollout)
    stir(policy, 0.05, seed=1)
    with pytest.raises(DivergenceError, match=r"KL to the reference starts at .* expected at most"):
        check_reference(policy, reference, rollout_of(policy))


@pytest.mark.parametrize("field", ["rewards", "values", "next_values"])
def test_numbers_that_are_not_finite_stop_training_and_leave_the_weights(field):
    policy = stir(numbers_policy())
    rollout = rollout_of(policy)
    getattr(rollout, field)[3] = float("nan")
    rollout = replace(rollout, terminations=torch.zeros_like(rollout.terminations))
    before = policy.state()
    with pytest.raises(DivergenceError, match=r"loss nan.*weights were left as they were"):
        train(policy, collect=lambda iteration: rollout, minibatch_size=24)
    assert not moved(before, policy.state())


def test_a_gradient_that_is_not_finite_stops_before_the_step():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    with pytest.raises(DivergenceError, match=r"gradient norm (nan|inf)"):
        apply_gradients(optimizer, weight.sqrt().sum(), [weight], 1.0, "here")
    assert weight.item() == 0.0
