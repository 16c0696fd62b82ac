"""The update phase of PPO where a decision is a draw from few actions.

Texts have a phase of their own (`strategy_rl.token_updates`); one loop, `strategy_rl.ppo`, serves
both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from strategy_rl.actors import Choice, decisions_told
from strategy_rl.config import PPOConfig
from strategy_rl.errors import DivergenceError
from strategy_rl.losses import Loss, normalize, ppo_loss
from strategy_rl.policy.network import Representation
from strategy_rl.policy.observations import ObservationBatch
from strategy_rl.policy.policy import Policy
from strategy_rl.reference import Reference
from strategy_rl.rollout import DecisionRollout, Rollout
from strategy_rl.training import apply_gradients

RATIO_TOLERANCE = 1e-4  # batch shape alone moves the last bits of float32

AnyRollout = TypeVar("AnyRollout", bound=Rollout)


@dataclass(frozen=True)
class Coefficients:
    """The scheduled numbers of one iteration."""

    clip_range: float
    entropy_coef: float
    kl_coef: float
    warming_up: bool  # train the critic alone


class Method(Protocol[AnyRollout]):
    """How the decisions of one kind of action are judged by the reference and learnt from."""

    def judge(self, rollout: AnyRollout, kl_coef: float) -> tuple[AnyRollout, dict[str, float]]:
        """The rollout with what the reference takes off its rewards, and metrics."""

    def update(
        self,
        rollout: AnyRollout,
        advantages: Tensor,
        returns: Tensor,
        optimizer: torch.optim.Optimizer,
        config: PPOConfig,
        coefficients: Coefficients,
        rng: np.random.Generator,
    ) -> dict[str, float]:
        """Several epochs of clipped updates; gives metrics."""

    def told(self, rollout: AnyRollout, advantages: Tensor | None) -> list[Choice]:
        """What stood behind each action of a rollout, for whoever looks at it."""


@dataclass(frozen=True)
class DecisionMethod:
    """The KL to the reference is exact and a term of the loss; rewards stay as they are."""

    policy: Policy
    reference: Reference | None

    def judge(
        self, rollout: DecisionRollout, kl_coef: float
    ) -> tuple[DecisionRollout, dict[str, float]]:
        """Ask the reference; nothing is taken off."""
        if self.reference is None:
            return rollout, {}
        stored = self.reference.stored(self.policy, rollout)
        return replace(rollout, ref_stored=stored), {}

    def update(
        self,
        rollout: DecisionRollout,
        advantages: Tensor,
        returns: Tensor,
        optimizer: torch.optim.Optimizer,
        config: PPOConfig,
        coefficients: Coefficients,
        rng: np.random.Generator,
    ) -> dict[str, float]:
        """See `Updates.run`."""
        left_out = self.reference.left_out if self.reference else None
        updates = Updates(self.policy, rollout, advantages, returns, optimizer, left_out)
        return updates.run(config, coefficients, rng)

    def told(self, rollout: DecisionRollout, advantages: Tensor | None) -> list[Choice]:
        """One choice a decision."""
        stored, ref_stored = rollout.stored, rollout.ref_stored
        return decisions_told(
            self.policy.rebuild(stored),
            rollout.actions,
            rollout.values,
            None if ref_stored is None else self.policy.rebuild(ref_stored),
            self.reference.left_out if self.reference else None,
            advantages,
        )


class Decisions(NamedTuple):
    """What a loss reads of N decisions; every tensor's first dimension is N."""

    batch: ObservationBatch
    actions: Tensor
    stored: Tensor
    logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    ref_stored: Tensor | None
    representation: Representation | None = None  # of the texts, where it learns no more

    def shuffled(self, order: Tensor, size: int) -> list[Decisions]:
        """Minibatches of `size`: copied once, so that each is a view."""

        def minibatches(part: Any) -> Iterable[Any]:
            if part is None:
                return repeat(None, -(-len(order) // size))
            if isinstance(part, tuple):
                return zip(*map(minibatches, part), strict=True)
            return part[order].split(size)  # type: ignore[no-any-return]

        return [Decisions(*parts) for parts in zip(*map(minibatches, self), strict=True)]


@dataclass(frozen=True)
class Updates:
    """The update phase of one iteration."""

    policy: Policy
    rollout: DecisionRollout
    advantages: Tensor  # (N,)
    returns: Tensor  # (N,)
    optimizer: torch.optim.Optimizer
    left_out: Tensor | None = None  # (actions,) bool: not part of the KL to the reference

    def run(
        self, config: PPOConfig, coefficients: Coefficients, rng: np.random.Generator
    ) -> dict[str, float]:
        """Every decision once an epoch, until the KL to the rollout's policy is too large."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        decisions, size = self.decisions(), len(self.rollout)
        planned = config.epochs * -(-size // config.minibatch_size)
        history: list[dict[str, Tensor]] = []
        stopped = False
        for epoch in range(config.epochs):
            if epoch == config.representation_epochs:
                representation = self.policy.represent(decisions.batch) or None
                decisions = decisions._replace(representation=representation)
            order = torch.from_numpy(rng.permutation(size)).to(self.policy.device)
            for minibatch in decisions.shuffled(order, config.minibatch_size):
                loss, metrics = self.loss(minibatch, config, coefficients)
                if not history:
                    self._check_start(metrics)
                kl = metrics["exact_kl"]
                if config.target_kl is not None and float(kl) > 1.5 * config.target_kl:
                    stopped = True
                    break
                metrics["grad_norm"] = apply_gradients(
                    self.optimizer, loss, parameters, config.max_grad_norm, "PPO"
                )
                history.append(metrics)
            if stopped:
                break
        means = summarize(history)
        return means | {
            "updates_done": len(history),
            "updates_planned": planned,
            "early_stopped": float(stopped),
        }

    def decisions(self) -> Decisions:
        """The whole rollout."""
        rollout = self.rollout
        return Decisions(
            rollout.batch,
            rollout.actions,
            rollout.stored,
            rollout.logprobs,
            rollout.values,
            self.advantages,
            self.returns,
            rollout.ref_stored,
        )

    def loss(self, part: Decisions, config: PPOConfig, coefficients: Coefficients) -> Loss:
        """The loss of one minibatch, and the exact KL of the rollout's policy to the new one."""
        policy = self.policy
        distribution, new_values = policy(part.batch, part.representation)
        ref_kl = None
        if part.ref_stored is not None:
            ref_kl = distribution.kl(policy.rebuild(part.ref_stored), self.left_out)
        loss, metrics = ppo_loss(
            new_logprobs=distribution.log_prob(part.actions),
            logprobs=part.logprobs,
            advantages=normalize(part.advantages)
            if config.normalize_advantages
            else part.advantages,
            new_values=new_values,
            values=part.values,
            returns=part.returns,
            entropy=distribution.entropy(),
            clip_range=coefficients.clip_range,
            value_clip_range=config.value_clip_range,
            vf_coef=config.vf_coef,
            entropy_coef=coefficients.entropy_coef,
            ref_kl=ref_kl,
            kl_coef=coefficients.kl_coef,
        )
        with torch.no_grad():
            metrics["exact_kl"] = policy.rebuild(part.stored).kl(distribution).mean()
        if coefficients.warming_up:  # the value head reads detached inputs only
            loss = config.vf_coef * 0.5 * (new_values - part.returns).square().mean()
        return Loss(loss, metrics)

    def _check_start(self, metrics: dict[str, Tensor]) -> None:
        off = max(float(metrics["ratio_max"]) - 1, 1 - float(metrics["ratio_min"]))
        if off > RATIO_TOLERANCE:
            raise DivergenceError(
                f"the ratio of new to old probability starts {off:.2e} away from 1, expected at "
                f"most {RATIO_TOLERANCE}: rollout and training forward passes differ (dropout on, "
                "or batch-dependent layers)"
            )


def summarize(history: list[dict[str, Tensor]]) -> dict[str, float]:
    """Means over the updates; of the ratio's ends, the least and the greatest."""
    if not history:
        return {}
    names = list(history[0])
    table = torch.stack([torch.stack([torch.as_tensor(m[n]) for n in names]) for m in history])
    means = dict(zip(names, table.mean(0).tolist(), strict=True))
    for name, reduced in (("ratio_min", table.min(0)), ("ratio_max", table.max(0))):
        means[name] = reduced.values[names.index(name)].item()
    return means
