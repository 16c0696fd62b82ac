"""The contender of this project: PPO over the given rows. Prints one line of JSON.

    python experiments/benchmarks/ours.py '{"num_envs": 64, "num_steps": 16}'
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from clock import Clock
from gymnasium.envs.registration import register
from rows import WIDTH, PickRight, Rows

from strategy_rl.assembly import make_policy, ppo_plan
from strategy_rl.collector import Rollout, StepCollector
from strategy_rl.config import Experiment
from strategy_rl.env import make_slots
from strategy_rl.features import TextTable
from strategy_rl.ppo import Task, ppo_state, train_ppo
from strategy_rl.seeding import generator
from strategy_rl.training import Silent

TASK = "PickRight-v0"


class GivenVectors:
    """Stands for a frozen backbone and its cache: the vector of "text i" is row i."""

    is_frozen = True
    hidden_size = WIDTH
    device = torch.device("cpu")

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = torch.from_numpy(vectors)

    def features(self, texts: Sequence[str], progress: object = None) -> torch.Tensor:
        """Vectors of texts, (N, 384)."""
        return self.vectors[[int(text.removeprefix("text ")) for text in texts]]

    def trainable_parameters(self) -> list[torch.nn.Parameter]:
        """None: it is frozen."""
        return []

    def save_trainable(self) -> dict[str, torch.Tensor]:
        """Nothing."""
        return {}

    def load_trainable(self, state: Mapping[str, torch.Tensor]) -> None:
        """Nothing to load."""


class Timed(Silent):
    """Hooks that tell the clock when a round is over."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """A round is over."""
        self.clock.round_over(scalars["rollout/return_mean"])


def experiment(settings: SimpleNamespace) -> Experiment:
    """The settings as an experiment; what is not named keeps the product's default."""
    ppo = {
        "iterations": settings.iterations,
        "rollout": "steps",
        "num_envs": settings.num_envs,
        "num_steps": settings.num_steps,
        "epochs": settings.epochs,
        "minibatch_size": settings.minibatch_size,
        "kl_coef": settings.kl_coef,
        "freeze_projections": settings.freeze_projections,
        "evaluate_every": settings.iterations,
    }
    policy = {"hidden_sizes": (64, 64), "context_turns": 1}
    return Experiment.model_validate(
        {"name": "benchmark", "task": {"id": TASK}, "policy": policy, "ppo": ppo}
    )


def measure(settings: SimpleNamespace) -> dict[str, Any]:
    """Train; give the figures of all rounds after the first."""
    from strategy_rl.ppo import Reference  # noqa: PLC0415

    rows = Rows(settings.num_rows, settings.num_candidates, settings.pool)
    register(TASK, entry_point=PickRight, kwargs={"rows": rows})
    vectors = GivenVectors(rows.features())
    table = TextTable(vectors, vectors)  # type: ignore[arg-type]
    table.prepare([f"text {i}" for i in range(rows.num_texts)])
    config = experiment(settings)
    slots = make_slots(TASK, {}, settings.num_envs)
    policy = make_policy(config, slots, table)
    steps = StepCollector(policy, slots, ppo_plan(list(range(rows.num_rows)), config.seed))
    steps.restart(0)

    def collect(iteration: int) -> Rollout:
        return steps.collect(settings.num_steps, generator(config.seed, "actions", iteration))

    clock = Clock(settings.num_envs * settings.num_steps)
    train_ppo(
        policy,
        Task(collect, lambda: 0.0, Reference(policy) if settings.kl_coef else None),
        config.ppo,
        seed=config.seed,
        hooks=Timed(clock),
        state=ppo_state(policy, config.ppo, 0.0),
    )
    return clock.figures()
