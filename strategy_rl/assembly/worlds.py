"""The environments of an experiment, by split. Knows nothing of who plays them."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from strategy_rl.assembly.settings import Reward, constructor_parameters, task_settings
from strategy_rl.config import Experiment
from strategy_rl.env import EnvSlots, Moments, make_slots

EVALUATION_SLOTS = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class World:
    """The environments of an experiment: one set a split, and a judge for the test split.

    Attributes:
        same_rows: The task has rows, but no splits: all three play the same.
    """

    train: EnvSlots
    validation: EnvSlots
    test: EnvSlots
    same_rows: bool = False

    def slots(self, split: str) -> EnvSlots:
        """The environments of a split, by its name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]

    def judge_rewards_by(self, moments: Moments) -> None:
        """Judge by the reward as it is at the end of training, its running scales held still."""
        for slots in (self.validation, self.test):
            slots.set_reward_phase(1.0, moments)

    def close(self) -> None:
        """Close all."""
        for slots in (self.train, self.validation, self.test):
            slots.close()


def make_world(experiment: Experiment) -> World:
    """Make every environment; the test split is judged by `evaluation.reward` where it is given."""
    judge = experiment.evaluation.reward
    reward = experiment.reward
    train = split_slots(experiment, "train", reward, experiment.ppo.num_envs)
    splits = "split" in constructor_parameters(experiment.task.id)
    same_rows = train.num_rows is not None and not splits
    if same_rows:
        log.warning(
            "%s takes no `split`: train, validation and test are the same rows, so no figure tells "
            "what unseen rows would give",
            experiment.task.id,
        )
    world = World(
        train=train,
        validation=split_slots(experiment, "validation", reward, EVALUATION_SLOTS),
        test=split_slots(experiment, "test", reward if judge is None else judge, EVALUATION_SLOTS),
        same_rows=same_rows,
    )
    world.judge_rewards_by({})
    return world


def split_slots(experiment: Experiment, split: str, reward: Reward, num_slots: int) -> EnvSlots:
    """Environments of one split.

    Raises:
        InputError: The id is unknown, the task refuses its settings, or it takes no reward.
    """
    task = experiment.task
    return make_slots(task.id, task_settings(task, split, reward), num_slots)
