"""Supervised fine-tuning: imitate the expert's actions by cross-entropy.

Knows a policy and demonstrations; no environment, no files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from strategy_rl.config import SFTConfig
from strategy_rl.demonstrations import AnyDemonstrations, Demonstrations, WrittenDemonstrations
from strategy_rl.generation import AnyPolicy, TextPolicy
from strategy_rl.losses import Loss, sft_loss
from strategy_rl.policy.distributions import ILLEGAL
from strategy_rl.policy.observations import ObservationBatch
from strategy_rl.policy.policy import Policy
from strategy_rl.seeding import generator, seed_torch
from strategy_rl.token_lessons import TokenLessons
from strategy_rl.training import (
    Hooks,
    TrainingState,
    accumulate_gradients,
    lr_factor,
    set_learning_rates,
    step_optimizer,
)


@dataclass(frozen=True)
class Validation:
    """How SFT is judged between epochs.

    Attributes:
        demonstrations: What to judge by.
        play: Mean return of the greedy policy.
        watch: Looks at the policy when some epochs are done.
    """

    demonstrations: AnyDemonstrations
    play: Callable[[], float] | None = None
    watch: Callable[[int], None] = lambda epochs: None


def train_sft(
    policy: AnyPolicy,
    demonstrations: AnyDemonstrations,
    validation: Validation,
    config: SFTConfig,
    *,
    seed: int,
    hooks: Hooks,
    state: TrainingState,
) -> None:
    """Train until the last epoch or until validation stops improving; the best weights stay.

    Args:
        policy: Trained in place.
        demonstrations: What to imitate.
        validation: What to judge by; never trained on.
        config: The `sft` section.
        seed: Of the shuffling and of dropout.
        hooks: The run around the loop.
        state: Where to go on from; `sft_state` makes a fresh one.
    """
    optimizer, counters = state.optimizer, state.counters
    parameters = list(policy.parameters())
    lessons = _lessons(policy, demonstrations, validation, config)
    num_batches = -(-len(demonstrations) // config.batch_size)
    stopping = config.early_stopping
    metric = stopping.metric if stopping is not None else "accuracy"
    if metric == "accuracy" and not lessons.has_accuracy:
        metric = "loss"
    plays = metric == "return"

    while counters["epoch"] < config.epochs and not counters["stopped"]:
        epoch = counters["epoch"]
        seed_torch(seed, "sft-dropout", epoch)
        policy.train(dropout=config.dropout)
        order = generator(seed, "sft-order", epoch).permutation(len(demonstrations))
        sums: dict[str, float] = {}
        for number, index in enumerate(torch.split(torch.from_numpy(order), config.batch_size)):
            progress = (epoch + number / num_batches) / config.epochs
            set_learning_rates(optimizer, lr_factor(progress, config.schedule, config.warmup_share))
            parts: list[dict[str, Tensor]] = []
            total = accumulate_gradients(parameters, lessons.losses(index, parts))
            norm = step_optimizer(optimizer, parameters, total, config.max_grad_norm, "SFT")
            metrics = {name: sum(float(part[name]) for part in parts) for name in parts[0]}
            for name, value in {**metrics, "grad_norm": norm}.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        policy.eval()

        counters["epoch"] = epoch + 1
        means = {name: total / num_batches for name, total in sums.items()}
        means["learning_rate"] = optimizer.param_groups[0]["lr"]
        judged = lessons.judge()
        with lessons.finished():
            if plays and validation.play is not None:
                judged["validation_return"] = validation.play()
            validation.watch(epoch + 1)
        hooks.log(
            (epoch + 1) * num_batches, {f"sft/{k}": v for k, v in {**means, **judged}.items()}
        )
        if stopping is not None:
            score = judged[f"validation_{metric}"]
            better = state.keep_best(-score if metric == "loss" else score)
            counters["stale"] = 0 if better else counters["stale"] + 1
            counters["stopped"] = counters["stale"] >= stopping.patience
        hooks.progress(
            epoch + 1, config.epochs, f"validation {metric} {judged[f'validation_{metric}']:.3f}"
        )
        hooks.safe_point(state, due=True)

    if state.best:
        policy.load_state(state.best)


class Lessons(Protocol):
    """Demonstrations as a policy of one kind learns from them."""

    @property
    def has_accuracy(self) -> bool:
        """Whether it can be told that an action was hit exactly."""

    def losses(self, index: Tensor, parts: list[dict[str, Tensor]]) -> Iterable[Tensor]:
        """Losses whose sum is that of the minibatch `index`; what there is to log is added up."""

    def judge(self) -> dict[str, float]:
        """Figures on validation rows."""

    def finished(self) -> AbstractContextManager[None]:
        """While it lasts, the policy is what it would be if training ended now."""


def _lessons(
    policy: AnyPolicy, demonstrations: Any, validation: Validation, config: SFTConfig
) -> Lessons:
    if isinstance(policy, TextPolicy):
        held_out = validation.demonstrations
        assert isinstance(held_out, WrittenDemonstrations)
        return TokenLessons(policy, demonstrations, held_out)
    held_out = validation.demonstrations
    assert isinstance(held_out, Demonstrations)
    return DecisionLessons(policy, demonstrations, held_out, config)


@dataclass(frozen=True)
class DecisionLessons:
    """One forward pass a minibatch; special actions that the expert never takes are left out."""

    policy: Policy
    demonstrations: Demonstrations
    validation: Demonstrations
    config: SFTConfig

    @property
    def has_accuracy(self) -> bool:
        """No real number is hit exactly."""
        return self.policy.spec.action.kind != "box"

    @cached_property
    def unused(self) -> list[int]:
        """Special actions that no demonstration takes."""
        return unused_specials(self.policy, self.demonstrations.actions)

    def losses(self, index: Tensor, parts: list[dict[str, Tensor]]) -> Iterable[Tensor]:
        """The loss of the whole minibatch."""
        batch = self.demonstrations[index.to(self.policy.device)]
        coef = self.config.contrastive_coef
        loss, metrics = imitation_loss(self.policy, batch, self.unused, coef)
        parts.append(metrics)
        yield loss

    def judge(self) -> dict[str, float]:
        """Loss and accuracy."""
        return judge(self.policy, self.validation, self.unused)

    @contextmanager
    def finished(self) -> Iterator[None]:
        """Special actions that the expert never takes are opened, then as they were."""
        weights = {k: v.clone() for k, v in self.policy.network.state_dict().items()}
        prior = self.config.special_action_prior
        open_special_actions(self.policy, self.demonstrations, self.validation.batch, prior)
        try:
            yield
        finally:
            self.policy.network.load_state_dict(weights)


def sft_state(policy: AnyPolicy, config: SFTConfig, backbone_learning_rate: float) -> TrainingState:
    """A fresh optimizer and counters at 0."""
    groups = [
        {"params": params, "initial_lr": rate, "weight_decay": decay}
        for parameters, rate in (
            (list(policy.network.parameters()), config.learning_rate),
            (list(policy.backbone_parameters()), backbone_learning_rate),
        )
        for params, decay in (
            ([p for p in parameters if p.dim() >= 2], config.weight_decay),
            ([p for p in parameters if p.dim() < 2], 0.0),
        )
        if params
    ]
    optimizer: torch.optim.Optimizer = (
        torch.optim.AdamW(groups, lr=config.learning_rate)
        if config.optimizer == "adamw"
        else torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9)
    )
    counters = {"epoch": 0, "stale": 0, "stopped": False, "best_score": -float("1e30")}
    return TrainingState(policy, optimizer, counters)


def imitation_loss(
    policy: Policy, batch: Demonstrations, unused: list[int], contrastive_coef: float
) -> Loss:
    """The loss of one minibatch; actions in `unused` count as illegal."""
    observations = batch.batch
    if unused:
        mask = observations.mask.clone()
        mask[:, unused] = False
        observations = replace(observations, mask=mask)
    distribution, _ = policy(observations)
    wrong = distribution.mode() != batch.actions
    matches = ~(wrong if wrong.dim() == 1 else wrong.any(-1))
    contrastive = (
        policy.network.contrastive_logits(observations, batch.actions, policy.embed)
        if contrastive_coef
        else None
    )
    return sft_loss(
        logprobs=distribution.log_prob(batch.actions),
        matches=matches,
        contrastive_logits=contrastive,
        contrastive_coef=contrastive_coef,
    )


@torch.no_grad()
def judge(policy: Policy, demonstrations: Demonstrations, unused: list[int]) -> dict[str, float]:
    """Loss and accuracy on validation demonstrations."""
    losses, matches = 0.0, 0.0
    for index in torch.split(torch.arange(len(demonstrations), device=policy.device), 2048):
        _, metrics = imitation_loss(policy, demonstrations[index], unused, 0.0)
        losses += float(metrics["loss"]) * len(index)
        matches += float(metrics["accuracy"]) * len(index)
    return {
        "validation_loss": losses / len(demonstrations),
        "validation_accuracy": matches / len(demonstrations),
    }


def unused_specials(policy: Policy, actions: Tensor) -> list[int]:
    """Special actions that no demonstration takes."""
    action = policy.spec.action
    if action.kind != "categorical":
        return []
    specials = range(action.sizes[0] - action.num_special, action.sizes[0])
    return sorted(set(specials) - set(torch.unique(actions).tolist()))


@torch.no_grad()
def open_special_actions(
    policy: Policy, demonstrations: Demonstrations, batch: ObservationBatch, prior: float
) -> None:
    """Give each special action that the expert never takes a mean probability of `prior`.

    SFT drives them to nothing, and what has no probability PPO cannot find. The shift of their
    logits is found by bisection on the observations of `batch`.
    """
    unused = unused_specials(policy, demonstrations.actions)
    if not unused or not prior:
        return
    stored = policy.evaluate(batch).distribution.stored
    legal = stored > ILLEGAL / 2
    low, high = -40.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        shifted = stored.clone()
        shifted[:, unused] += middle
        probs = shifted.softmax(-1)[:, unused].masked_fill(~legal[:, unused], 0.0)
        mean = float(probs.mean())
        low, high = (middle, high) if mean < prior else (low, middle)
    shift = torch.zeros(policy.spec.action.num_special, device=policy.device)
    first = policy.spec.action.sizes[0] - policy.spec.action.num_special
    shift[[i - first for i in unused]] = (low + high) / 2
    policy.network.shift_special(shift)
