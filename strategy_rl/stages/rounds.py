"""The rounds of PPO: how each is collected, by which weights and scales its reward pays.

Knows the order of episodes and the state of the reward; not what is learnt from a round.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from strategy_rl.collector import StepCollector, collect_episodes
from strategy_rl.config import Experiment
from strategy_rl.env import EnvSlots
from strategy_rl.generation import AnyPolicy
from strategy_rl.moments import Sums, mean_and_std, merged, one_part
from strategy_rl.report import NO_SPREAD_SHARE
from strategy_rl.reward_checks import reward_spread
from strategy_rl.rollout import EpisodePlan, Rollout
from strategy_rl.seeding import generator
from strategy_rl.session import Session

Collect = Callable[[int], Rollout]  # iteration to rollout

log = logging.getLogger(__name__)


def collector(
    experiment: Experiment,
    slots: EnvSlots,
    policy: AnyPolicy,
    plan: Callable[[int], EpisodePlan],
    counters: dict[str, Any],
) -> Collect:
    """Iteration to rollout, whole episodes or fixed lengths.

    Args:
        experiment: Says which, and how many.
        slots: Of the training rows.
        policy: Plays as it is.
        plan: Episode number to plan.
        counters: Of the training; what the next round goes on from is written there.
    """
    config, seed = experiment.ppo, experiment.seed
    if config.rollout == "episodes":
        size = config.episodes_per_iteration

        def collect(iteration: int) -> Rollout:
            plans = (plan(iteration * size + i) for i in range(size))
            return collect_episodes(policy, slots, plans, generator(seed, "ppo-actions", iteration))

        return _in_phase(collect, slots, config.iterations, counters)

    steps = StepCollector(policy, slots, plan)
    counters.setdefault("next_episode", 0)
    every = experiment.checkpoint.every

    def collect_steps(iteration: int) -> Rollout:
        if iteration % every == 0 or not steps.is_started:
            steps.restart(counters["next_episode"])
        rollout = steps.collect(config.num_steps, generator(seed, "ppo-actions", iteration))
        counters["next_episode"] = steps.next_episode
        return rollout

    return _in_phase(collect_steps, slots, config.iterations, counters)


def _in_phase(
    collect: Collect, slots: EnvSlots, iterations: int, counters: dict[str, Any]
) -> Collect:
    """Collect with the reward's scheduled weights and running scales of the iteration."""

    def collect_in_phase(iteration: int) -> Rollout:
        sums = counters["reward_sums"]
        slots.set_reward_phase(iteration / iterations, mean_and_std(sums))
        rollout = collect(iteration)
        counters["reward_sums"] = merged(sums, rollout.reward_values)
        return rollout

    return collect_in_phase


def first_moments(
    session: Session, slots: EnvSlots, policy: AnyPolicy, plans: Sequence[EpisodePlan], seed: int
) -> Sums:
    """What the reward's components are like under SFT's policy, where that is asked for."""
    if slots.num_rows is not None:
        return _measure_spread(session, slots, policy, plans, seed)
    if not any(reward.normalised for reward in slots.rewards):
        return {}
    rng = generator(seed, "reward-moments")
    return merged({}, collect_episodes(policy, slots, plans, rng).reward_values)


def _measure_spread(
    session: Session, slots: EnvSlots, policy: AnyPolicy, plans: Sequence[EpisodePlan], seed: int
) -> Sums:
    """Record how much PPO has to learn from; say so where it is nothing.

    Returns:
        What the values of each component of the reward are like under SFT's policy.
    """
    spread, values = reward_spread(policy, slots, plans, generator(seed, "reward-spread"))
    session.log(0, spread)
    if spread["rollout/reward_spread_zero_share"] > NO_SPREAD_SHARE:
        log.warning(
            "nearly every row pays the same whatever the policy samples: there is nothing "
            "for PPO to learn from; look at the reward, or at ppo.entropy_coef"
        )
    return merged({}, values)


def reward_times(slots: EnvSlots) -> dict[str, float]:
    """Microseconds of a call of each component, over all environments, by metric."""
    calls: dict[str, list[tuple[int, float]]] = {}
    for reward in slots.rewards:
        for name, timing in reward.timings().items():
            calls.setdefault(name, []).append(timing)
    return {
        f"time/reward_{one_part(name)}_us": 1e6
        * sum(s for _, s in each)
        / max(1, sum(n for n, _ in each))
        for name, each in calls.items()
    }
