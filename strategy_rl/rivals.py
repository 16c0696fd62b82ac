"""What an engineer would do without reinforcement learning: the policies that PPO must beat.

The stopping rules take the SFT policy's best ordinary action unless it is less sure of it than a
threshold, and else a special action that ends the episode (hand over, abstain, stop). They are
fitted on validation episodes. How sure it is: the action's probability among the ordinary ones, or
its odds against the special action, where a threshold is a bias of the latter. Knows policies and
environments, no task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from strategy_rl.actors import Choice
from strategy_rl.env import EnvSlots
from strategy_rl.evaluation import require_reward
from strategy_rl.policy.observations import ObservationBatch
from strategy_rl.policy.policy import Policy
from strategy_rl.policy.spaces import MASK
from strategy_rl.rollout import EpisodePlan

State = tuple[float, ...]
_QUANTILES = np.linspace(0, 1, 41)
_FORCED = math.inf  # confidence where the special action is illegal: above every threshold
_ASCENT_PASSES = 3


@dataclass(frozen=True)
class CosineActor:
    """The candidate whose vector is nearest to that of the last context text; untrained."""

    policy: Policy

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """The nearest legal candidate of each observation."""
        batch = self.policy.encode(observations, [info.get(MASK) for info in infos])
        with torch.no_grad():
            context = self.policy.embed(batch.context[:, -1])
            offered = self.policy.embed(batch.candidates)
            cosines = torch.nn.functional.cosine_similarity(offered, context[:, None], dim=-1)
        legal = batch.mask[:, : cosines.shape[1]]
        chosen = cosines.masked_fill(~legal, -2.0).argmax(-1)
        return [Choice(action) for action in chosen.tolist()]


@dataclass(frozen=True)
class StoppingRule:
    """The least confidence with which to answer, by state; elsewhere `default`."""

    default: float
    by_state: Mapping[State, float]

    def threshold(self, state: State) -> float:
        """The least confidence in a state."""
        return self.by_state.get(state, self.default)


@dataclass(frozen=True)
class StoppingActor:
    """The policy's best ordinary action, or the first special one where it is not sure enough."""

    policy: Policy
    rule: StoppingRule
    odds: bool = False  # as in `confident_actions`

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """Answer or stop, for each observation."""
        batch = self.policy.encode(observations, [info.get(MASK) for info in infos])
        best, confidence = confident_actions(self.policy, batch, self.odds)
        stop = self.policy.spec.action.sizes[0] - self.policy.spec.action.num_special
        choices = []
        for row, state in enumerate(states_of(batch)):
            sure = confidence[row] >= self.rule.threshold(state) or not batch.mask[row, stop]
            choices.append(Choice(int(best[row]) if sure else stop))
        return choices


@dataclass(frozen=True)
class StoppingRecord:
    """Validation episodes in which the policy always answered, with what stopping would give.

    Arrays have shape (episodes, steps); steps beyond an episode's end are not valid. Where stopping
    is illegal, confidence is `_FORCED`.
    """

    states: list[list[State]]
    state_ids: np.ndarray
    known_states: list[State]
    confidence: np.ndarray
    rewards: np.ndarray
    stop_rewards: np.ndarray
    right: np.ndarray
    valid: np.ndarray

    def mean_return(self, thresholds: np.ndarray) -> float:
        """Mean return with one threshold for each of `known_states`."""
        stops = self.valid & (self.confidence < thresholds[self.state_ids])
        first = np.where(stops.any(1), stops.argmax(1), self.valid.shape[1])
        answered = self.valid & (np.arange(self.valid.shape[1]) < first[:, None])
        returns = (self.rewards * answered).sum(1)
        ended = stops.any(1)
        rows = np.flatnonzero(ended)
        returns[rows] += self.stop_rewards[rows, first[rows]]
        return float(returns.mean())


def confident_actions(
    policy: Policy, batch: ObservationBatch, odds: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Best ordinary action and how sure the policy is of it: (B,) each.

    Args:
        policy: Who decides.
        batch: Observations.
        odds: Its probability against the first special action alone; else among the ordinary ones.
    """
    stored = policy.evaluate(batch).distribution.stored
    stop = stored.shape[1] - policy.spec.action.num_special
    confidence, best = stored[:, :stop].softmax(-1).max(-1)
    if odds:
        confidence = (stored[:, :stop].max(-1).values - stored[:, stop]).sigmoid()
    return best.cpu().numpy(), confidence.cpu().numpy()


def states_of(batch: ObservationBatch) -> list[State]:
    """The numbers of each observation, rounded, as keys."""
    return [tuple(row) for row in batch.numbers.double().cpu().numpy().round(4).tolist()]


def record_stopping(
    policy: Policy, slots: EnvSlots, plans: Sequence[EpisodePlan], odds: bool = False
) -> StoppingRecord | None:
    """Play with the policy always answering; None where stopping does not end an episode.

    Args:
        policy: Who answers.
        slots: Environments.
        plans: Episodes to play.
        odds: As in `confident_actions`.
    """
    stop = policy.spec.action.sizes[0] - policy.spec.action.num_special
    played: list[list[_Decision]] = []
    for plan in plans:
        decisions = _answer(policy, slots, plan, odds)
        actions = [decision.action for decision in decisions]
        for number, decision in enumerate(decisions):
            if decision.confidence == _FORCED:
                continue
            stop_reward = _stop_reward(slots, plan, actions[:number], stop)
            if stop_reward is None:
                return None
            decision.stop_reward = stop_reward
        played.append(decisions)
    return _as_record(played)


@dataclass
class _Decision:
    """An answer and its alternative."""

    state: State
    confidence: float
    action: int
    reward: float
    right: bool
    stop_reward: float = 0.0


def _answer(policy: Policy, slots: EnvSlots, plan: EpisodePlan, odds: bool) -> list[_Decision]:
    """One episode of the policy's best ordinary actions."""
    result = slots.reset([0], [plan.seed], [plan.options])[0]
    obs, info, ended = result.obs, result.info, False
    decisions = []
    while not ended:
        with slots.blamed([0]):
            batch = policy.encode([obs], [info.get(MASK)])
        best, confidence = confident_actions(policy, batch, odds)
        action = int(best[0])
        stop = policy.spec.action.sizes[0] - policy.spec.action.num_special
        sure = float(confidence[0]) if batch.mask[0, stop] else _FORCED
        right = info.get("expert_action") == action
        obs, reward, terminated, truncated, info = slots.step([0], [action])[0]
        require_reward(info)
        ended = terminated or truncated
        state = states_of(batch)[0]
        decisions.append(_Decision(state, sure, action, reward, right))
    return decisions


def _stop_reward(slots: EnvSlots, plan: EpisodePlan, actions: list[int], stop: int) -> float | None:
    """What stopping after the given actions pays; None where the episode then goes on."""
    slots.reset([0], [plan.seed], [plan.options])
    for action in actions:
        slots.step([0], [action])
    result = slots.step([0], [stop])[0]
    require_reward(result.info)
    return result.reward if result.terminated else None


def _as_record(played: list[list[_Decision]]) -> StoppingRecord:
    shape = len(played), max(map(len, played))
    known = sorted({step.state for episode in played for step in episode})
    number = {state: i for i, state in enumerate(known)}
    columns = [np.zeros(shape) for _ in range(5)]
    valid = np.zeros(shape, dtype=bool)
    for row, episode in enumerate(played):
        for step, one in enumerate(episode):
            valid[row, step] = True
            figures = number[one.state], one.confidence, one.reward, one.stop_reward, one.right
            for column, figure in zip(columns, figures, strict=True):
                column[row, step] = figure
    ids, confidence, rewards, stop_rewards, right = columns
    return StoppingRecord(
        states=[[step.state for step in episode] for episode in played],
        state_ids=ids.astype(int),
        known_states=known,
        confidence=confidence,
        rewards=rewards,
        stop_rewards=stop_rewards,
        right=right.astype(bool),
        valid=valid,
    )


def fit_threshold(record: StoppingRecord) -> StoppingRule:
    """One threshold for all states: the best of 43 on the record."""
    grid = _grid(record.confidence[record.valid])
    ones = np.ones(len(record.known_states))
    best = max(grid, key=lambda threshold: record.mean_return(ones * threshold))
    return StoppingRule(float(best), {})


def fit_threshold_by_state(record: StoppingRecord) -> StoppingRule:
    """A threshold a state, by coordinate ascent from the one for all."""
    start = fit_threshold(record).default
    thresholds = np.full(len(record.known_states), start)
    for _ in range(_ASCENT_PASSES):
        for index in range(len(thresholds)):
            here = record.confidence[record.valid & (record.state_ids == index)]
            best, best_return = thresholds[index], record.mean_return(thresholds)
            for candidate in _grid(here):
                thresholds[index] = candidate
                value = record.mean_return(thresholds)
                if value > best_return + 1e-12:
                    best, best_return = candidate, value
            thresholds[index] = best
    return StoppingRule(start, dict(zip(record.known_states, thresholds.tolist(), strict=True)))


def fit_plug_in_dp(record: StoppingRecord) -> StoppingRule:
    """Dynamic programming over states with a calibrated chance of being right.

    The chance is an isotonic fit on all states together; what a right and a wrong answer lead to
    are means of each state. V(s) is the mean of the better of stopping and answering.
    """
    free = record.valid & (record.confidence < _FORCED)
    if not free.any():
        return StoppingRule(0.0, {})
    chance = isotonic(record.confidence[free], record.right[free].astype(float))
    count = len(record.known_states)
    values = np.zeros(count)
    thresholds = np.zeros(count)
    for _ in range(record.valid.shape[1] + 1):
        following = np.zeros_like(record.rewards)
        following[:, :-1] = values[record.state_ids[:, 1:]] * record.valid[:, 1:]
        outcome = record.rewards + following
        for index in range(count):
            here = record.valid & (record.state_ids == index)
            stop = float(record.stop_rewards[here].mean())
            gains = [_mean_or(outcome[here & (record.right == r)], stop) for r in (False, True)]
            p = np.interp(record.confidence[here], *chance)
            answer = gains[0] + p * (gains[1] - gains[0])
            values[index] = np.where(free[here], np.maximum(answer, stop), answer).mean()
            thresholds[index] = _crossing(chance, gains, stop)
    fallback = float(np.median(thresholds))
    return StoppingRule(fallback, dict(zip(record.known_states, thresholds.tolist(), strict=True)))


def isotonic(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares non-decreasing fit by pooling adjacent violators; knots to interpolate."""
    distinct, place = np.unique(x, return_inverse=True)
    counts, sums = np.bincount(place), np.bincount(place, weights=y)
    blocks: list[list[float]] = []  # sum of y, count, sum of x
    for a, b, count in zip(distinct.tolist(), sums.tolist(), counts.tolist(), strict=True):
        blocks.append([b, count, a * count])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [p + q for p, q in zip(blocks[-1], last, strict=True)]
    table = np.array(blocks)
    return table[:, 2] / table[:, 1], table[:, 0] / table[:, 1]


def _crossing(chance: tuple[np.ndarray, np.ndarray], gains: Sequence[float], stop: float) -> float:
    """The least confidence at which answering is worth as much as stopping."""
    knots, p = chance
    worth = gains[0] + p * (gains[1] - gains[0]) >= stop
    if not worth.any():
        return 2.0
    first = int(worth.argmax())
    if first == 0:
        return 0.0
    needed = (stop - gains[0]) / (gains[1] - gains[0])
    return float(np.interp(needed, p[first - 1 : first + 1], knots[first - 1 : first + 1]))


def _grid(confidence: np.ndarray) -> list[float]:
    free = confidence[confidence < _FORCED]
    return [0.0, *(np.quantile(free, _QUANTILES).tolist() if len(free) else ()), 2.0]


def _mean_or(values: np.ndarray, default: float) -> float:
    return float(values.mean()) if len(values) else default
