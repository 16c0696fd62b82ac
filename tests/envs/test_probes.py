"""The known answers that the probes' docstrings state, worked out or played."""

import gymnasium
import numpy as np
import pytest


def make(name):
    return gymnasium.make(f"strategy_rl_envs:strategy_rl/Probe{name}-v0")


def returns(env, choose, episodes, seed=0):
    found = []
    for number in range(episodes):
        obs, info = env.reset(seed=seed + number)
        total, ended = 0.0, False
        while not ended:
            obs, reward, terminated, truncated, info = env.step(choose(obs, info))
            total += reward
            ended = terminated or truncated
        found.append(total)
    return np.array(found)


def expert(obs, info):
    return info["expert_action"]


def test_one_action_pays_one():
    assert set(returns(make("OneAction"), lambda obs, info: 0, 5)) == {1.0}


def test_the_observation_is_the_reward():
    env = make("Observation")
    seen = set()
    for seed in range(20):
        obs, _ = env.reset(seed=seed)
        assert env.step(0)[1] == obs[0]
        seen.add(float(obs[0]))
    assert seen == {-1.0, 1.0}


def test_the_delayed_reward_comes_at_the_second_step():
    env = make("Delay")
    first, _ = env.reset(seed=0)
    second, reward, ended, *_ = env.step(0)
    assert (first[0], second[0], reward, ended) == (0.0, 1.0, 0.0, False)
    assert env.step(0)[1:3] == (1.0, True)


def test_truncation_is_never_termination_and_lengths_differ():
    env = make("Truncation")
    lengths = returns(env, lambda obs, info: 0, 60)
    assert lengths.min() == 2
    assert lengths.max() == 12
    env.reset(seed=1)
    flags = [env.step(0)[2:4] for _ in range(int(returns(env, lambda *_: 0, 1, seed=1)[0]))]
    assert not any(terminated for terminated, _ in flags)


@pytest.mark.parametrize("name", ["Action", "ObservationAction"])
def test_the_expert_of_a_single_decision_has_one_and_its_opposite_minus_one(name):
    assert set(returns(make(name), expert, 20)) == {1.0}
    assert set(returns(make(name), lambda obs, info: 1 - info["expert_action"], 20)) == {-1.0}


def test_the_better_legal_arm_has_fourteen_sixths_and_an_illegal_one_minus_ten():
    env = make("Mask")
    assert returns(env, expert, 3000).mean() == pytest.approx(14 / 6, abs=0.05)
    illegal = returns(env, lambda obs, info: int(np.argmin(obs["action_mask"])), 20)
    assert set(illegal) == {-10.0}


def test_the_bandits_arms_pay_one_nothing_and_two():
    env = make("Bandit")
    paid = [returns(env, lambda obs, info, arm=arm: arm, 1)[0] for arm in range(3)]
    assert paid == [1.0, 0.0, 2.0]


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_the_bandits_stated_optimum_under_a_kl_penalty_holds(beta):
    stated = {0.5: (0.24772, 0.02012, 0.73217, 1.35116), 1.0: (0.43327, 0.09563, 0.47110, 1.14325)}
    policy, best = np.array(stated[beta][:3]), stated[beta][3]
    reference, payments = np.array([0.5, 0.3, 0.2]), np.array([1.0, 0.0, 2.0])

    def penalised(pi):
        return pi @ payments - beta * pi @ np.log(pi / reference)

    assert penalised(policy) == pytest.approx(best, abs=1e-4)
    rng = np.random.default_rng(0)
    assert all(penalised(rng.dirichlet(np.ones(3))) < best for _ in range(200))


@pytest.mark.parametrize(("name", "legal"), [("Identity", 4), ("MaskedIdentity", 15)])
def test_identity_pays_a_hundred_for_naming_the_state_which_is_always_legal(name, legal):
    env = make(name)

    def check(obs, info):
        state = int(np.argmax(obs["state"]))
        assert obs["action_mask"].sum() == legal
        assert obs["action_mask"][state] == 1
        assert info["expert_action"] == state
        return state

    assert set(returns(env, check, 3)) == {100.0}


def test_a_random_legal_action_names_one_state_in_fifteen():
    rng = np.random.default_rng(0)
    random_legal = returns(
        make("MaskedIdentity"),
        lambda obs, info: int(rng.choice(np.flatnonzero(obs["action_mask"]))),
        30,
    )
    assert random_legal.mean() == pytest.approx(100 / 15, abs=1.5)


def test_the_candidates_probe_offers_two_to_eight_and_pays_three():
    env = make("Candidates")
    counts = set()

    def count(obs, info):
        counts.add(len(obs["candidates"]))
        assert obs["candidates"].count(obs["context"][0]) == 1
        return obs["candidates"].index(obs["context"][0])

    assert set(returns(env, count, 60)) == {3.0}
    assert counts == set(range(2, 9))


def test_selling_at_six_tenths_or_more_has_the_stated_optimum():
    offers = np.arange(1, 11) / 10
    worth_of_waiting = 0.0
    for _ in range(1000):  # value iteration
        worth_of_waiting = np.maximum(offers, worth_of_waiting).mean() - 0.12
    assert worth_of_waiting == pytest.approx(0.56)
    assert np.maximum(offers, 0.56).mean() == pytest.approx(0.68)
    env = make("Stopping")
    assert returns(env, expert, 4000).mean() == pytest.approx(0.68, abs=0.02)
    assert returns(env, lambda obs, info: 0, 4000).mean() == pytest.approx(0.55, abs=0.02)
