"""Plays a split with anything that acts, and keeps what it did as episodes. Trains nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from strategy_rl.actors import Actor, Critic
from strategy_rl.collector import collect_episodes
from strategy_rl.env import EnvSlots, StepResult
from strategy_rl.episodes import Episode, Step
from strategy_rl.errors import EnvironmentFault
from strategy_rl.generation import AnyPolicy
from strategy_rl.moments import one_part
from strategy_rl.rollout import EpisodePlan, Rollout
from strategy_rl.seeding import derive_seed
from strategy_rl.steps import row_of, step_of

log = logging.getLogger(__name__)


class Label(NamedTuple):
    """What the episodes of one evaluation are called."""

    policy: str
    split: str
    seed: int
    stage: str = "evaluation"
    iteration: int = 0


@dataclass
class _Running:
    plan: EpisodePlan
    number: int
    obs: Any
    info: Mapping[str, Any]
    kind: str | None
    steps: list[Step] = field(default_factory=list)


def play(
    actor: Actor,
    slots: EnvSlots,
    plans: Sequence[EpisodePlan],
    label: Label,
    *,
    rng: np.random.Generator,
    keep_texts: bool,
) -> list[Episode]:
    """Play every planned episode and record each step.

    Args:
        actor: Who decides.
        slots: Where; their split and reward are the judge.
        plans: Which episodes, in the order of the result.
        label: What they are called.
        rng: What a sampling actor draws from.
        keep_texts: Keep the texts of observations and of what the reward functions saw.
    """
    episodes: dict[int, Episode] = {}
    waiting = list(enumerate(plans))[::-1]
    active: dict[int, _Running] = {}
    free = list(range(slots.num_slots))
    while waiting or active:
        fresh = [(slot, *waiting.pop()) for slot in free if waiting]
        results = slots.reset(
            [slot for slot, _, _ in fresh],
            [plan.seed for _, _, plan in fresh],
            [plan.options for _, _, plan in fresh],
        )
        for (slot, number, plan), result in zip(fresh, results, strict=True):
            kind = result.info.get("kind")
            named = kind if isinstance(kind, str) else None
            active[slot] = _Running(plan, number, result.obs, result.info, named)
        numbers = sorted(active)
        running = [active[slot] for slot in numbers]
        with slots.blamed(numbers):
            choices = actor.act([r.obs for r in running], [r.info for r in running], rng)
        answers = slots.step(numbers, [choice.action for choice in choices])
        after = _values_after_cuts(actor, dict(zip(numbers, answers, strict=True)))
        free = []
        for slot, choice, answer in zip(numbers, choices, answers, strict=True):
            require_reward(answer.info)
            episode = active[slot]
            episode.steps.append(
                step_of(slots, episode.obs, episode.info, choice, answer, keep_texts)
            )
            episode.obs, episode.info = answer.obs, answer.info
            if answer.terminated or answer.truncated:
                row = row_of(slots, episode.info, episode.plan.row)
                made = _episode(episode, slots, label, row, answer.terminated)
                episodes[episode.number] = replace(made, final_value=after.get(slot))
                del active[slot]
                free.append(slot)
    return [episodes[number] for number in range(len(plans))]


def greedy_return(policy: AnyPolicy, slots: EnvSlots, plans: Sequence[EpisodePlan]) -> float:
    """Mean return of the greedy policy: what training is judged by."""
    return judged_by(collect_episodes(policy, slots, plans, None))["return"]


def judged_by(rollout: Rollout) -> dict[str, float]:
    """Mean return of a rollout, and the mean of each component's own value.

    A component of weight 0 is a guard: nobody trains on it, and what it says shows whether a
    rising return is what was meant.
    """
    if rollout.dropped:
        reason = next(iter(rollout.dropped.values()))
        log.warning("%d validation rows left out: %s", len(rollout.dropped), reason)
    values = {
        f"value/{one_part(name)}": float(np.nanmean(given))
        for name, given in rollout.reward_values.items()
        if np.isfinite(given).any()
    }
    return {"return": float(rollout.episode_returns.mean())} | values


def plan_split(
    slots: EnvSlots, seed: int, split: str, episodes: int | None, default: int = 100
) -> list[EpisodePlan]:
    """Every row of a split once; or numbered episodes where the task has no rows.

    With fewer episodes than rows, the rows are spread evenly over the split.
    """
    if slots.num_rows is None:
        count = episodes or default
        return [EpisodePlan(derive_seed(seed, "episode", split, i)) for i in range(count)]
    count = min(episodes or slots.num_rows, slots.num_rows)
    rows = np.linspace(0, slots.num_rows, count, endpoint=False).astype(int).tolist()
    return [EpisodePlan(derive_seed(seed, "episode", split, row), row) for row in rows]


def require_reward(info: Mapping[str, Any]) -> None:
    """Refuse a step that is judged and has no reward.

    Raises:
        EnvironmentFault: Its reward was dropped.
    """
    if "reward_dropped" in info:
        raise EnvironmentFault(
            f"{info['reward_dropped']}; `on_error: drop` is for training, and a row that is judged "
            "needs its reward"
        )


def _values_after_cuts(actor: Actor, answers: Mapping[int, StepResult]) -> dict[int, float]:
    """By slot, where an episode was cut and the actor can tell what would have followed."""
    cut = {slot: a for slot, a in answers.items() if a.truncated and not a.terminated}
    if not cut or not isinstance(actor, Critic):
        return {}
    values = actor.values([a.obs for a in cut.values()], [a.info for a in cut.values()])
    return dict(zip(cut, values, strict=True))


def _episode(
    running: _Running, slots: EnvSlots, label: Label, row: int | None, terminated: bool
) -> Episode:
    name = running.number if row is None else row
    return Episode(
        episode_id=f"{label.split}-{label.policy}-{name}",
        stage=label.stage,
        iteration=label.iteration,
        seed=label.seed,
        split=label.split,
        row=row,
        group=slots.group(row),
        policy=label.policy,
        terminated=terminated,
        steps=tuple(running.steps),
        kind=running.kind,
        weights=slots.weights,
    )
