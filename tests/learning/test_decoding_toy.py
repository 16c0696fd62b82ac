"""The toy of decoding control: its known answers by dynamic programming, and PPO's way to them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from ladder import EXPERIMENTS

import strategy_rl
from strategy_rl.config import load_experiment

TEMPERATURES = (0.0, 0.3, 0.7, 1.0, 1.5, 3.0)
STEPS, COLD, HOT = 8, 0, 5
# Probabilities of the six actions at a step (0 to 7) with these tokens used.
Rule = Callable[[int, tuple[int, ...]], np.ndarray]
Values = Callable[[int, tuple[int, ...]], np.ndarray]


def drawn(wants_new: int, action: int) -> np.ndarray:
    """Probabilities of the tokens, p^(1/T) renormalised; temperature 0 is the mode."""
    p = np.array([0.6, 0.2, 0.1, 0.1] if wants_new else [0.55, 0.25, 0.2])
    if action == COLD:
        return np.eye(len(p))[0]
    powers = p ** (1 / TEMPERATURES[action])
    return powers / powers.sum()


def exact(choose: Callable[[np.ndarray, int, tuple[int, ...]], float]) -> float:
    """The expected return where `choose(values of the actions, step, used)` gives a state's."""

    @cache
    def value(step: int, used: tuple[int, ...]) -> float:
        if step == STEPS:
            return 0.0
        return choose(np.array([worth(step, used, a) for a in range(6)]), step, used)

    def worth(step: int, used: tuple[int, ...], action: int) -> float:
        tokens = drawn(step % 2, action)
        if step % 2 == 0:
            return tokens[0] + value(step + 1, used)
        found = 0.0
        for token in np.flatnonzero(tokens):
            after = (*used[:token], 1, *used[token + 1 :])
            found += tokens[token] * (1 - used[token] + value(step + 1, after))
        return found

    return value(0, (0, 0, 0, 0))


def test_the_static_temperatures_the_rule_by_kind_of_step_and_the_optimum_have_the_stated_returns():
    static = [exact(lambda worth, step, used, a=a: worth[a]) for a in range(6)]
    assert static == pytest.approx([5.00, 4.73, 4.46, 4.45, 4.41, 4.29], abs=0.005)
    assert exact(lambda worth, step, used: worth[HOT if step % 2 else COLD]) == pytest.approx(
        6.6788, abs=5e-5
    )
    assert exact(lambda worth, step, used: worth.max()) == pytest.approx(6.7998, abs=5e-5)


def test_no_other_pair_of_temperatures_is_better_than_cold_and_hot():
    pairs = {
        (a, b): exact(lambda worth, step, used, a=a, b=b: worth[b if step % 2 else a])
        for a in range(6)
        for b in range(6)
    }
    assert max(pairs, key=lambda pair: pairs[pair]) == (COLD, HOT)


@pytest.mark.parametrize(
    ("rule", "known"), [("static_0", 5.0), ("static_1", 4.4526), ("by_kind_of_step", 6.6788)]
)
def test_the_environment_pays_what_the_programme_says(rule, known):
    env = gymnasium.make("strategy_rl_envs:strategy_rl/ProbeDecoding-v0")
    choose, rng = env.unwrapped.heuristics[rule], np.random.default_rng(0)
    returns = []
    for seed in range(1500):
        obs, info = env.reset(seed=seed)
        returns.append(0.0)
        ended = False
        while not ended:
            assert info["expert_action"] == COLD
            obs, reward, ended, _, info = env.step(choose(obs, rng))
            returns[-1] += reward
    assert np.mean(returns) == pytest.approx(known, abs=0.1)  # 0.026 is one standard error or more


def test_what_was_drawn_is_shown_and_named():
    env = gymnasium.make("strategy_rl_envs:strategy_rl/ProbeDecoding-v0")
    obs, _ = env.reset(seed=0)
    assert obs.tolist() == [0, 0, 0, 0, 0, 1]
    obs, reward, _, _, info = env.step(COLD)
    assert (reward, info["text"]) == (1.0, "right ")
    assert obs.tolist() == [1, 0, 0, 0, 0, 0.875]
    obs, reward, _, _, info = env.step(COLD)
    assert info["reward_components"] == {"right": 0.0, "new": 1.0}
    assert obs.tolist() == [0, 1, 0, 0, 0, 0.75]
    assert [env.unwrapped.action_name(a) for a in (0, 1, 5)] == ["T 0", "T 0.3", "T 3"]


def exact_of(policy: strategy_rl.Policy, *, greedy: bool) -> float:
    """The expected return of a policy."""

    def choose(worth: np.ndarray, step: int, used: tuple[int, ...]) -> float:
        obs = np.array([step % 2, *used, 1 - step / STEPS], np.float32)
        chances = np.array(policy.act(obs, greedy=True).probabilities)
        return float(worth[chances.argmax()] if greedy else worth @ chances)

    return exact(choose)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_ppo_adapts_to_what_was_drawn_where_imitation_has_the_best_static_setting(
    seed: int, tmp_path: Path
) -> None:
    experiment = load_experiment(
        EXPERIMENTS / "probes/decoding_toy.yaml",
        [f"seed={seed}", "evaluation.episodes=50", "evaluation.bootstrap_samples=100"],
    )
    run = strategy_rl.run(experiment, out=tmp_path / "run")
    assert run.report["policies"]["sft"]["mean_return"] == 5.0
    assert run.report["policies"]["static_0"]["mean_return"] == 5.0
    policy = run.policy()
    assert isinstance(policy, strategy_rl.Policy)
    reached = max(exact_of(policy, greedy=greedy) for greedy in (True, False))
    assert reached >= 6.6  # of 6.7998
