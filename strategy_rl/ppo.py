"""Proximal policy optimisation (Schulman et al. 2017) of any policy of this project.

Knows a policy and a way to collect rollouts; no environment, no files. A rollout is a list of
decisions, so that one loop serves every action space.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from strategy_rl.config import PPOConfig, value_at
from strategy_rl.generation import AnyPolicy
from strategy_rl.losses import adapt_kl_coef, explained_variance
from strategy_rl.moments import figures as value_figures
from strategy_rl.moments import one_part
from strategy_rl.policy import Policy
from strategy_rl.rollout import DecisionRollout, Rollout
from strategy_rl.seeding import generator
from strategy_rl.token_rollout import TokenRollout
from strategy_rl.training import (
    Hooks,
    TrainingState,
    lr_factor,
    set_learning_rates,
    settled_heap,
)
from strategy_rl.updates import Coefficients, Method


@dataclass(frozen=True)
class Task:
    """What PPO needs of the world.

    Attributes:
        collect: Iteration to rollout, played by the policy as it is.
        validate: Figures of the greedy policy on the validation split; `return` is what it is
            judged by.
        method: How its decisions are judged by the reference and learnt from.
        keep: Writes down what is to be seen of a rollout: its iteration, itself, its advantages.
        histograms_every: Iterations between histograms.
        checkpoint_every: Iterations between checkpoints.
    """

    collect: Callable[[int], Rollout]
    validate: Callable[[], Mapping[str, float]]
    method: Method[Any]
    keep: Callable[[int, Rollout, Tensor], None] = lambda iteration, rollout, advantages: None
    histograms_every: int = 10
    checkpoint_every: int = 10


@settled_heap()
def train_ppo(
    policy: AnyPolicy,
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
        state.keep_best(task.validate()["return"])

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

        # 2. Collect decisions with the policy as it is; the reference may take off their rewards.
        rollout, judged = task.method.judge(task.collect(iteration), coefficients.kl_coef)

        # 3. Advantages and returns, before any whitening.
        scale = _reward_scale(counters, rollout, config)
        advantages, returns = rollout.advantages(config.gamma, config.gae_lambda, scale)

        # 4. Clipped updates on minibatches.
        metrics = judged | task.method.update(
            rollout,
            advantages,
            returns,
            state.optimizer,
            config,
            coefficients,
            generator(seed, "ppo-minibatches", iteration),
        )

        # 5. What moves from one iteration to the next.
        counters["iteration"] = iteration + 1
        counters["decisions"] += len(rollout)
        if config.normalize_observations and isinstance(policy, Policy):
            policy.network.normalizer.update(rollout.batch.numbers)
        num_episodes = max(len(rollout.episode_returns), 1)
        episode_kl = metrics.get("ref_kl", 0.0) * len(rollout) / num_episodes
        if config.adaptive_kl is not None and "ref_kl" in metrics:
            counters["kl_coef"] = adapt_kl_coef(
                counters["kl_coef"],
                kl=episode_kl,
                target=config.adaptive_kl.target,
                count=num_episodes,
                horizon=config.adaptive_kl.horizon,
            )

        # 6. Record, judge on validation rows, save.
        task.keep(iteration, rollout, advantages)
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
            figures = task.validate()
            metrics |= {f"validation_{name}": value for name, value in figures.items()}
            # A reward that tells no two policies apart must not undo the training.
            within = config.kl_budget is None or episode_kl <= config.kl_budget
            if within:
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


def ppo_state(policy: AnyPolicy, config: PPOConfig, backbone_learning_rate: float) -> TrainingState:
    """A fresh optimizer and counters at 0; frozen projections are left out from here on."""
    if config.freeze_projections and isinstance(policy, Policy):
        policy.freeze_projections()
    head_rate = config.head_learning_rate
    heads = [] if head_rate is None else list(policy.network.head_parameters())
    known = {id(p) for p in heads}
    rest = [p for p in policy.network.parameters() if p.requires_grad and id(p) not in known]
    own_rate = config.backbone_learning_rate
    backbone_rate = backbone_learning_rate if own_rate is None else own_rate
    groups: list[dict[str, Any]] = [
        {"params": rest, "initial_lr": config.learning_rate},
        {"params": heads, "initial_lr": head_rate},
        {"params": list(policy.backbone_parameters()), "initial_lr": backbone_rate},
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


def rollout_metrics(rollout: Rollout, policy: AnyPolicy) -> dict[str, float]:
    """What the rollout was like."""
    metrics = {f"reward/{one_part(name)}": value for name, value in rollout.components.items()}
    metrics |= value_figures(rollout.reward_values)
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
    if isinstance(rollout, TokenRollout):
        metrics |= rollout.figures()
    if isinstance(rollout, DecisionRollout) and policy.spec.action.kind == "categorical":
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


def _log_histograms(hooks: Hooks, step: int, rollout: Rollout, advantages: Tensor) -> None:
    probabilities = rollout.logprobs.exp()
    for name, values in (
        ("ppo/action_probabilities", probabilities),
        ("ppo/values", rollout.values),
        ("ppo/advantages", advantages),
    ):
        hooks.log_histogram(step, name, values.cpu().numpy())
