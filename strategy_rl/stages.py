"""The stages of one experiment: prepare, SFT, PPO, evaluate, export.

What a stage needs of those before it is either in the checkpoint or made again to the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from strategy_rl import files
from strategy_rl.assembly import (
    Rows,
    World,
    has_expert,
    make_policy,
    make_table,
    make_world,
    needs_table,
    ppo_plan,
    row_plans,
    row_share,
    share_rows,
    validation_plans,
)
from strategy_rl.card import model_card
from strategy_rl.collector import StepCollector, collect_episodes
from strategy_rl.config import Experiment
from strategy_rl.demonstrations import (
    AnyDemonstrations,
    Demonstrations,
    RawDemonstrations,
    first_looks,
    read_demonstrations,
    roll_expert,
)
from strategy_rl.errors import EnvironmentFault, InputError
from strategy_rl.evaluation import Label, greedy_return, judged_by
from strategy_rl.features import TextTable
from strategy_rl.folder import (
    ENVIRONMENT,
    describe_environment,
)
from strategy_rl.generation import AnyPolicy, TextPolicy
from strategy_rl.imports import load_imports
from strategy_rl.judging import Actors, judge_all, log_report
from strategy_rl.moments import Sums, mean_and_std, merged, one_part
from strategy_rl.policy import Policy
from strategy_rl.policy.saving import WEIGHTS
from strategy_rl.ppo import Task, ppo_state, train_ppo
from strategy_rl.recording import SPLIT, TrainingEpisodes, probe_episodes
from strategy_rl.reference import Reference, check_reference
from strategy_rl.report import NO_SPREAD_SHARE, write_report
from strategy_rl.reward_checks import probe_rewards, reward_spread
from strategy_rl.rollout import EpisodePlan, Rollout
from strategy_rl.seeding import generator
from strategy_rl.session import Session
from strategy_rl.sft import (
    Validation,
    open_special_actions,
    sft_state,
    train_sft,
    unused_specials,
)
from strategy_rl.token_updates import TokenMethod, TokenReference, check_token_reference
from strategy_rl.training import Silent, TrainingState
from strategy_rl.updates import DecisionMethod, Method

SPREAD_ROWS = 64

log = logging.getLogger(__name__)


def without_reference(policy: AnyPolicy) -> Method[Any]:
    """How a policy's decisions are told where nothing is learnt from them."""
    return (
        TokenMethod(policy, None, 1)
        if isinstance(policy, TextPolicy)
        else DecisionMethod(policy, None)
    )


@dataclass(frozen=True)
class Unsaved(Silent):
    """Hooks of a loop that leaves nothing behind; it heeds signals all the same."""

    session: Session

    def safe_point(self, state: TrainingState, *, due: bool, exact: bool = True) -> None:
        """Leave if a signal has come."""
        self.session.heed_signals()


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
        self.raw: dict[str, RawDemonstrations] = {}
        path = experiment.sft.demonstrations
        if path is not None:
            self.raw["file"] = self.read_file(Path(path))
        elif experiment.sft.epochs and not has_expert(self.world.train, self.seed):
            raise InputError(
                "the task has no expert (its info holds no `expert_action`); give "
                "sft.demonstrations, or set sft.epochs=0"
            )

    def read_file(self, path: Path) -> RawDemonstrations:
        """Demonstrations that this policy can learn from."""
        raw = read_demonstrations(path)
        try:
            raw.encode(self.policy)
        except EnvironmentFault as fault:
            raise InputError(f"{path}:{(fault.place or 0) + 1}: {fault}") from fault
        return raw

    def all(self, session: Session) -> dict[str, Any]:
        """Train, judge, report, export."""
        self.session = session
        experiment, policy = self.experiment, self.policy
        with session.stage("prepare"):
            self.prepare()
        if session.checkpoint is None:
            self.probe(policy, "untrained", 0)
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
        policy.save_pretrained(
            session.path / "policy",
            card=model_card(experiment, "ppo", report["policies"], type(policy).__name__),
            task=experiment.task.model_dump(mode="json"),
        )
        self.world.close()
        return report

    def probe(self, policy: AnyPolicy, stage: str, iteration: int) -> None:
        """Play the probe rows, which are always the same, and keep the episodes."""
        plans = validation_plans(self.world.validation, self.seed)
        columns = self.probe_columns(len(plans))
        if columns:
            chosen = [plans[column] for column in columns]
            rollout = collect_episodes(policy, self.world.validation, chosen, None)
            self.keep_probes(without_reference(policy), rollout, stage, iteration)

    def probe_columns(self, num_plans: int) -> list[int]:
        """Which of the validation episodes are looked at, evenly spread."""
        count = min(self.experiment.logging.probe_rows, num_plans)
        return [num_plans * number // count for number in range(count)]

    def keep_probes(
        self, method: Method[Any], rollout: Rollout, stage: str, iteration: int
    ) -> None:
        """Write the episodes of a rollout down, beside what the reference would do."""
        judged, _ = method.judge(rollout, 0.0)
        label = Label("policy", "probe", self.seed, stage, iteration)
        episodes = probe_episodes(self.world.validation, method.told, judged, label)
        self.session.log_episodes("probe", episodes)

    def judged(
        self,
        policy: AnyPolicy,
        method: Method[Any],
        plans: Sequence[EpisodePlan],
        counters: Mapping[str, Any],
    ) -> dict[str, float]:
        """What PPO is judged by on the way; the probe rows are among it."""
        rollout: Rollout = collect_episodes(policy, self.world.validation, plans, None)
        probes = rollout.of(self.probe_columns(len(plans)))
        if len(probes):
            self.keep_probes(method, probes, "ppo", counters["iteration"])
        return judged_by(rollout)

    def keep_reference(self, policy: AnyPolicy) -> None:
        """Write down the policy that SFT left, or take it back from there.

        Raises:
            CheckpointError: It is not the one that PPO started from.
        """
        folder, session = self.session.path / "policy-sft", self.session
        weights = folder / WEIGHTS
        past = session.is_past("sft")
        if not past:
            policy.save_pretrained(
                folder,
                card=model_card(self.experiment, "sft", {}, type(policy).__name__),
                task=self.experiment.task.model_dump(mode="json"),
            )
        session.pin("reference", files.sha256_of(weights) if weights.is_file() else "missing")
        if past:
            policy.load_state(load_file(weights))

    def prepare(self) -> None:
        """Gather demonstrations and encode every text that is known beforehand."""
        world, seed = self.world, self.seed
        for finding in probe_rewards(world.train, validation_plans(world.train, seed)[:4], seed):
            level = logging.DEBUG if finding.severity == "note" else logging.WARNING
            log.log(level, "reward: %s: %s", finding.component, finding.message)
        if self.experiment.evaluation.reward is not None:
            probe_rewards(world.test, validation_plans(world.test, seed)[:4], seed)
        expert = has_expert(world.train, seed)
        splits = {"train": world.train, "validation": world.validation, "test": world.test}
        seen = dict(self.raw)
        for name, slots in splits.items():
            every = None if slots.num_rows is None else list(range(slots.num_rows))
            plans = row_plans(every, seed, name)
            # Where no text is encoded, nothing is learnt of what the expert does in test rows.
            led = expert and (name != "test" or self.table is not None)
            seen[name] = roll_expert(slots, plans) if led else first_looks(slots, plans)
            self.session.heed_signals()
        if expert:
            self.raw = seen
            self.check_validation()
        digests = {name: raw.digest() for name, raw in seen.items()}
        self.session.pin("data", digests)
        if self.experiment.imports:
            self.session.pin("imports", load_imports(self.experiment.imports, trust=False))
        if self.table is not None:
            self.session.pin("backbone", self.table.backbone.base_digest)
        if isinstance(self.policy, TextPolicy):
            self.session.pin("backbone", self.policy.model.base_digest)
        described = {**describe_environment(), "data": digests}
        files.write_json(self.session.path / ENVIRONMENT, described)
        if self.table is not None:
            texts = [text for raw in seen.values() for text in raw.texts()]
            self.table.prepare(texts, self.encoding_progress)

    def check_validation(self) -> None:
        """Refuse an expert that leads in training rows alone, where SFT is judged by it."""
        if (
            self.experiment.sft.epochs
            and "file" not in self.raw
            and not self.raw["validation"].taught
        ):
            raise InputError(
                "the task has an expert in training rows, but in no validation row, by which SFT "
                "is judged; give it one there (under decoding control: search --split validation), "
                "or set sft.epochs=0"
            )

    def encoding_progress(self, done: int, total: int) -> None:
        """Show how many texts are encoded; a signal is heeded between batches."""
        self.session.progress(done, total, "texts")
        self.session.heed_signals()

    def sft(self, policy: AnyPolicy) -> None:
        """Imitate the expert; then give actions that it never takes a chance."""
        if self.session.is_past("sft"):
            return
        raw = self.raw.get("file") or roll_expert(
            self.world.train, row_plans(self.rows.sft, self.seed, "demonstrations")
        )
        if not raw.taught:
            raise InputError("no row of sft.share has an expert action; raise the share")
        demonstrations, validation = self.with_validation(policy, raw.taught.encode(policy))
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
            replace(validation, watch=lambda epochs: self.probe(policy, "sft", epochs)),
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

    def first_moments(self, policy: AnyPolicy, plans: Sequence[EpisodePlan]) -> Sums:
        """What the reward's components are like under SFT's policy, where that is asked for."""
        if self.rows.ppo is not None:
            return self.measure_spread(policy, plans)
        if not any(reward.normalised for reward in self.world.train.rewards):
            return {}
        rng = generator(self.seed, "reward-moments")
        return merged({}, collect_episodes(policy, self.world.train, plans, rng).reward_values)

    def measure_spread(self, policy: AnyPolicy, plans: Sequence[EpisodePlan]) -> Sums:
        """Record how much PPO has to learn from; say so where it is nothing.

        Returns:
            What the values of each component of the reward are like under SFT's policy.
        """
        rng = generator(self.seed, "reward-spread")
        spread, values = reward_spread(policy, self.world.train, plans, rng)
        self.session.log(0, spread)
        if spread["rollout/reward_spread_zero_share"] > NO_SPREAD_SHARE:
            log.warning(
                "nearly every row pays the same whatever the policy samples: there is nothing "
                "for PPO to learn from; look at the reward, or at ppo.entropy_coef"
            )
        return merged({}, values)

    def left_out(self, policy: Policy) -> Tensor | None:
        """Special actions that SFT has never seen, bool (actions,); None where there are none."""
        if policy.spec.action.kind != "categorical":
            return None
        raw = self.raw.get("file") or self.raw["train"]
        unused = unused_specials(policy, torch.as_tensor(raw.taught.actions))
        if not unused:
            return None
        left_out = torch.zeros(policy.spec.action.num_logits, dtype=torch.bool)
        left_out[unused] = True
        return left_out.to(policy.device)

    def with_validation(
        self, policy: AnyPolicy, demonstrations: AnyDemonstrations
    ) -> tuple[AnyDemonstrations, Validation]:
        """What to train on, and what to judge by: the expert, else the last tenth of a file."""
        slots = self.world.validation
        plans = validation_plans(slots, self.seed)
        if "validation" in self.raw:
            held_out = self.raw["validation"].taught.encode(policy)
        else:
            count = max(len(demonstrations) // 10, 1)
            held_out = demonstrations[slice(-count, None)]
            demonstrations = demonstrations[slice(None, -count)]
        return demonstrations, Validation(held_out, lambda: greedy_return(policy, slots, plans))

    def ppo(self, policy: AnyPolicy) -> None:
        """Improve on the reward, from the reference that SFT left."""
        session, config = self.session, self.experiment.ppo
        plan = ppo_plan(self.rows.ppo, self.seed)
        sums: Sums = {}
        if not session.is_past("sft"):
            sums = self.first_moments(policy, [plan(number) for number in range(SPREAD_ROWS)])
        method = self.method(policy, plan)
        plans = validation_plans(self.world.validation, self.seed)
        rate = self.experiment.backbone.learning_rate
        state = ppo_state(policy, config, rate)
        state.counters |= {"reward_sums": sums, "judge_sums": sums}
        if isinstance(method, TokenMethod) and method.reference is not None:
            state.twins = {f"backbone.{n}": t for n, t in method.reference.weights.items()}
        state = session.restore(state)
        self.world.judge_rewards_by(mean_and_std(state.counters["judge_sums"]))
        task = Task(
            collect=self.collector(policy, plan, state.counters),
            validate=lambda: self.judged(policy, method, plans, state.counters),
            method=method,
            keep=self.keeper(method, state.counters),
            histograms_every=self.experiment.logging.histograms_every,
            checkpoint_every=self.experiment.checkpoint.every,
        )
        train_ppo(policy, task, config, seed=self.seed, hooks=session, state=state)
        self.log_reward_times(state.counters["decisions"])

    def method(self, policy: AnyPolicy, plan: Callable[[int], EpisodePlan]) -> Method[Any]:
        """How PPO learns from the policy's kind of decisions; the reference is checked first."""
        config, section = self.experiment.ppo, self.experiment.generation
        rng = generator(self.seed, "reference-check")
        if isinstance(policy, Policy):
            if not config.kl_coef or not self.experiment.sft.epochs:
                return DecisionMethod(policy, None)
            reference = Reference(policy, self.left_out(policy))
            probe = collect_episodes(policy, self.world.train, [plan(0)], rng)
            check_reference(policy, reference, probe)
            return DecisionMethod(policy, reference)
        written: TokenReference | None = None
        if config.kl_coef:
            written = TokenReference(policy)
            responses = collect_episodes(policy, self.world.train, [plan(0)], rng).responses
            check_token_reference(policy, written, responses)
        return TokenMethod(
            policy,
            written,
            config.minibatch_size,
            section.micro_batch_tokens,
            section.missing_end_penalty,
        )

    def keeper(
        self, method: Method[Any], counters: dict[str, Any]
    ) -> Callable[[int, Rollout, Tensor], None]:
        """Writes down a few episodes of each rollout."""
        count = self.experiment.logging.training_episodes
        episodes = TrainingEpisodes(self.world.train, method.told, count, self.seed, counters)

        def keep(iteration: int, rollout: Rollout, advantages: Tensor) -> None:
            if count:
                picked = episodes.pick(iteration, rollout, advantages)
                self.session.log_episodes(SPLIT, picked)

        return keep

    def log_reward_times(self, step: int) -> None:
        """Microseconds of a call of each component, over all environments."""
        calls: dict[str, list[tuple[int, float]]] = {}
        for reward in self.world.train.rewards:
            for name, timing in reward.timings().items():
                calls.setdefault(name, []).append(timing)
        times = {
            f"time/reward_{one_part(name)}_us": 1e6
            * sum(s for _, s in each)
            / max(1, sum(n for n, _ in each))
            for name, each in calls.items()
        }
        self.session.logger.log_time("ppo", step, times)

    def collector(
        self, policy: AnyPolicy, plan: Any, counters: dict[str, Any]
    ) -> Callable[[int], Rollout]:
        """Iteration to rollout, whole episodes or fixed lengths."""
        config, slots = self.experiment.ppo, self.world.train
        if config.rollout == "episodes":
            size = config.episodes_per_iteration

            def collect(iteration: int) -> Rollout:
                plans = (plan(iteration * size + i) for i in range(size))
                return collect_episodes(
                    policy, slots, plans, generator(self.seed, "ppo-actions", iteration)
                )

            return self.in_phase(collect, counters)

        steps = StepCollector(policy, slots, plan)
        counters.setdefault("next_episode", 0)
        every = self.experiment.checkpoint.every

        def collect_steps(iteration: int) -> Rollout:
            if iteration % every == 0 or not steps.is_started:
                steps.restart(counters["next_episode"])
            rollout = steps.collect(
                config.num_steps, generator(self.seed, "ppo-actions", iteration)
            )
            counters["next_episode"] = steps.next_episode
            return rollout

        return self.in_phase(collect_steps, counters)

    def in_phase(
        self, collect: Callable[[int], Rollout], counters: dict[str, Any]
    ) -> Callable[[int], Rollout]:
        """Collect with the reward's scheduled weights and running scales of the iteration."""

        def collect_in_phase(iteration: int) -> Rollout:
            sums = counters["reward_sums"]
            progress = iteration / self.experiment.ppo.iterations
            self.world.train.set_reward_phase(progress, mean_and_std(sums))
            rollout = collect(iteration)
            counters["reward_sums"] = merged(sums, rollout.reward_values)
            return rollout

        return collect_in_phase

    def evaluate(self, policy: AnyPolicy, sft_state: dict[str, Tensor]) -> dict[str, Any]:
        """Judge every policy on the same test rows; write and log the report."""
        session, experiment = self.session, self.experiment
        states = {"sft": sft_state, "ppo": policy.state()}
        actors = Actors(experiment, self.world, policy, states, self.untrained, self.all_rows)
        episodes = judge_all(session, experiment, self.world, actors)
        report = write_report(
            session.path, bootstrap_samples=experiment.evaluation.bootstrap_samples
        )
        log_report(session, experiment, report, episodes)
        policy.load_state(states["ppo"])
        return report

    def untrained(self) -> AnyPolicy:
        """A fresh policy; a backbone that learns is loaded anew, a frozen one shared."""
        table = self.table
        if table is not None and not table.is_frozen:
            table = make_table(self.experiment.backbone, self.seed)
        return make_policy(self.experiment, self.world.train, table)

    def all_rows(self) -> AnyPolicy:
        """A rival: SFT on the rows of SFT and PPO together."""
        config = self.experiment.sft
        policy = self.untrained()
        demonstrations, validation = self.with_validation(
            policy, self.raw["train"].taught.encode(policy)
        )
        train_sft(
            policy,
            demonstrations,
            validation,
            config,
            seed=self.seed,
            hooks=Unsaved(self.session),
            state=sft_state(policy, config, self.experiment.backbone.learning_rate),
        )
        return policy
