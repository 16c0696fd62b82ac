"""Policies that the last look compares with, made when their turn comes. Judges none of them."""

from __future__ import annotations

from dataclasses import dataclass

from strategy_rl.assembly import World, make_policy, make_table
from strategy_rl.config import Experiment
from strategy_rl.features import TextTable
from strategy_rl.generation import AnyPolicy
from strategy_rl.session import Session
from strategy_rl.sft import sft_state, train_sft
from strategy_rl.stages.teaching import Teaching
from strategy_rl.training import Silent, TrainingState


@dataclass(frozen=True)
class Unsaved(Silent):
    """Hooks of a loop that leaves nothing behind; it heeds signals all the same."""

    session: Session

    def safe_point(self, state: TrainingState, *, due: bool, exact: bool = True) -> None:
        """Leave if a signal has come."""
        self.session.heed_signals()


def untrained(experiment: Experiment, world: World, table: TextTable | None) -> AnyPolicy:
    """A fresh policy; a backbone that learns is loaded anew, a frozen one shared."""
    if table is not None and not table.is_frozen:
        table = make_table(experiment.backbone, experiment.seed)
    return make_policy(experiment, world.train, table)


def taught_all_rows(
    policy: AnyPolicy, experiment: Experiment, teaching: Teaching, session: Session
) -> AnyPolicy:
    """A rival: SFT of a fresh policy on the rows of SFT and PPO together."""
    config = experiment.sft
    everything = teaching.raw["train"].taught.encode(policy)
    demonstrations, validation = teaching.with_validation(policy, everything)
    train_sft(
        policy,
        demonstrations,
        validation,
        config,
        seed=experiment.seed,
        hooks=Unsaved(session),
        state=sft_state(policy, config, experiment.backbone.learning_rate),
    )
    return policy
