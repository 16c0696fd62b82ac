"""The stages of one experiment: prepare, SFT, PPO, evaluate, export.

What a stage needs of those before it is either in the checkpoint or made again to the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from strategy_rl import files
from strategy_rl.assembly import (
    Rows,
    World,
    make_policy,
    make_table,
    make_world,
    needs_table,
    ppo_plan,
    row_share,
    share_rows,
    validation_plans,
)
from strategy_rl.card import model_card
from strategy_rl.config import Experiment
from strategy_rl.demonstrations import Demonstrations
from strategy_rl.features import TextTable
from strategy_rl.folder import ENVIRONMENT, describe_environment
from strategy_rl.generation import AnyPolicy, TextPolicy
from strategy_rl.imports import load_imports
from strategy_rl.judging import Actors, judge_all, log_report
from strategy_rl.moments import Sums, mean_and_std
from strategy_rl.policy import Policy
from strategy_rl.policy.saving import WEIGHTS
from strategy_rl.ppo import Task, ppo_state, train_ppo
from strategy_rl.report import write_report
from strategy_rl.reward_checks import probe_rewards
from strategy_rl.session import Session
from strategy_rl.sft import open_special_actions, sft_state, train_sft
from strategy_rl.stages.fresh import taught_all_rows, untrained
from strategy_rl.stages.keeping import EpisodeKeeper
from strategy_rl.stages.methods import make_method
from strategy_rl.stages.rounds import collector, first_moments, reward_times
from strategy_rl.stages.teaching import Teaching
from strategy_rl.token_updates import TokenMethod

SPREAD_ROWS = 64

log = logging.getLogger(__name__)


class Stages:
    """The stages of one run, in order.

    Raises:
        InputError: The task, its settings, the model or the demonstrations cannot be used.
    """

    session: Session

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.seed = experiment.seed
        self.world: World = make_world(experiment)
        self.rows: Rows = share_rows(self.world.train, row_share(experiment), self.seed)
        self.table: TextTable | None = None
        if needs_table(self.world.train):
            self.table = make_table(experiment.backbone, self.seed)
        self.policy: AnyPolicy = make_policy(experiment, self.world.train, self.table)
        self.teaching = Teaching(experiment, self.world, self.policy)

    @cached_property
    def keeper(self) -> EpisodeKeeper:
        """Writes down what is to be looked at."""
        return EpisodeKeeper(self.experiment, self.world, self.session)

    def all(self, session: Session) -> dict[str, Any]:
        """Train, judge, report, export."""
        self.session = session
        experiment, policy = self.experiment, self.policy
        with session.stage("prepare"):
            self.prepare()
        if session.checkpoint is None:
            self.keeper.probe(policy, "untrained", 0)
        if experiment.sft.epochs:
            with session.stage("sft"):
                self.sft(policy)
        self.keep_reference(policy)
        sft_state = policy.state()
        if experiment.ppo.iterations:
            with session.stage("ppo"):
                self.ppo(policy)
        with session.stage("evaluate"):
            report = self.evaluate(policy, sft_state)
        self.export(policy, "policy", "ppo", report["policies"])
        self.world.close()
        return report

    def prepare(self) -> None:
        """Gather demonstrations and encode every text that is known beforehand."""
        self._try_rewards()
        seen = self.teaching.gather(encoded=self.table is not None, heed=self.session.heed_signals)
        digests = {name: raw.digest() for name, raw in seen.items()}
        self._pin_inputs(digests)
        described = {**describe_environment(), "data": digests}
        files.write_json(self.session.path / ENVIRONMENT, described)
        if self.table is not None:
            texts = [text for raw in seen.values() for text in raw.texts()]
            self.table.prepare(texts, self._encoding_progress)

    def _try_rewards(self) -> None:
        """Say what is odd about a reward before anything is trained on it."""
        world, seed = self.world, self.seed
        for finding in probe_rewards(world.train, validation_plans(world.train, seed)[:4], seed):
            level = logging.DEBUG if finding.severity == "note" else logging.WARNING
            log.log(level, "reward: %s: %s", finding.component, finding.message)
        if self.experiment.evaluation.reward is not None:
            probe_rewards(world.test, validation_plans(world.test, seed)[:4], seed)

    def _pin_inputs(self, digests: Mapping[str, str]) -> None:
        """Have a resume meet the same data, imported files and model.

        Raises:
            CheckpointError: It does not.
        """
        self.session.pin("data", digests)
        if self.experiment.imports:
            self.session.pin("imports", load_imports(self.experiment.imports, trust=False))
        if self.table is not None:
            self.session.pin("backbone", self.table.backbone.base_digest)
        if isinstance(self.policy, TextPolicy):
            self.session.pin("backbone", self.policy.model.base_digest)

    def _encoding_progress(self, done: int, total: int) -> None:
        """Show how many texts are encoded; a signal is heeded between batches."""
        self.session.progress(done, total, "texts")
        self.session.heed_signals()

    def sft(self, policy: AnyPolicy) -> None:
        """Imitate the expert; then give actions that it never takes a chance."""
        if self.session.is_past("sft"):
            return
        shown = self.teaching.of_rows(self.rows.sft).encode(policy)
        demonstrations, validation = self.teaching.with_validation(policy, shown)
        config = self.experiment.sft
        rate = self.experiment.backbone.learning_rate
        if self.experiment.ppo.normalize_observations and isinstance(
            policy, Policy
        ):  # else the clone changes when PPO begins
            assert isinstance(demonstrations, Demonstrations)
            policy.network.normalizer.update(demonstrations.batch.numbers)
        train_sft(
            policy,
            demonstrations,
            replace(validation, watch=lambda epochs: self.keeper.probe(policy, "sft", epochs)),
            config,
            seed=self.seed,
            hooks=self.session,
            state=self.session.restore(sft_state(policy, config, rate)),
        )
        held_out = validation.demonstrations
        if isinstance(demonstrations, Demonstrations) and isinstance(held_out, Demonstrations):
            assert isinstance(policy, Policy)
            prior = config.special_action_prior
            open_special_actions(policy, demonstrations, held_out.batch, prior)

    def keep_reference(self, policy: AnyPolicy) -> None:
        """Write down the policy that SFT left, or take it back from there.

        Raises:
            CheckpointError: It is not the one that PPO started from.
        """
        session = self.session
        weights = session.path / "policy-sft" / WEIGHTS
        past = session.is_past("sft")
        if not past:
            self.export(policy, "policy-sft", "sft", {})
        session.pin("reference", files.sha256_of(weights) if weights.is_file() else "missing")
        if past:
            policy.load_state(load_file(weights))

    def ppo(self, policy: AnyPolicy) -> None:
        """Improve on the reward, from the reference that SFT left."""
        session, experiment, train = self.session, self.experiment, self.world.train
        plan = ppo_plan(self.rows.ppo, self.seed)
        sums: Sums = {}
        if not session.is_past("sft"):
            first = [plan(number) for number in range(SPREAD_ROWS)]
            sums = first_moments(session, train, policy, first, self.seed)
        method = make_method(experiment, policy, train, plan(0), self.teaching)
        plans = validation_plans(self.world.validation, self.seed)
        state = ppo_state(policy, experiment.ppo, experiment.backbone.learning_rate)
        state.counters |= {"reward_sums": sums, "judge_sums": sums}
        if isinstance(method, TokenMethod) and method.reference is not None:
            state.twins = {f"backbone.{n}": t for n, t in method.reference.weights.items()}
        state = session.restore(state)
        self.world.judge_rewards_by(mean_and_std(state.counters["judge_sums"]))
        task = Task(
            collect=collector(experiment, train, policy, plan, state.counters),
            validate=lambda: self.keeper.judged(policy, method, plans, state.counters),
            method=method,
            keep=self.keeper.rollout_keeper(method, state.counters),
            histograms_every=experiment.logging.histograms_every,
            checkpoint_every=experiment.checkpoint.every,
        )
        train_ppo(policy, task, experiment.ppo, seed=self.seed, hooks=session, state=state)
        session.logger.log_time("ppo", state.counters["decisions"], reward_times(train))

    def evaluate(self, policy: AnyPolicy, sft_state: dict[str, Tensor]) -> dict[str, Any]:
        """Judge every policy on the same test rows; write and log the report."""
        session, experiment = self.session, self.experiment
        states = {"sft": sft_state, "ppo": policy.state()}
        fresh = partial(untrained, experiment, self.world, self.table)
        actors = Actors(
            experiment,
            self.world,
            policy,
            states,
            untrained=fresh,
            train_all_rows=lambda: taught_all_rows(fresh(), experiment, self.teaching, session),
        )
        episodes = judge_all(session, experiment, self.world, actors)
        report = write_report(
            session.path, bootstrap_samples=experiment.evaluation.bootstrap_samples
        )
        log_report(session, experiment, report, episodes)
        policy.load_state(states["ppo"])
        return report

    def export(
        self, policy: AnyPolicy, folder: str, stage: str, figures: Mapping[str, Any]
    ) -> None:
        """Write a policy into the run's folder, with its card and its task."""
        policy.save_pretrained(
            self.session.path / folder,
            card=model_card(self.experiment, stage, figures, type(policy).__name__),
            task=self.experiment.task.model_dump(mode="json"),
        )
