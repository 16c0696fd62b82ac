"""Plays episodes with a policy and keeps its decisions. Knows environments and policies, no loss.

A rollout is a flat list of N decisions plus the place of each in a (num_steps, num_columns) grid,
where a column is a whole episode or, with fixed-length rollouts, an environment slot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from strategy_rl.advantages import Advantages, compute_gae
from strategy_rl.env import EnvSlots, StepResult
from strategy_rl.errors import EnvironmentFault
from strategy_rl.policy.observations import ObservationBatch
from strategy_rl.policy.policy import Policy
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


@dataclass(frozen=True)
class Rollout:
    """N decisions in the order they were made."""

    batch: ObservationBatch
    actions: Tensor  # (N,) or (N, factors)
    stored: Tensor  # (N, width): the distribution each action was drawn from
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

    def __len__(self) -> int:
        return len(self.actions)

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

    def without(self, dropped: dict[int, str]) -> Rollout:
        """The same without the episodes of some columns."""
        gone = torch.tensor(list(dropped), device=self.columns.device)
        kept = (~torch.isin(self.columns, gone)).nonzero().squeeze(-1)
        parts: dict[str, Any] = {
            name: part[kept]
            for name, part in vars(self).items()
            if isinstance(part, Tensor | ObservationBatch)
        }
        episodes = np.isin(self.episode_columns, list(dropped), invert=True)
        return replace(
            self,
            **parts,
            episode_returns=self.episode_returns[episodes],
            episode_lengths=self.episode_lengths[episodes],
            episode_columns=self.episode_columns[episodes],
            dropped=dropped,
        )


@dataclass(slots=True)
class _Slot:
    """One environment on its way through an episode."""

    obs: Any
    info: dict[str, Any]
    column: int
    step: int = 0  # row of the grid
    rewards: list[float] = field(default_factory=list)
    components: dict[str, float] = field(default_factory=dict)


@dataclass
class _Record:
    """What a rollout is made of, while it is being played."""

    batches: list[ObservationBatch] = field(default_factory=list)
    outputs: list[tuple[Tensor, ...]] = field(default_factory=list)  # action, stored, evidence
    rewards: list[float] = field(default_factory=list)
    terminations: list[bool] = field(default_factory=list)
    truncations: list[bool] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    cut: list[tuple[int, Any, Any]] = field(default_factory=list)  # decision, final obs, its mask
    ended: list[_Slot] = field(default_factory=list)
    reward_values: dict[str, list[float]] = field(default_factory=dict)
    dropped: dict[int, str] = field(default_factory=dict)

    def decide(
        self, policy: Policy, slots: Sequence[_Slot], rng: np.random.Generator | None
    ) -> list[Any]:
        """Take one action for each slot, sampled or (without `rng`) greedy, and keep all of it."""
        batch = policy.encode([slot.obs for slot in slots], [slot.info.get(MASK) for slot in slots])
        with torch.inference_mode():  # cheaper than `no_grad`; `finish` makes ordinary tensors
            distribution, evidence = policy.choose(batch)
            if rng is None:
                actions = distribution.mode()
            else:
                uniforms = rng.random((len(slots), policy.spec.action.num_draws))
                actions = distribution.sample(torch.from_numpy(uniforms).to(policy.device))
        self.batches.append(batch)
        self.outputs.append((actions, distribution.stored, *evidence))
        return env_actions(actions)

    def observe(self, slot: _Slot, result: StepResult) -> None:
        """Keep what the environment answered."""
        if result.truncated and not result.terminated:
            self.cut.append((len(self.rewards), result.obs, result.info.get(MASK)))
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

    @torch.no_grad()
    def finish(self, policy: Policy) -> Rollout:
        """Put the decisions together; a cut is followed by the value of what came next."""
        parts = [torch.cat(part) for part in zip(*self.outputs, strict=True)]
        actions, stored, evidence = parts[0], parts[1], parts[2:]
        values = policy.values(evidence)
        steps, columns = torch.tensor(self.steps), torch.tensor(self.columns)
        ended = sorted(self.ended, key=lambda slot: (slot.column, slot.step))
        kept = [slot for slot in ended if slot.column not in self.dropped]
        _require_few(self.dropped, len(ended))
        rollout = Rollout(
            batch=ObservationBatch.concatenate(self.batches),
            actions=actions,
            stored=stored,
            logprobs=policy.rebuild(stored).log_prob(actions),
            values=values,
            next_values=self._next_values(policy, values, steps, columns),
            rewards=torch.tensor(self.rewards, dtype=torch.float32, device=policy.device),
            terminations=torch.tensor(self.terminations, device=policy.device),
            truncations=torch.tensor(self.truncations, device=policy.device),
            steps=steps.to(policy.device),
            columns=columns.to(policy.device),
            components=_mean_components(kept),
            episode_returns=np.array([sum(slot.rewards) for slot in ended]),
            episode_lengths=np.array([len(slot.rewards) for slot in ended]),
            episode_columns=np.array([slot.column for slot in ended], dtype=np.int64),
            reward_values={name: np.array(v) for name, v in self.reward_values.items()},
            dropped={},
        )
        return rollout.without(self.dropped) if self.dropped else rollout

    def _next_values(
        self, policy: Policy, values: Tensor, steps: Tensor, columns: Tensor
    ) -> Tensor:
        shape = int(steps.max()) + 2, int(columns.max()) + 1
        grid = torch.zeros(shape, device=values.device)
        grid[steps, columns] = values
        next_values = grid[steps + 1, columns]
        next_values[torch.tensor(self.terminations, device=values.device)] = 0.0
        if self.cut:
            decisions, observations, masks = zip(*self.cut, strict=True)
            final = policy.evaluate(policy.encode(observations, masks)).values
            next_values[torch.tensor(decisions, device=values.device)] = final
        return next_values


def collect_episodes(
    policy: Policy,
    slots: EnvSlots,
    plans: Iterable[EpisodePlan],
    rng: np.random.Generator | None,
) -> Rollout:
    """Play every planned episode to its end; column i is plan i. Without `rng`: greedily."""
    record = _Record()
    waiting = iter(enumerate(plans))
    active = _start(slots, range(slots.num_slots), waiting)
    while active:
        numbers = list(active)
        with slots.blamed(numbers):
            actions = record.decide(policy, list(active.values()), rng)
        free = []
        for number, result in zip(numbers, slots.step(numbers, actions), strict=True):
            slot = active[number]
            record.observe(slot, result)
            slot.obs, slot.info = result.obs, result.info
            if result.terminated or result.truncated:
                del active[number]
                free.append(number)
        active |= _start(slots, free, waiting)
        active = dict(sorted(active.items()))
    return record.finish(policy)


def _start(
    slots: EnvSlots, free: Iterable[int], waiting: Iterator[tuple[int, EpisodePlan]]
) -> dict[int, _Slot]:
    """Reset as many free slots as there are plans left."""
    started = [(number, *plan) for number, plan in zip(free, waiting, strict=False)]
    numbers = [number for number, _, _ in started]
    plans = [plan for _, _, plan in started]
    results = slots.reset(numbers, [p.seed for p in plans], [p.options for p in plans])
    return {
        number: _Slot(result.obs, result.info, column)
        for (number, column, _), result in zip(started, results, strict=True)
    }


class StepCollector:
    """Fixed-length rollouts: every slot plays on where the last rollout cut it.

    Environments cannot be saved in general, so `restart` begins anew at every checkpoint, in
    uninterrupted runs too.
    """

    def __init__(self, policy: Policy, slots: EnvSlots, plan: Callable[[int], EpisodePlan]) -> None:
        self.policy, self.slots, self.plan = policy, slots, plan
        self._active: list[_Slot] = []
        self._next_episode = 0

    def restart(self, first_episode: int) -> None:
        """Reset every slot; episodes are numbered from `first_episode`."""
        self._next_episode = first_episode
        self._active = self._fresh(range(self.slots.num_slots))

    @property
    def is_started(self) -> bool:
        """Whether `restart` was called."""
        return bool(self._active)

    @property
    def next_episode(self) -> int:
        """The number of the episode that comes next."""
        return self._next_episode

    def collect(self, num_steps: int, rng: np.random.Generator) -> Rollout:
        """Play `num_steps` in every slot; what is unfinished bootstraps with its next value."""
        record = _Record()
        numbers = range(self.slots.num_slots)
        for slot in self._active:
            slot.step = 0
        for step in range(num_steps):
            with self.slots.blamed(numbers):
                actions = record.decide(self.policy, self._active, rng)
            free = []
            for number, result in zip(numbers, self.slots.step(numbers, actions), strict=True):
                slot = self._active[number]
                ended = result.terminated or result.truncated
                if step == num_steps - 1 and not ended:
                    record.cut.append((len(record.rewards), result.obs, result.info.get(MASK)))
                record.observe(slot, result)
                slot.obs, slot.info = result.obs, result.info
                if ended:
                    free.append(number)
            for slot in self._fresh(free):
                slot.step = self._active[slot.column].step
                self._active[slot.column] = slot
        return record.finish(self.policy)

    def _fresh(self, numbers: Sequence[int]) -> list[_Slot]:
        """Start the next episodes in the slots named."""
        plans = [self._take_plan() for _ in numbers]
        results = self.slots.reset(numbers, [p.seed for p in plans], [p.options for p in plans])
        return [_Slot(r.obs, r.info, n) for n, r in zip(numbers, results, strict=True)]

    def _take_plan(self) -> EpisodePlan:
        self._next_episode += 1
        return self.plan(self._next_episode - 1)


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


def env_actions(actions: Tensor) -> list[Any]:
    """Actions as an environment takes them: ints, or arrays for factors and boxes."""
    if actions.dim() == 1:
        return actions.tolist()
    return list(actions.cpu().numpy())


def _mean_components(ended: Sequence[_Slot]) -> dict[str, float]:
    names = sorted({name for slot in ended for name in slot.components})
    return {
        name: float(np.mean([slot.components.get(name, 0.0) for slot in ended])) for name in names
    }
