"""What was decided in one round, and what came of it. Knows tensors and environments' answers.

A rollout is a list of decisions, whatever a decision is: `DecisionRollout` has one a step, texts
have one a token (`strategy_rl.token_rollout`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from strategy_rl.advantages import Advantages, compute_gae
from strategy_rl.env import StepResult
from strategy_rl.errors import EnvironmentFault
from strategy_rl.policy.observations import ObservationBatch
from strategy_rl.policy.spaces import MASK

MAX_DROPPED_SHARE = 0.1


class EpisodePlan(NamedTuple):
    """Which episode to play: the environment's seed, and the row where the task has rows."""

    seed: int
    row: int | None = None

    @property
    def options(self) -> dict[str, Any] | None:
        """What `reset` is told."""
        return None if self.row is None else {"row": self.row}


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """N decisions in the order they were made."""

    logprobs: Tensor  # (N,)
    values: Tensor  # (N,)
    next_values: Tensor  # (N,), 0 at terminations
    rewards: Tensor  # (N,)
    terminations: Tensor  # (N,) bool
    truncations: Tensor  # (N,) bool
    steps: Tensor  # (N,) int64: row of the grid
    columns: Tensor  # (N,) int64
    components: dict[str, float]  # mean of each component over the episodes that ended
    episode_returns: np.ndarray  # of the episodes that ended
    episode_lengths: np.ndarray
    episode_columns: np.ndarray  # theirs, in the same order
    reward_values: dict[str, np.ndarray]  # each component's own value by step; NaN: it abstained
    dropped: dict[int, str]  # column to reason of the episodes that are left out of all the rest
    transitions: tuple[Transition, ...] = ()  # the steps of all decisions, in order

    def __len__(self) -> int:
        return len(self.logprobs)

    def discounted_rewards(self, gamma: float) -> Tensor:
        """Discounted sum of an episode's rewards up to each decision, (N,); no value is in it.

        An episode that an earlier rollout began starts at 0 here.
        """
        sums = torch.zeros(int(self.columns.max()) + 1, device=self.rewards.device)
        out = torch.empty_like(self.rewards)
        ended = self.terminations | self.truncations
        for step in range(int(self.steps.max()) + 1):
            here = (self.steps == step).nonzero().squeeze(-1)
            columns = self.columns[here]
            out[here] = sums[columns] * gamma + self.rewards[here]
            sums[columns] = torch.where(ended[here], 0.0, out[here])
        return out

    def advantages(self, gamma: float, gae_lambda: float, reward_scale: float = 1.0) -> Advantages:
        """GAE over the grid, given back flat: (N,) each."""
        shape = int(self.steps.max()) + 1, int(self.columns.max()) + 1

        def grid(x: Tensor) -> Tensor:
            out = torch.zeros(shape, dtype=x.dtype, device=x.device)
            out[self.steps, self.columns] = x
            return out

        advantages, returns = compute_gae(
            grid(self.rewards * reward_scale),
            grid(self.values),
            grid(self.next_values),
            grid(self.terminations),
            grid(self.truncations),
            gamma,
            gae_lambda,
            valid=grid(torch.ones_like(self.terminations)),
        )
        return Advantages(advantages[self.steps, self.columns], returns[self.steps, self.columns])

    def decisions_of(self, transitions: Sequence[int]) -> Tensor:
        """Where the decisions of some transitions are, (M,) int64 ascending."""
        return torch.tensor(transitions, device=self.columns.device)

    def least_logprobs(self) -> Tensor:
        """Of each transition's decisions the least log-probability, (transitions,)."""
        return self.logprobs

    def at(self, places: Tensor) -> Self:
        """Some of the decisions alone; what is told of whole episodes stays as it is."""
        parts: dict[str, Any] = {
            name: part[places]
            for name, part in vars(self).items()
            if isinstance(part, Tensor | ObservationBatch)
        }
        return replace(self, **parts)

    def without_observations(self) -> Self:
        """The same, to be told of later, without what takes room and is not told."""
        return self

    def of(self, columns: Collection[int]) -> Self:
        """The episodes of some columns; means over all stay as they are."""
        wanted = torch.tensor(sorted(columns), device=self.columns.device)
        kept = torch.isin(self.columns, wanted).nonzero().squeeze(-1)
        episodes = np.isin(self.episode_columns, list(columns))
        return replace(
            self.at(kept),
            transitions=tuple(t for t in self.transitions if t.slot.column in columns),
            episode_returns=self.episode_returns[episodes],
            episode_lengths=self.episode_lengths[episodes],
            episode_columns=self.episode_columns[episodes],
        )

    def without(self, dropped: dict[int, str]) -> Self:
        """The same without the episodes of some columns."""
        columns = set(self.columns.tolist()) - dropped.keys()
        return replace(self.of(columns), dropped=dropped)


@dataclass(frozen=True, kw_only=True)
class DecisionRollout(Rollout):
    """One decision a step, each drawn from a distribution over few actions."""

    batch: ObservationBatch
    actions: Tensor  # (N,) or (N, factors)
    stored: Tensor  # (N, width): the distribution each action was drawn from
    ref_stored: Tensor | None = None  # the same of the reference, where it has judged

    def without_observations(self) -> Self:
        """Its batch is empty."""
        nothing = torch.empty(0, dtype=torch.int64, device=self.columns.device)
        return replace(self, batch=self.batch[nothing])


@dataclass(slots=True)
class Slot:
    """One environment on its way through an episode."""

    obs: Any
    info: dict[str, Any]
    column: int
    row: int | None = None
    step: int = 0  # row of the grid
    rewards: list[float] = field(default_factory=list)
    components: dict[str, float] = field(default_factory=dict)


class Transition(NamedTuple):
    """One step of an episode: what the policy saw, and what was answered."""

    slot: Slot  # one object an episode
    obs: Any
    info: dict[str, Any]
    answer: StepResult


@dataclass
class Record:
    """What environments answered, step by step, while a rollout is being played."""

    rewards: list[float] = field(default_factory=list)
    terminations: list[bool] = field(default_factory=list)
    truncations: list[bool] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    cut: list[tuple[int, Any, Any]] = field(default_factory=list)  # step, final obs, its mask
    ended: list[Slot] = field(default_factory=list)
    reward_values: dict[str, list[float]] = field(default_factory=dict)
    dropped: dict[int, str] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)

    def observe(self, slot: Slot, result: StepResult) -> None:
        """Keep what the environment answered."""
        if result.truncated and not result.terminated:
            self.cut.append((len(self.rewards), result.obs, result.info.get(MASK)))
        self.transitions.append(Transition(slot, slot.obs, slot.info, result))
        self.rewards.append(result.reward)
        self.terminations.append(result.terminated)
        self.truncations.append(result.truncated and not result.terminated)
        self.steps.append(slot.step)
        self.columns.append(slot.column)
        slot.step += 1
        slot.rewards.append(result.reward)
        for name, value in result.info.get("reward_components", {}).items():
            slot.components[name] = slot.components.get(name, 0.0) + value
        for name, value in result.info.get("reward_values", {}).items():
            self.reward_values.setdefault(name, []).append(math.nan if value is None else value)
        if "reward_dropped" in result.info:
            self.dropped.setdefault(slot.column, result.info["reward_dropped"])
        if result.terminated or result.truncated:
            self.ended.append(slot)

    def episodes(self) -> dict[str, Any]:
        """What a rollout tells of whole episodes, by the names of its fields."""
        ended = sorted(self.ended, key=lambda slot: (slot.column, slot.step))
        kept = [slot for slot in ended if slot.column not in self.dropped]
        _require_few(self.dropped, len(ended))
        return {
            "components": _mean_components(kept),
            "episode_returns": np.array([sum(slot.rewards) for slot in ended]),
            "episode_lengths": np.array([len(slot.rewards) for slot in ended]),
            "episode_columns": np.array([slot.column for slot in ended], dtype=np.int64),
            "reward_values": {name: np.array(v) for name, v in self.reward_values.items()},
            "dropped": {},
            "transitions": tuple(self.transitions),
        }


def following_values(values: Tensor, steps: Tensor, columns: Tensor, ends: Tensor) -> Tensor:
    """The value of the decision that comes next in the same column, (N,); 0 where `ends`."""
    shape = int(steps.max()) + 2, int(columns.max()) + 1
    grid = torch.zeros(shape, device=values.device)
    grid[steps, columns] = values
    following = grid[steps + 1, columns]
    following[ends] = 0.0
    return following


def _require_few(dropped: dict[int, str], num_episodes: int) -> None:
    """Dropping is for accidents.

    Raises:
        EnvironmentFault: More than a tenth of the episodes, and more than one, were dropped.
    """
    if len(dropped) > max(1, MAX_DROPPED_SHARE * num_episodes):
        raise EnvironmentFault(
            f"rewards failed in {len(dropped)} of {num_episodes} episodes of one rollout, and "
            f"`on_error: drop` is for at most a tenth; the first: {next(iter(dropped.values()))}"
        )


def _mean_components(ended: Sequence[Slot]) -> dict[str, float]:
    names = sorted({name for slot in ended for name in slot.components})
    return {
        name: float(np.mean([slot.components.get(name, 0.0) for slot in ended])) for name in names
    }
