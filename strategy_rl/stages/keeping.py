"""Episodes of a run that are kept to be looked at: of the probe rows, and some of training.

Knows when episodes are written and what they are called; changes nothing of the training.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from strategy_rl.assembly import World, validation_plans
from strategy_rl.collector import collect_episodes
from strategy_rl.config import Experiment
from strategy_rl.errors import EnvironmentFault
from strategy_rl.evaluation import Label, judged_by
from strategy_rl.generation import AnyPolicy
from strategy_rl.recording import SPLIT, TrainingEpisodes, probe_episodes
from strategy_rl.rollout import EpisodePlan, Rollout
from strategy_rl.session import Session
from strategy_rl.stages.methods import without_reference
from strategy_rl.updates import Method

log = logging.getLogger(__name__)


class EpisodeKeeper:
    """Writes episodes of one run down as training goes on."""

    def __init__(self, experiment: Experiment, world: World, session: Session) -> None:
        self.experiment, self.world, self.session = experiment, world, session
        self.seed = experiment.seed

    def probe(self, policy: AnyPolicy, stage: str, iteration: int) -> None:
        """Play the probe rows, which are always the same, and keep the episodes."""
        plans = validation_plans(self.world.validation, self.seed)
        columns = self._probe_columns(len(plans))
        if columns:
            chosen = [plans[column] for column in columns]
            rollout = collect_episodes(policy, self.world.validation, chosen, None)
            played = list(range(len(chosen)))
            self.keep_probes(without_reference(policy), rollout, played, stage, iteration)

    def judged(
        self,
        policy: AnyPolicy,
        method: Method[Any],
        plans: Sequence[EpisodePlan],
        counters: Mapping[str, Any],
    ) -> dict[str, float]:
        """What PPO is judged by on the way; the probe rows are among it."""
        rollout: Rollout = collect_episodes(policy, self.world.validation, plans, None)
        columns = self._probe_columns(len(plans))
        self.keep_probes(method, rollout, columns, "ppo", counters["iteration"])
        return judged_by(rollout)

    def keep_probes(
        self,
        method: Method[Any],
        rollout: Rollout,
        columns: Sequence[int],
        stage: str,
        iteration: int,
    ) -> None:
        """Write the episodes of some columns down, beside what the reference would do."""
        probes = rollout.of(columns)
        if not len(probes):
            return
        judged, _ = method.judge(probes, 0.0)
        label = Label("policy", "probe", self.seed, stage, iteration)
        episodes = probe_episodes(self.world.validation, method.told, judged, columns, label)
        self.session.log_episodes("probe", episodes)

    def rollout_keeper(
        self, method: Method[Any], counters: dict[str, Any]
    ) -> Callable[[int, Rollout, Tensor], None]:
        """Writes down a few episodes of each rollout."""
        count = self.experiment.logging.training_episodes
        whole = self.experiment.ppo.rollout == "episodes"
        episodes = TrainingEpisodes(
            self.world.train, method.told, count, self.seed, counters, whole=whole
        )

        def keep(iteration: int, rollout: Rollout, advantages: Tensor) -> None:
            if not count:
                return
            try:
                picked = episodes.pick(iteration, rollout, advantages)
            except EnvironmentFault as fault:  # nothing to be looked at is worth the training
                log.warning("no episode of iteration %d is kept: %s", iteration, fault)
                picked = []
            self.session.log_episodes(SPLIT, picked)

        return keep

    def _probe_columns(self, num_plans: int) -> list[int]:
        """Which of the validation episodes are looked at, evenly spread."""
        count = min(self.experiment.logging.probe_rows, num_plans)
        return [num_plans * number // count for number in range(count)]
