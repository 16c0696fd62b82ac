"""What both training loops share: the state that a resume needs, and the hooks into a run."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from strategy_rl.errors import CheckpointError, DivergenceError, ModelError
from strategy_rl.generation import AnyPolicy


class Hooks(Protocol):
    """How a loop speaks to the run around it."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Record scalars under their full names."""

    def log_histogram(self, step: int, name: str, values: np.ndarray) -> None:
        """Record a distribution of values."""

    def progress(self, done: int, total: int, note: str) -> None:
        """Show how far the stage is."""

    def safe_point(self, state: TrainingState, *, due: bool, exact: bool = True) -> None:
        """Save where it is due, or where a signal waits and the state here is exact."""


class Silent:
    """Hooks of a loop that nobody watches."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Nothing."""

    def log_histogram(self, step: int, name: str, values: np.ndarray) -> None:
        """Nothing."""

    def progress(self, done: int, total: int, note: str) -> None:
        """Nothing."""

    def safe_point(self, state: TrainingState, *, due: bool, exact: bool = True) -> None:
        """Nothing."""


@dataclass
class TrainingState:
    """Everything that a loop changes.

    `counters` holds numbers and flags; `best` the weights to keep. Random generators are seeded
    by what the counters say, so they have no state. `twins` are tensors that somebody else holds
    and nobody changes, by the names of the policy's: where the best weights equal them, they are
    shared instead of copied.
    """

    policy: AnyPolicy
    optimizer: torch.optim.Optimizer
    counters: dict[str, Any]
    best: dict[str, Tensor] = field(default_factory=dict)
    twins: Mapping[str, Tensor] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name."""
        return {
            **{f"policy.{name}": tensor for name, tensor in self.policy.state().items()},
            **{f"best.{name}": tensor for name, tensor in self.best.items()},
            **optimizer_tensors(self.optimizer),
        }

    def load(self, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
        """Put back what `tensors` and `counters` were.

        Raises:
            CheckpointError: Something is missing, or has another shape.
            DivergenceError: It brought learning rates that are not those of the configuration.
        """

        def part(prefix: str) -> dict[str, Tensor]:
            return {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }

        missing = sorted(set(self.counters) - set(counters))
        if missing:
            raise CheckpointError(f"the checkpoint lacks the counters {missing}")
        rates = initial_rates(self.optimizer)
        self.best = part("best.")
        if not self.best and counters["best_score"] > self.counters["best_score"]:
            raise CheckpointError("the checkpoint lacks the best weights")
        try:
            if self.best:
                self.policy.load_state(self.best)  # shows now, not at the end, that they fit
            self.policy.load_state(part("policy."))
            load_optimizer(self.optimizer, part("optimizer."))
        except (KeyError, ValueError, RuntimeError, ModelError) as error:
            raise CheckpointError(f"the checkpoint does not fit the policy: {error}") from error
        if initial_rates(self.optimizer) != rates:
            raise DivergenceError(
                f"the learning rates after the restore begin at {initial_rates(self.optimizer)}, "
                f"expected {rates}: the schedule starts from the configuration's, not from those "
                "of the moment when it was saved"
            )
        self.counters.update(counters)

    def keep_best(self, score: float, *, ties: bool = False) -> bool:
        """Keep the weights of now if `score` beats the best so far, or with `ties` equals it."""
        best = self.counters["best_score"]
        if score < best or (score == best and not ties):
            return False
        self.counters["best_score"] = score
        self.best = {}  # let go of first: two copies of a large model are one too many
        self.best = self.policy.state(self.twins)
        return True


@contextmanager
def settled_heap() -> Iterator[None]:
    """Let full garbage collections inside skip what was there before: the libraries' own objects.

    They are half a million, and a walk over them takes longer than an iteration of PPO.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer as named tensors."""
    return {
        f"optimizer.{index}.{name}": torch.as_tensor(value)
        for index, slots in optimizer.state_dict()["state"].items()
        for name, value in slots.items()
        if value is not None
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back `optimizer_tensors`; the hyper-parameters stay those of the configuration."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def apply_gradients(
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    parameters: list[nn.Parameter],
    max_grad_norm: float,
    where: str,
) -> Tensor:
    """One optimizer step with the norm of all gradients clipped; gives the norm before clipping.

    Raises:
        DivergenceError: The loss or a gradient is not finite; the weights are as they were.
    """
    total = accumulate_gradients(parameters, [loss])
    return step_optimizer(optimizer, parameters, total, max_grad_norm, where)


def accumulate_gradients(parameters: Sequence[nn.Parameter], losses: Iterable[Tensor]) -> float:
    """Gradients of the sum of losses, each made, used and let go before the next; gives the sum."""
    for parameter in parameters:
        parameter.grad = None
    total = 0.0
    for loss in losses:
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        total += loss.item()
    return total


def step_optimizer(
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    loss: float,
    max_grad_norm: float,
    where: str,
) -> Tensor:
    """Step by the gradients that are there, their norm clipped; gives the norm before clipping.

    Raises:
        DivergenceError: The loss or a gradient is not finite; the weights are as they were.
    """
    norm = nn.utils.get_total_norm(p.grad for p in parameters if p.grad is not None)
    norm_value = norm.item()
    if not math.isfinite(loss + norm_value):
        raise DivergenceError(
            f"{where}: loss {loss:.4g}, gradient norm {norm_value:.4g}; the weights were "
            "left as they were; lower the learning rate, or look at the reward's scale"
        )
    if norm_value > max_grad_norm:
        nn.utils.clip_grads_with_norm_(parameters, max_grad_norm, norm)
    optimizer.step()
    return norm


def lr_factor(progress: float, schedule: str, warmup_share: float = 0.0) -> float:
    """What the learning rate is multiplied by after a share `progress` of the training."""
    if progress < warmup_share:
        return progress / warmup_share
    if schedule == "constant":
        return 1.0
    rest = (progress - warmup_share) / max(1 - warmup_share, 1e-9)
    return 1 - rest if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * rest))


def initial_rates(optimizer: torch.optim.Optimizer) -> list[float]:
    """What each group's schedule starts from."""
    return [group["initial_lr"] for group in optimizer.param_groups]


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Scale each group's own `initial_lr`."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
