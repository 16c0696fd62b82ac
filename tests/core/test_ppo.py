"""The PPO loop: what each update may use and move, and what stops it."""

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import (
    Numbered,
    moved,
    numbers_policy,
    policy_of,
    question,
    rollout_of,
    selection_policy,
    stir,
    train,
)

from strategy_rl.collector import collect_episodes
from strategy_rl.config import AdaptiveKL, PPOConfig, Schedule
from strategy_rl.env import EnvSlots, make_slots
from strategy_rl.policy import Policy
from strategy_rl.ppo import ppo_state
from strategy_rl.reference import Reference
from strategy_rl.rollout import EpisodePlan
from strategy_rl.training import apply_gradients, lr_factor

# Minibatches and epochs.


@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_every_decision_is_used_exactly_once_an_epoch(episodes, minibatch, epochs):
    policy = numbers_policy(hidden_sizes=(4,))
    rollout = rollout_of(policy, episodes=episodes)
    seen = []
    forward = Policy.__call__

    class Spy(Policy):
        def __call__(self, batch, representation=None):
            if torch.is_grad_enabled():
                seen.append((100 * batch.numbers[:, 0]).round().int().tolist())
            return forward(self, batch, representation)

    policy.__class__ = Spy
    options = {"iterations": 1, "epochs": epochs, "minibatch_size": minibatch}
    log = train(policy, collect=lambda iteration: rollout, **options)[0]
    per_epoch = -(-episodes // minibatch)
    assert len(seen) == epochs * per_epoch == log["ppo/updates_done"] == log["ppo/updates_planned"]
    assert max(map(len, seen)) <= minibatch
    for epoch in range(epochs):
        used = seen[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert sorted(itertools.chain(*used)) == list(range(episodes))
    assert all(map(math.isfinite, log.values()))  # a minibatch of one decision too


def test_minibatches_are_shuffled_anew_each_epoch_and_the_same_for_the_same_seed():
    first, second = (train(numbers_policy(), iterations=1)[0] for _ in range(2))
    assert first == second


def test_at_learning_rate_0_nothing_moves_and_every_ratio_stays_one():
    policy = stir(numbers_policy())
    before = policy.state()
    log = train(policy, learning_rate=0.0, iterations=1, epochs=3)[0]
    assert not moved(before, policy.state())
    assert log["ppo/ratio_min"] == pytest.approx(1.0, abs=1e-6)
    assert log["ppo/ratio_max"] == pytest.approx(1.0, abs=1e-6)
    assert log["ppo/clip_fraction"] == 0.0
    assert log["ppo/approx_kl"] < 1e-8
    assert log["ppo/exact_kl"] == pytest.approx(0.0, abs=1e-7)


def test_the_sampled_kl_estimate_agrees_with_the_exact_kl():
    policy = numbers_policy(inputs=4)
    slots = make_slots("CartPole-v1", {}, 8)
    plans = [EpisodePlan(number) for number in range(80)]
    rollout = collect_episodes(policy, slots, plans, np.random.default_rng(0))
    log = train(policy, collect=lambda iteration: rollout, iterations=1, epochs=4,
                minibatch_size=len(rollout), learning_rate=3e-3)[0]  # fmt: skip
    assert log["ppo/exact_kl"] > 1e-4
    assert log["ppo/approx_kl"] == pytest.approx(log["ppo/exact_kl"], rel=0.25)


# What stops, bends and drives the updates.


def test_a_kl_above_one_and_a_half_targets_ends_the_round_before_the_step():
    stopped = train(numbers_policy(), iterations=1, epochs=20, learning_rate=0.5, target_kl=1e-3)[0]
    assert stopped["ppo/early_stopped"] == 1.0
    assert 1 <= stopped["ppo/updates_done"] < stopped["ppo/updates_planned"] == 60
    free = train(numbers_policy(), iterations=1, epochs=20, learning_rate=0.5)[0]
    assert free["ppo/early_stopped"] == 0.0
    assert free["ppo/updates_done"] == 60


def test_no_step_is_taken_beyond_the_kl_that_stops():
    policy = numbers_policy()
    rollout = rollout_of(policy)
    train(policy, collect=lambda iteration: rollout, iterations=1, epochs=50, learning_rate=3e-3,
          target_kl=0.01, minibatch_size=24)  # fmt: skip
    kl = policy.rebuild(rollout.stored).kl(policy.evaluate(rollout.batch).distribution).mean()
    assert 0.015 < kl < 0.03  # the step that crossed 1.5 x 0.01 was the last


def test_step_size_clip_range_and_entropy_coefficient_move_along_their_lines():
    logs = train(
        numbers_policy(),
        iterations=4,
        learning_rate=1e-2,
        clip_range=Schedule(start=0.2, to=0.0),
        entropy_coef=Schedule(start=0.1, to=0.0, over=0.5),
    )
    assert [log["ppo/learning_rate"] for log in logs] == pytest.approx(
        [1e-2, 7.5e-3, 5e-3, 2.5e-3]  # 0 would come next
    )
    assert [log["ppo/clip_range"] for log in logs] == pytest.approx([0.2, 0.15, 0.1, 0.05])
    assert [log["ppo/entropy_coef"] for log in logs] == pytest.approx([0.1, 0.05, 0.0, 0.0])
    constant = train(numbers_policy(), iterations=4, learning_rate=1e-2, schedule="constant")
    assert constant[-1]["ppo/learning_rate"] == 1e-2


def test_learning_rate_factors_by_hand():
    assert [lr_factor(x, "linear") for x in (0, 0.25, 1)] == [1, 0.75, 0]
    assert lr_factor(0.5, "cosine") == pytest.approx(0.5)
    assert lr_factor(1 / 3, "cosine") == pytest.approx(0.75)
    assert [lr_factor(x, "linear", 0.2) for x in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx(
        [0, 0.5, 1, 0.5, 0]
    )
    assert [lr_factor(x, "constant", 0.2) for x in (0.1, 0.2, 1)] == [0.5, 1, 1]


def test_the_norm_of_all_gradients_together_is_clipped():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(weights, lr=1.0)
    norm = apply_gradients(optimizer, 3 * weights[0] + 4 * weights[1], weights, 0.5, "here")
    assert float(norm) == pytest.approx(5.0)  # what is reported is from before
    assert [w.item() for w in weights] == pytest.approx([-0.3, -0.4], abs=1e-4)


def test_adam_has_its_epsilon_and_each_part_its_step_size():
    policy = selection_policy(train="last_n")
    config = PPOConfig(adam_eps=1e-5, learning_rate=1e-3, head_learning_rate=3e-4)
    optimizer = ppo_state(policy, config, backbone_learning_rate=2e-5).optimizer
    assert optimizer.defaults["eps"] == 1e-5
    rates = {
        id(parameter): group["initial_lr"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    named = dict(policy.network.named_parameters())
    assert {rates[id(p)] for n, p in named.items() if "value_head" in n} == {3e-4}
    assert {rates[id(p)] for n, p in named.items() if "special_head" in n} == {3e-4}
    assert {rates[id(p)] for n, p in named.items() if "scorer" in n} == {1e-3}
    assert {rates[id(p)] for p in policy.backbone_parameters()} == {2e-5}
    assert len(rates) == len(list(policy.parameters()))  # each once, none left out


def test_one_update_moves_policy_and_value_head():
    policy = numbers_policy()
    before = policy.state()
    train(policy, iterations=1, epochs=1, minibatch_size=24)
    changed = moved(before, policy.state())
    assert any("policy_head" in name for name in changed)
    assert any("value_head" in name for name in changed)


def test_the_critics_warm_up_moves_the_value_head_alone():
    policy = stir(numbers_policy())
    before = policy.state()
    train(policy, iterations=2, critic_warmup_iterations=2, entropy_coef=0.1)
    changed = moved(before, policy.state())
    assert changed
    assert all(name.startswith("network.value_head.") for name in changed)


def test_frozen_projections_stay_while_the_rest_learns():
    slots = make_slots("strategy_rl_envs:strategy_rl/TinyReply-v0", {}, 4)
    given = slots.observation_space, slots.action_space
    policy = stir(policy_of(*given, special_actions=slots.special_actions, train="frozen"))
    before = policy.state()
    train(policy, slots, freeze_projections=True, iterations=1)
    changed = moved(before, policy.state())
    assert any("scorer" in name for name in changed)
    assert not any("projection" in name for name in changed)


def tiny_reply_policy(train="frozen"):
    slots = make_slots("strategy_rl_envs:strategy_rl/TinyReply-v0", {}, 4)
    given = slots.observation_space, slots.action_space
    return stir(policy_of(*given, special_actions=slots.special_actions, train=train)), slots


@pytest.mark.parametrize("backbone", ["frozen", "lora"])
def test_after_its_epochs_the_representation_stays_and_the_heads_learn_on(backbone):
    def after(**options):
        policy, slots = tiny_reply_policy(backbone)
        before = policy.state()
        train(policy, slots, iterations=1, **options)
        return {name: policy.state()[name] for name in moved(before, policy.state())}

    one, both = after(epochs=1), after(epochs=3, representation_epochs=1)
    assert set(one) == set(both)
    learnt = [name for name in one if "projection" in name or name.startswith("backbone.")]
    assert any("projection" in name for name in learnt)
    assert any(name.startswith("backbone.") for name in learnt) == (backbone == "lora")
    assert all(one[name].equal(both[name]) for name in learnt)
    assert not any(one[name].equal(both[name]) for name in one if name not in learnt)


def test_a_representation_that_learns_in_every_epoch_is_the_default():
    def after(**options):
        policy, slots = tiny_reply_policy()
        train(policy, slots, iterations=1, epochs=2, **options)
        return policy.state()

    assert not moved(after(), after(representation_epochs=2))
    assert moved(after(), after(representation_epochs=1))


def test_a_representation_that_learns_no_more_serves_policies_without_texts_too():
    policy = stir(numbers_policy())
    log = train(policy, iterations=1, epochs=3, representation_epochs=1)[0]
    assert log["ppo/updates_done"] == log["ppo/updates_planned"] == 9


def test_of_all_policies_seen_on_validation_the_best_one_stays():
    policy, seen = numbers_policy(), []
    scores = iter([0.0, 1.0, 3.0, 2.0, 1.0])

    def validate():
        seen.append(policy.state())
        return next(scores)

    train(policy, validate=validate, iterations=4, learning_rate=1e-2)
    assert not moved(seen[2], policy.state())
    assert moved(seen[-1], policy.state())


# The reference.


def test_the_kl_penalty_holds_the_policy_near_the_reference():
    def kl_after(kl_coef):
        policy = stir(numbers_policy())
        reference = Reference(policy) if kl_coef else None
        start, rollout = Reference(policy), rollout_of(policy)
        train(policy, reference=reference, kl_coef=kl_coef, iterations=15, learning_rate=1e-2)
        stored = start.stored(policy, rollout)
        now = policy.evaluate(rollout.batch).distribution
        return now.kl(policy.rebuild(stored)).mean().item()

    assert kl_after(5.0) < 0.03 < 0.1 < kl_after(0.0)


def test_the_reference_stays_what_it_was_while_the_policy_learns():
    policy = stir(numbers_policy())
    rollout, reference = rollout_of(policy), Reference(policy)
    before = reference.stored(policy, rollout)
    train(policy, reference=reference, kl_coef=0.1, iterations=3, learning_rate=1e-2)
    assert reference.stored(policy, rollout).equal(before)
    assert (policy.evaluate(rollout.batch).distribution.stored - before).abs().max() > 0.01


def test_the_reference_of_a_backbone_that_learns_keeps_the_old_backbone():
    policy = stir(selection_policy(train="full"), 0.02)
    batch = policy.encode([question("red", "blue"), question("green", "black", context=("white",))])
    reference, before = Reference(policy), policy.evaluate(batch).distribution.stored
    with torch.no_grad():
        for parameter in policy.backbone_parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    live = policy.evaluate(batch).distribution.stored
    assert (live - before).abs().max() > 1e-3

    rollout = SimpleNamespace(batch=batch)
    torch.testing.assert_close(reference.stored(policy, rollout), before)
    assert policy.evaluate(batch).distribution.stored.equal(live)  # lent, and given back


def test_the_adaptive_coefficient_rises_while_the_kl_is_above_its_target():
    policy = stir(numbers_policy())
    options = {"iterations": 6, "learning_rate": 3e-2, "schedule": "constant", "kl_coef": 0.1}
    adaptive = AdaptiveKL(target=1e-4, horizon=100)
    logs = train(policy, reference=Reference(policy), adaptive_kl=adaptive, **options)
    coefficients = [log["ppo/kl_coef"] for log in logs]
    assert coefficients[0] == 0.1
    # 24 episodes a round: at most 1 + 0.2 x 24 / 100 a round.
    assert coefficients[-1] == pytest.approx(0.1 * 1.048**5, rel=0.1)
    assert max(np.diff(coefficients) / coefficients[:-1]) == pytest.approx(0.048)


# Scales.


def test_advantages_are_normalised_in_each_minibatch_unless_told_not_to():
    rollout = rollout_of(numbers_policy())

    def policy_loss(normalize):
        options = {"iterations": 1, "learning_rate": 0.0, "normalize_advantages": normalize}
        logs = train(numbers_policy(), collect=lambda _: rollout, **options)
        return logs[0]["ppo/policy_loss"]

    # At ratio 1 it is minus the mean advantage, and at value 0 the advantage is the reward.
    assert policy_loss(True) == pytest.approx(0.0, abs=1e-6)
    assert policy_loss(False) == pytest.approx(-rollout.rewards.mean().item(), abs=1e-6)
    assert rollout.rewards.mean() > 0.2


def test_rewards_a_hundred_times_larger_are_explained_all_the_same():
    rollout = rollout_of(numbers_policy(actions=1), "Observation", 16)

    def explained(scale):
        policy = numbers_policy(actions=1)

        def collect(iteration):
            values = policy.evaluate(rollout.batch).values
            return replace(rollout, rewards=scale * rollout.rewards, values=values)

        options = {"iterations": 25, "epochs": 16, "minibatch_size": 16, "schedule": "constant"}
        logs = train(policy, collect=collect, learning_rate=2e-2, **options)
        return logs[-1]["ppo/explained_variance"]

    assert explained(1.0) > 0.95
    assert explained(100.0) > 0.95


def test_normalised_rewards_have_the_returns_over_their_deviation_and_no_shift():
    rollouts = [rollout_of(numbers_policy(), seed=seed) for seed in range(2)]
    for number, rollout in enumerate(rollouts):
        rollout.rewards.add_(5.0 + 3 * number)
    policy = numbers_policy()
    logs = train(policy, collect=rollouts.__getitem__, normalize_rewards=True, learning_rate=0.0)
    seen = np.array([])
    for rollout, log in zip(rollouts, logs, strict=True):
        rewards = rollout.rewards.numpy()  # one step an episode: its return
        seen = np.concatenate([seen, rewards])
        # At a value of 0 the advantage is the return.
        assert log["ppo/advantage_mean"] == pytest.approx(rewards.mean() / seen.std(), rel=1e-4)
        assert log["ppo/advantage_std"] == pytest.approx(rewards.std() / seen.std(), rel=1e-4)


def test_the_observations_statistics_are_saved_with_the_policy_and_stay_in_evaluation(tmp_path):
    policy = stir(numbers_policy(), 1.0)
    slots = EnvSlots(Numbered, 4)
    train(policy, slots, normalize_observations=True, iterations=3, learning_rate=0.0)
    normalizer = policy.network.normalizer
    assert normalizer.count == 3 * 24
    assert normalizer.mean.item() == pytest.approx(np.arange(72).mean() / 100, abs=1e-5)
    rollout_of(policy)
    assert policy.network.normalizer.count == 72  # only training moves them
    policy.save_pretrained(tmp_path / "policy")
    again = Policy.from_pretrained(tmp_path / "policy")
    for number in (0.0, 0.3, 0.6):
        obs = np.array([number], np.float32)
        assert again.act(obs, greedy=True) == policy.act(obs, greedy=True)
    assert again.act(np.zeros(1)).value != stir(numbers_policy(), 1.0).act(np.zeros(1)).value


# Other action spaces.


class Follow(gymnasium.Env):
    """One step; the observation is 0 or 1, and the answer should say so in every dimension."""

    observation_space = spaces.Box(0, 1, (1,), np.float32)

    def __init__(self, action_space, right):
        self.action_space, self.right = action_space, right

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.bit = int(self.np_random.integers(2))
        return np.full(1, self.bit, np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action)
        off = np.abs(np.asarray(action, float) - self.right[self.bit])
        return np.full(1, self.bit, np.float32), float(-np.minimum(off, 1).sum()), True, False, {}


@pytest.mark.parametrize(
    ("space", "right", "tolerance"),
    [
        (spaces.MultiDiscrete([2, 3]), ([1, 0], [0, 2]), 0),
        (spaces.Box(-2, 2, (2,), np.float32), ([0.5, -0.5], [-1.0, 0.0]), 0.25),
    ],
)
def test_factors_and_boxes_learn_the_right_answer_to_each_observation(space, right, tolerance):
    policy = policy_of(Follow.observation_space, space, init_log_std=-0.7)
    slots = EnvSlots(lambda: Follow(space, right), 64)

    def collect(iteration):
        plans = [EpisodePlan(64 * iteration + i) for i in range(64)]
        return collect_episodes(policy, slots, plans, np.random.default_rng(iteration))

    options = {"iterations": 40, "epochs": 4, "minibatch_size": 64, "learning_rate": 2e-2}
    logs = train(policy, collect=collect, **options)
    for bit in (0, 1):
        action = policy.act(np.full(1, bit, np.float32), greedy=True).action
        assert action == pytest.approx(right[bit], abs=tolerance)
    assert logs[-1]["rollout/return_mean"] > logs[0]["rollout/return_mean"] + 0.5
