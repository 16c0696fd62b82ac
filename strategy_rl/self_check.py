"""Checks on the user's own model and task, before any training: mistakes that no curve shows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from strategy_rl.assembly import (
    make_policy,
    make_table,
    make_world,
    needs_table,
    ppo_plan,
    row_share,
    share_rows,
)
from strategy_rl.collector import collect_episodes
from strategy_rl.config import Experiment
from strategy_rl.errors import DivergenceError
from strategy_rl.generation import TextPolicy
from strategy_rl.imports import load_imports
from strategy_rl.policy import ObservationBatch, Policy
from strategy_rl.policy.distributions import ILLEGAL
from strategy_rl.ppo import ppo_state
from strategy_rl.reference import Reference, check_reference
from strategy_rl.rollout import DecisionRollout
from strategy_rl.seeding import generator, seed_torch
from strategy_rl.token_checks import token_checks
from strategy_rl.training import set_learning_rates
from strategy_rl.updates import Coefficients, Updates

TOLERANCE = 1e-4  # of log-probabilities in float32
NUM_EPISODES = 16


Check = Callable[[], str | None]


class CheckResult(NamedTuple):
    """One check's verdict."""

    name: str
    passed: bool
    detail: str


def self_check(experiment: Experiment) -> list[CheckResult]:
    """Play a few episodes with a fresh policy and test what must hold for any policy.

    Raises:
        StrategyRLError: The experiment cannot be assembled, or an environment fails.
    """
    load_imports(experiment.imports, trust=True)
    world = make_world(experiment)
    table = make_table(experiment.backbone, experiment.seed) if needs_table(world.train) else None
    policy = make_policy(experiment, world.train, table)
    rows = share_rows(world.train, row_share(experiment), experiment.seed)
    plan = ppo_plan(rows.ppo, experiment.seed)
    plans = [plan(number) for number in range(NUM_EPISODES)]
    rng = generator(experiment.seed, "self-check")
    if isinstance(policy, TextPolicy):
        written = collect_episodes(policy, world.train, plans, rng)
        checks, count = token_checks(policy, written, experiment), len(written)
    else:
        _stir(policy, experiment.seed)
        rollout = collect_episodes(policy, world.train, plans, rng)
        checks, count = decision_checks(policy, rollout, experiment), len(rollout)
    world.close()
    results = []
    for name, check in checks.items():
        try:
            fault = check()
        except DivergenceError as error:
            fault = str(error)
        results.append(CheckResult(name, fault is None, fault or f"on {count} decisions"))
    return results


def decision_checks(
    policy: Policy, rollout: DecisionRollout, experiment: Experiment
) -> dict[str, Check]:
    """What must hold for a policy that picks; by name, each gives its fault or None."""
    return {
        "illegal actions have probability 0": lambda: _illegal_actions(policy, rollout),
        "what stands in an empty slot changes nothing": lambda: _garbage(policy, rollout),
        "a decision does not depend on its neighbours in the batch": lambda: _neighbours(
            policy, rollout
        ),
        "padding changes nothing": lambda: _padding(policy, rollout),
        "the order of candidates changes nothing": lambda: _permutation(policy, rollout),
        "the ratio starts at 1": lambda: _ratio(policy, rollout),
        "the KL to the reference starts at 0": lambda: _reference(policy, rollout),
        "learning rate 0 changes nothing": lambda: _no_learning_rate(policy, rollout, experiment),
    }


@torch.no_grad()
def _stir(policy: Policy, seed: int) -> None:
    """A fresh head says nearly the same of everything, which would hide faults."""
    seed_torch(seed, "self-check-weights")
    for parameter in policy.network.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))


def _illegal_actions(policy: Policy, rollout: DecisionRollout) -> str | None:
    if policy.spec.action.kind == "box":
        return None
    worst = rollout.stored.exp()[~rollout.batch.mask]
    chosen = rollout.logprobs.min()
    if len(worst) and float(worst.max()) > 0:
        return f"an illegal action has probability {float(worst.max()):.2e}"
    return None if float(chosen) > ILLEGAL / 2 else "an illegal action was sampled"


def _garbage(policy: Policy, rollout: DecisionRollout) -> str | None:
    """Put another text in place of every candidate that is masked out."""
    batch = rollout.batch
    masked = ~batch.mask[:, : batch.candidates.shape[1]]
    if not batch.candidates.numel() or not masked.any():
        return None
    some_text = batch.candidates[batch.candidates >= 0][0]
    garbage = torch.where(masked, some_text, batch.candidates)
    changed = replace(batch, candidates=garbage, pairs=_filled(batch.pairs, masked, 1e3))
    return _same(policy, batch, changed)


def _filled(pairs: Tensor, where: Tensor, value: float) -> Tensor:
    return torch.where(where[..., None], torch.full_like(pairs, value), pairs)


def _neighbours(policy: Policy, rollout: DecisionRollout) -> str | None:
    whole = policy.evaluate(rollout.batch)
    for number in range(min(len(rollout), 16)):
        alone = policy.evaluate(rollout.batch[number : number + 1])
        off = _distance(whole.distribution.stored[number], alone.distribution.stored[0])
        off = max(off, float((whole.values[number] - alone.values[0]).abs()))
        if off > TOLERANCE:
            return f"decision {number} differs by {off:.2e} alone and in a batch"
    return None


def _padding(policy: Policy, rollout: DecisionRollout) -> str | None:
    """Where an observation fills not all the columns, cutting the others changes nothing."""
    network, batch = policy.network, rollout.batch
    counts = (batch.candidates >= 0).sum(1)
    rows = (counts > 0) & (counts < batch.candidates.shape[1])
    if not rows.any():
        return None
    batch, used = batch[rows], int(counts[rows].max())
    keep = [*range(used), *range(policy.spec.observation.max_candidates, batch.mask.shape[1])]
    narrow = replace(
        batch,
        candidates=batch.candidates[:, :used],
        pairs=batch.pairs[:, :used],
        mask=batch.mask[:, keep],
    )
    trimmed = copy.deepcopy(network)
    trimmed.spec = replace(policy.spec.observation, max_candidates=used)
    with torch.no_grad(), policy.lent_to(trimmed, {}):
        shorter = policy(narrow).distribution.stored
    off = _distance(policy.evaluate(batch).distribution.stored[:, keep], shorter)
    return None if off <= TOLERANCE else f"log-probabilities move by {off:.2e}"


def _permutation(policy: Policy, rollout: DecisionRollout) -> str | None:
    batch = rollout.batch
    size = batch.candidates.shape[1]
    if size < 2:
        return None
    order = torch.arange(size).flip(0)
    actions = torch.cat([order, torch.arange(size, batch.mask.shape[1])])
    shuffled = replace(
        batch,
        candidates=batch.candidates[:, order],
        pairs=batch.pairs[:, order],
        mask=batch.mask[:, actions],
    )
    there = policy.evaluate(batch)
    back = policy.evaluate(shuffled)
    off = _distance(there.distribution.stored[:, actions], back.distribution.stored)
    off = max(off, float((there.values - back.values).abs().max()))
    return None if off <= TOLERANCE else f"log-probabilities or values move by {off:.2e}"


def _ratio(policy: Policy, rollout: DecisionRollout) -> str | None:
    with torch.enable_grad():
        distribution, _ = policy(rollout.batch)
        logprobs = distribution.log_prob(rollout.actions).detach()
    off = float((logprobs - rollout.logprobs).exp().sub(1).abs().max())
    return None if off <= TOLERANCE else f"it is {off:.2e} away from 1"


def _reference(policy: Policy, rollout: DecisionRollout) -> str | None:
    check_reference(policy, Reference(policy), rollout)
    return None


def _no_learning_rate(
    policy: Policy, rollout: DecisionRollout, experiment: Experiment
) -> str | None:
    before = policy.state()
    config = experiment.ppo
    state = ppo_state(policy, config, experiment.backbone.learning_rate)
    set_learning_rates(state.optimizer, 0.0)
    advantages, returns = rollout.advantages(config.gamma, config.gae_lambda)
    updates = Updates(policy, rollout, advantages, returns, state.optimizer)
    updates.run(config, Coefficients(0.2, 0.01, 0.0, False), generator(0, "self-check-updates"))
    moved = [name for name, tensor in policy.state().items() if not tensor.equal(before[name])]
    return f"these weights moved: {', '.join(moved[:5])}" if moved else None


def _same(policy: Policy, one: ObservationBatch, other: ObservationBatch) -> str | None:
    first, second = policy.evaluate(one), policy.evaluate(other)
    off = _distance(first.distribution.stored, second.distribution.stored)
    off = max(off, float((first.values - second.values).abs().max()))
    return None if off <= TOLERANCE else f"log-probabilities or values move by {off:.2e}"


def _distance(one: Tensor, other: Tensor) -> float:
    """Largest difference where either is legal; an illegal action must be illegal in both."""
    legal = (one > ILLEGAL / 2) | (other > ILLEGAL / 2)
    return float((one - other)[legal].abs().max()) if legal.any() else 0.0
