"""What is asked of a reward before a policy is trained on it: does it work, does it tell apart?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from strategy_rl.actors import RandomActor
from strategy_rl.collector import collect_episodes
from strategy_rl.env import EnvSlots
from strategy_rl.errors import EnvironmentFault
from strategy_rl.generation import AnyPolicy
from strategy_rl.rollout import EpisodePlan
from strategy_rl.seeding import generator

PROBED_STEPS = 8  # of an episode


def probe_rewards(slots: EnvSlots, plans: Sequence[EpisodePlan], seed: int) -> list[Any]:
    """Try every component of the reward on real steps, before anything is trained on it.

    Returns:
        The findings of the task's own reward composition; empty where it has none.

    Raises:
        EnvironmentFault: A component fails, or gives what is no reward.
    """
    if not slots.rewards:
        return []
    actor = RandomActor(slots.action_space, len(slots.special_actions))
    rng = generator(seed, "reward-probe")
    facts = []
    for plan in plans:
        obs, info = slots.reset([0], [plan.seed], [plan.options])[0]
        for _ in range(PROBED_STEPS):
            choice = actor.act([obs], [info], rng)[0]
            answer = slots.step([0], [choice.action])[0]
            obs, info = answer.obs, answer.info
            facts.append(info.get("reward_inputs"))
            if answer.terminated or answer.truncated:
                break
    try:
        return list(slots.rewards[0].probe([given for given in facts if given]))
    except Exception as error:
        raise EnvironmentFault(f"the reward fails before training: {error}") from error


def reward_spread(
    policy: AnyPolicy,
    slots: EnvSlots,
    plans: Sequence[EpisodePlan],
    rng: np.random.Generator,
    repeats: int = 8,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """How much the return of one row varies when the policy samples: what PPO can learn from.

    Returns:
        Metrics, and the values of each component of the reward, by step.
    """
    repeated = [plan for plan in plans for _ in range(repeats)]
    rollout = collect_episodes(policy, slots, repeated, rng)
    returns = np.full(len(repeated), np.nan)  # NaN: the episode was dropped
    returns[rollout.episode_columns] = rollout.episode_returns
    by_row = returns.reshape(len(plans), repeats)
    spread = np.nanstd(by_row[np.isfinite(by_row).any(axis=1)], axis=1)
    figures = {
        "rollout/reward_spread_mean": float(spread.mean()),
        "rollout/reward_spread_zero_share": float((spread < 1e-3).mean()),
    }
    return figures, rollout.reward_values
