"""How PPO learns from decisions of each kind, beside a reference that is checked first.

Knows policies and their references; updates nothing.
"""

from __future__ import annotations

from typing import Any

from strategy_rl.collector import collect_episodes
from strategy_rl.config import Experiment
from strategy_rl.env import EnvSlots
from strategy_rl.generation import AnyPolicy, TextPolicy
from strategy_rl.policy import Policy
from strategy_rl.reference import Reference, check_reference
from strategy_rl.rollout import EpisodePlan
from strategy_rl.seeding import generator
from strategy_rl.stages.teaching import Teaching
from strategy_rl.token_updates import TokenMethod, TokenReference, check_token_reference
from strategy_rl.updates import DecisionMethod, Method


def make_method(
    experiment: Experiment,
    policy: AnyPolicy,
    slots: EnvSlots,
    plan: EpisodePlan,
    teaching: Teaching,
) -> Method[Any]:
    """How PPO learns from the policy's kind of decisions.

    Args:
        experiment: Says whether there is a reference.
        policy: As SFT left it, which is what the reference will be.
        slots: Of the training rows.
        plan: The episode on which the reference is checked.
        teaching: Knows what the reference has never seen.

    Raises:
        DivergenceError: The reference is not the policy.
    """
    config, section = experiment.ppo, experiment.generation
    rng = generator(experiment.seed, "reference-check")
    if isinstance(policy, Policy):
        if not config.kl_coef or not experiment.sft.epochs:
            return DecisionMethod(policy, None)
        reference = Reference(policy, teaching.left_out(policy))
        probe = collect_episodes(policy, slots, [plan], rng)
        check_reference(policy, reference, probe)
        return DecisionMethod(policy, reference)
    written: TokenReference | None = None
    if config.kl_coef:
        written = TokenReference(policy)
        responses = collect_episodes(policy, slots, [plan], rng).responses
        check_token_reference(policy, written, responses)
    return TokenMethod(
        policy,
        written,
        config.minibatch_size,
        section.micro_batch_tokens,
        section.missing_end_penalty,
    )


def without_reference(policy: AnyPolicy) -> Method[Any]:
    """How a policy's decisions are told where nothing is learnt from them."""
    return (
        TokenMethod(policy, None, 1)
        if isinstance(policy, TextPolicy)
        else DecisionMethod(policy, None)
    )
