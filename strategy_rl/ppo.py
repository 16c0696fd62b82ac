"""Proximal policy optimisation (Schulman et al. 2017) of any policy of this project.

Knows a policy and a way to collect rollouts; no environment, no files. A rollout is a list of
decisions, so that one loop serves every action space.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from strategy_rl.collector import Rollout
from strategy_rl.config import PPOConfig, value_at
from strategy_rl.errors import DivergenceError
from strategy_rl.losses import (
    Loss,
    adapt_kl_coef,
    explained_variance,
    normalize,
    ppo_loss,
)
from strategy_rl.moments import figures, one_part
from strategy_rl.policy.network import Representation
from strategy_rl.policy.observations import ObservationBatch
from strategy_rl.policy.policy import Policy
from strategy_rl.reference import Reference
from strategy_rl.seeding import generator
from strategy_rl.training import (
    Hooks,
    TrainingState,
    apply_gradients,
    lr_factor,
    set_learning_rates,
    settled_heap,
)

RATIO_TOLERANCE = 1e-4  # batch shape alone moves the last bits of float32


@dataclass(frozen=True)
class Task:
    """What PPO needs of the world.

    Attributes:
        collect: Iteration to rollout, played by the policy as it is.
        validate: Mean return of the greedy policy on the validation split.
        reference: The policy that SFT left, or None without a KL penalty.
        histograms_every: Iterations between histograms.
        checkpoint_every: Iterations between checkpoints.
    """

    collect: Callable[[int], Rollout]
    validate: Callable[[], float]
    reference: Reference | None
    histograms_every: int = 10
    checkpoint_every: int = 10


@dataclass(frozen=True)
class Coefficients:
    """The scheduled numbers of one iteration."""

    clip_range: float
    entropy_coef: float
    kl_coef: float
    warming_up: bool  # train the critic alone


@settled_heap()
def train_ppo(
    policy: Policy,
    task: Task,
    config: PPOConfig,
    *,
    seed: int,
    hooks: Hooks,
    state: TrainingState,
) -> None:
    """Collect, estimate advantages, update; the policy with the best validation return stays.

    Args:
        policy: Trained in place.
        task: Rollouts, validation and reference.
        config: The `ppo` section.
        seed: Of the minibatches' order.
        hooks: The run around the loop.
        state: Where to go on from; `ppo_state` makes a fresh one.

    Raises:
        DivergenceError: The ratio does not start at 1, the KL to the reference not at 0, or a
            loss or gradient is not finite.
    """
    counters = state.counters
    if counters["iteration"] == 0:
        state.keep_best(task.validate())

    while counters["iteration"] < config.iterations:
        # 1. The scheduled numbers.
        iteration = counters["iteration"]
        progress = iteration / config.iterations
        set_learning_rates(state.optimizer, lr_factor(progress, config.schedule))
        coefficients = Coefficients(
            clip_range=value_at(config.clip_range, progress),
            entropy_coef=value_at(config.entropy_coef, progress),
            kl_coef=counters["kl_coef"],
            warming_up=iteration < config.critic_warmup_iterations,
        )

        # 2. Collect decisions with the policy as it is.
        rollout = task.collect(iteration)
        ref_stored = task.reference.stored(policy, rollout) if task.reference else None

        # 3. Advantages and returns, before any whitening.
        scale = _reward_scale(counters, rollout, config)
        advantages, returns = rollout.advantages(config.gamma, config.gae_lambda, scale)

        # 4. Clipped updates on minibatches.
        left_out = task.reference.left_out if task.reference else None
        updates = Updates(
            policy, rollout, advantages, returns, ref_stored, state.optimizer, left_out
        )
        metrics = updates.run(config, coefficients, generator(seed, "ppo-minibatches", iteration))

        # 5. What moves from one iteration to the next.
        counters["iteration"] = iteration + 1
        counters["decisions"] += len(rollout)
        if config.normalize_observations:
            policy.network.normalizer.update(rollout.batch.numbers)
        if config.adaptive_kl is not None and "ref_kl" in metrics:
            num_episodes = max(len(rollout.episode_returns), 1)
            counters["kl_coef"] = adapt_kl_coef(
                counters["kl_coef"],
                kl=metrics["ref_kl"] * len(rollout) / num_episodes,
                target=config.adaptive_kl.target,
                count=num_episodes,
                horizon=config.adaptive_kl.horizon,
            )

        # 6. Record, judge on validation rows, save.
        step = counters["decisions"]
        metrics |= {
            "learning_rate": state.optimizer.param_groups[0]["lr"],
            "clip_range": coefficients.clip_range,
            "entropy_coef": coefficients.entropy_coef,
            "kl_coef": coefficients.kl_coef,
            "explained_variance": explained_variance(rollout.values, returns),
            "advantage_mean": float(advantages.mean()),
            "advantage_std": float(advantages.std(unbiased=False)),
        }
        last = counters["iteration"] == config.iterations
        if last or counters["iteration"] % config.evaluate_every == 0:
            metrics["validation_return"] = task.validate()
            # A reward that tells no two policies apart must not undo the training.
            state.keep_best(metrics["validation_return"], ties=True)
        metrics["best_validation_return"] = counters["best_score"]
        hooks.log(
            step, {f"ppo/{k}": v for k, v in metrics.items()} | rollout_metrics(rollout, policy)
        )
        if counters["iteration"] % task.histograms_every == 0:
            _log_histograms(hooks, step, rollout, advantages)
        hooks.progress(
            counters["iteration"], config.iterations, f"best {counters['best_score']:.3f}"
        )
        due = last or counters["iteration"] % task.checkpoint_every == 0
        hooks.safe_point(state, due=due, exact=config.rollout == "episodes")

    policy.load_state(state.best)


def ppo_state(policy: Policy, config: PPOConfig, backbone_learning_rate: float) -> TrainingState:
    """A fresh optimizer and counters at 0; frozen projections are left out from here on."""
    if config.freeze_projections:
        policy.freeze_projections()
    head_rate = config.head_learning_rate
    heads = [] if head_rate is None else list(policy.network.head_parameters())
    known = {id(p) for p in heads}
    rest = [p for p in policy.network.parameters() if p.requires_grad and id(p) not in known]
    groups: list[dict[str, Any]] = [
        {"params": rest, "initial_lr": config.learning_rate},
        {"params": heads, "initial_lr": head_rate},
        {"params": list(policy.backbone_parameters()), "initial_lr": backbone_learning_rate},
    ]
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.Adam(groups, lr=config.learning_rate, eps=config.adam_eps, fused=True)
    counters = {
        "iteration": 0,
        "decisions": 0,
        "next_episode": 0,
        "kl_coef": config.kl_coef,
        "best_score": -float("1e30"),
        "return_count": 0.0,
        "return_mean": 0.0,
        "return_squares": 0.0,
        "reward_sums": {},
        "judge_sums": {},
    }
    return TrainingState(policy, optimizer, counters)


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
    rollout: Rollout
    advantages: Tensor  # (N,)
    returns: Tensor  # (N,)
    ref_stored: Tensor | None  # (N, width)
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
        means = _summarize(history)
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
            self.ref_stored,
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


def rollout_metrics(rollout: Rollout, policy: Policy) -> dict[str, float]:
    """What the rollout was like."""
    metrics = {f"reward/{one_part(name)}": value for name, value in rollout.components.items()}
    metrics |= figures(rollout.reward_values)
    if len(rollout.episode_returns):
        metrics |= {
            "rollout/return_mean": float(rollout.episode_returns.mean()),
            "rollout/return_std": float(rollout.episode_returns.std()),
            "rollout/episode_length_mean": float(rollout.episode_lengths.mean()),
        }
    metrics |= {
        "rollout/episodes": len(rollout.episode_returns),
        "rollout/decisions": len(rollout),
        "rollout/value_mean": float(rollout.values.mean()),
    }
    if rollout.dropped:
        metrics["rollout/dropped_episodes"] = len(rollout.dropped)
    if policy.spec.action.kind == "categorical":
        counts = torch.bincount(rollout.actions, minlength=policy.spec.action.sizes[0])
        shares = counts.double() / len(rollout)
        metrics["rollout/max_action_share"] = float(shares.max())
        names = policy.spec.special_actions
        for name, share in zip(names, shares[len(shares) - len(names) :], strict=True):
            metrics[f"rollout/special_action_share/{name}"] = float(share)
    return metrics


def _reward_scale(counters: dict[str, float], rollout: Rollout, config: PPOConfig) -> float:
    """1 over the running standard deviation of the discounted rewards so far; no shift."""
    if not config.normalize_rewards:
        return 1.0
    values = rollout.discounted_rewards(config.gamma).double()
    count, size = counters["return_count"], len(values)
    total = count + size
    shift = float(values.mean()) - counters["return_mean"]
    counters["return_squares"] += (
        float(values.var(unbiased=False)) * size + shift**2 * count * size / total
    )
    counters["return_mean"] += shift * size / total
    counters["return_count"] = total
    std = math.sqrt(counters["return_squares"] / total)
    return 1.0 / max(std, 1e-8)


def _summarize(history: list[dict[str, Tensor]]) -> dict[str, float]:
    if not history:
        return {}
    names = list(history[0])
    table = torch.stack([torch.stack([torch.as_tensor(m[n]) for n in names]) for m in history])
    means = dict(zip(names, table.mean(0).tolist(), strict=True))
    for name, reduced in (("ratio_min", table.min(0)), ("ratio_max", table.max(0))):
        means[name] = reduced.values[names.index(name)].item()
    return means


def _log_histograms(hooks: Hooks, step: int, rollout: Rollout, advantages: Tensor) -> None:
    probabilities = rollout.logprobs.exp()
    for name, values in (
        ("ppo/action_probabilities", probabilities),
        ("ppo/values", rollout.values),
        ("ppo/advantages", advantages),
    ):
        hooks.log_histogram(step, name, values.cpu().numpy())
