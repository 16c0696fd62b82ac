"""Which rows each stage plays, in which order, by which seeds. Plays none of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from strategy_rl.config import Experiment
from strategy_rl.env import EnvSlots
from strategy_rl.evaluation import plan_split
from strategy_rl.rollout import EpisodePlan
from strategy_rl.seeding import derive_seed, generator

MIN_GROUPS_TO_SHARE = 20  # fewer rows are too few to keep SFT's and PPO's apart
DEMONSTRATION_EPISODES = 200  # of a task without rows
VALIDATION_EPISODES = 20  # of a task without rows


@dataclass(frozen=True)
class Rows:
    """Which training rows each stage plays; None where the task has no rows."""

    sft: list[int] | None
    ppo: list[int] | None


def row_share(experiment: Experiment) -> float:
    """SFT's share of the training rows; 1, all rows for each, unless both stages draw on them."""
    sft = experiment.sft
    both = sft.epochs and experiment.ppo.iterations and sft.demonstrations is None
    return sft.share if both else 1.0


def share_rows(slots: EnvSlots, share: float, seed: int) -> Rows:
    """Part the training rows between SFT and PPO, whole groups on one side.

    An SFT policy is over-confident on its own rows, so PPO there would learn the wrong price of
    being unsure. Tasks with few groups, or `share` 1, give all rows to both.
    """
    if slots.num_rows is None:
        return Rows(None, None)
    every = list(range(slots.num_rows))
    groups = [slots.group(row) for row in every]
    names = sorted({str(group) for group in groups})
    if share >= 1 or len(names) < MIN_GROUPS_TO_SHARE:
        return Rows(every, every)
    order = generator(seed, "rows").permutation(len(names))
    count = min(max(1, round(share * len(names))), len(names) - 1)
    chosen = {names[i] for i in order[:count].tolist()}
    return Rows(
        sft=[row for row in every if str(groups[row]) in chosen],
        ppo=[row for row in every if str(groups[row]) not in chosen],
    )


def row_plans(rows: list[int] | None, seed: int, purpose: str) -> list[EpisodePlan]:
    """One episode a row, or numbered episodes where there are none."""
    if rows is None:
        count = range(DEMONSTRATION_EPISODES)
        return [EpisodePlan(derive_seed(seed, purpose, i)) for i in count]
    return [EpisodePlan(derive_seed(seed, purpose, row), row) for row in rows]


def ppo_plan(rows: list[int] | None, seed: int) -> Callable[[int], EpisodePlan]:
    """Episode number to plan: rows in a fresh order each epoch, so that all are visited."""
    orders: dict[int, np.ndarray] = {}

    def plan(number: int) -> EpisodePlan:
        episode_seed = derive_seed(seed, "ppo-episode", number)
        if rows is None:
            return EpisodePlan(episode_seed)
        epoch, position = divmod(number, len(rows))
        if epoch not in orders:
            orders.clear()
            orders[epoch] = generator(seed, "ppo-rows", epoch).permutation(len(rows))
        return EpisodePlan(episode_seed, rows[orders[epoch][position]])

    return plan


def validation_plans(slots: EnvSlots, seed: int) -> list[EpisodePlan]:
    """What training is judged by: all validation rows, or a few episodes without rows."""
    return plan_split(slots, seed, "validation", None, VALIDATION_EPISODES)
