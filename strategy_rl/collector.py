"""Plays episodes with a policy and keeps its decisions. Knows environments and policies, no loss.

A rollout is a flat list of N decisions plus the place of each in a (num_steps, num_columns) grid,
where a column is a whole episode or, with fixed-length rollouts, an environment slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from strategy_rl.env import EnvSlots
from strategy_rl.generation import AnyPolicy, TextPolicy
from strategy_rl.policy.observations import ObservationBatch
from strategy_rl.policy.policy import Policy
from strategy_rl.policy.spaces import MASK
from strategy_rl.rollout import (
    DecisionRollout,
    EpisodePlan,
    Record,
    Rollout,
    Slot,
    following_values,
)
from strategy_rl.token_rollout import TokenRecord, TokenRollout


@dataclass
class DecisionRecord(Record):
    """The same of a policy that takes one decision a step."""

    batches: list[ObservationBatch] = field(default_factory=list)
    outputs: list[tuple[Tensor, ...]] = field(default_factory=list)  # action, stored, evidence

    def decide(
        self, policy: Policy, slots: Sequence[Slot], rng: np.random.Generator | None
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

    @torch.no_grad()
    def finish(self, policy: Policy) -> Rollout:
        """Put the decisions together; a cut is followed by the value of what came next."""
        parts = [torch.cat(part) for part in zip(*self.outputs, strict=True)]
        actions, stored, evidence = parts[0], parts[1], parts[2:]
        values = policy.values(evidence)
        steps, columns = torch.tensor(self.steps), torch.tensor(self.columns)
        terminations = torch.tensor(self.terminations, device=policy.device)
        next_values = following_values(values, steps, columns, terminations)
        if self.cut:
            decisions, observations, masks = zip(*self.cut, strict=True)
            final = policy.evaluate(policy.encode(observations, masks)).values
            next_values[torch.tensor(decisions, device=values.device)] = final
        rollout = DecisionRollout(
            batch=ObservationBatch.concatenate(self.batches),
            actions=actions,
            stored=stored,
            logprobs=policy.rebuild(stored).log_prob(actions),
            values=values,
            next_values=next_values,
            rewards=torch.tensor(self.rewards, dtype=torch.float32, device=policy.device),
            terminations=terminations,
            truncations=torch.tensor(self.truncations, device=policy.device),
            steps=steps.to(policy.device),
            columns=columns.to(policy.device),
            **self.episodes(),
        )
        return rollout.without(self.dropped) if self.dropped else rollout


def _record_for(policy: AnyPolicy) -> Any:
    """An empty record of what this policy will do."""
    return TokenRecord() if isinstance(policy, TextPolicy) else DecisionRecord()


@overload
def collect_episodes(
    policy: Policy,
    slots: EnvSlots,
    plans: Iterable[EpisodePlan],
    rng: np.random.Generator | None,
) -> DecisionRollout: ...


@overload
def collect_episodes(
    policy: TextPolicy,
    slots: EnvSlots,
    plans: Iterable[EpisodePlan],
    rng: np.random.Generator | None,
) -> TokenRollout: ...


def collect_episodes(
    policy: AnyPolicy,
    slots: EnvSlots,
    plans: Iterable[EpisodePlan],
    rng: np.random.Generator | None,
) -> Rollout:
    """Play every planned episode to its end; column i is plan i. Without `rng`: greedily."""
    record = _record_for(policy)
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
    rollout: Rollout = record.finish(policy)
    return rollout


def _start(
    slots: EnvSlots, free: Iterable[int], waiting: Iterator[tuple[int, EpisodePlan]]
) -> dict[int, Slot]:
    """Reset as many free slots as there are plans left."""
    started = [(number, *plan) for number, plan in zip(free, waiting, strict=False)]
    numbers = [number for number, _, _ in started]
    plans = [plan for _, _, plan in started]
    results = slots.reset(numbers, [p.seed for p in plans], [p.options for p in plans])
    return {
        number: Slot(result.obs, result.info, column, plan.row)
        for (number, column, plan), result in zip(started, results, strict=True)
    }


class StepCollector:
    """Fixed-length rollouts: every slot plays on where the last rollout cut it.

    Environments cannot be saved in general, so `restart` begins anew at every checkpoint, in
    uninterrupted runs too.
    """

    def __init__(
        self, policy: AnyPolicy, slots: EnvSlots, plan: Callable[[int], EpisodePlan]
    ) -> None:
        self.policy, self.slots, self.plan = policy, slots, plan
        self._active: list[Slot] = []
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
        record = _record_for(self.policy)
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
        rollout: Rollout = record.finish(self.policy)
        return rollout

    def _fresh(self, numbers: Sequence[int]) -> list[Slot]:
        """Start the next episodes in the slots named."""
        plans = [self._take_plan() for _ in numbers]
        results = self.slots.reset(numbers, [p.seed for p in plans], [p.options for p in plans])
        return [
            Slot(result.obs, result.info, number, plan.row)
            for number, plan, result in zip(numbers, plans, results, strict=True)
        ]

    def _take_plan(self) -> EpisodePlan:
        self._next_episode += 1
        return self.plan(self._next_episode - 1)


def env_actions(actions: Tensor) -> list[Any]:
    """Actions as an environment takes them: ints, or arrays for factors and boxes."""
    if actions.dim() == 1:
        return actions.tolist()
    return list(actions.cpu().numpy())
