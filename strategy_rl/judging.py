"""The last look: every policy and every rival on the same rows of a split."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from torch import Tensor

from strategy_rl.actors import Actor, Choice, ExpertActor, RandomActor, RuleActor, actor_of
from strategy_rl.assembly import (
    World,
    has_expert_everywhere,
    make_world,
    resolve_device,
    validation_plans,
)
from strategy_rl.config import Experiment, GenerationConfig
from strategy_rl.env import Moments
from strategy_rl.episodes import Episode, write_episodes
from strategy_rl.errors import InputError
from strategy_rl.evaluation import Label, plan_split, play
from strategy_rl.generation import AnyPolicy, TextPolicy
from strategy_rl.likelihood_rival import load_likelihood_actor
from strategy_rl.logger import MetricsLogger, episodes_digest
from strategy_rl.moments import one_part
from strategy_rl.policy import Policy
from strategy_rl.policy.spaces import ObservationSpec
from strategy_rl.reference import Reference
from strategy_rl.report import bootstrap_interval, render_texts
from strategy_rl.rivals import (
    CosineActor,
    StoppingActor,
    StoppingRecord,
    StoppingRule,
    fit_plug_in_dp,
    fit_threshold,
    fit_threshold_by_state,
    record_stopping,
)
from strategy_rl.rollout import EpisodePlan
from strategy_rl.seeding import generator


@dataclass(frozen=True)
class BestOf:
    """Plays each row `count` times; the judge keeps the episode that earned most."""

    actor: Actor
    count: int

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """One game of it."""
        return self.actor.act(observations, infos, rng)


Maker: TypeAlias = Callable[[], Actor | None]

log = logging.getLogger(__name__)


class Work(Protocol):
    """What judging needs of the run around it."""

    path: Path
    logger: MetricsLogger

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Show how far it is."""

    def heed_signals(self) -> None:
        """Leave if a signal has come."""


@dataclass(frozen=True)
class Actors:
    """Everybody who is judged.

    Attributes:
        experiment: Says which rivals are wanted.
        world: The environments.
        policy: Lent to one state after the other.
        states: Its weights after `sft` and after `ppo`.
        untrained: Makes a policy that has learnt nothing.
        train_all_rows: Trains the rival that sees every training row's label.
    """

    experiment: Experiment
    world: World
    policy: AnyPolicy
    states: Mapping[str, Mapping[str, Tensor]]
    untrained: Callable[[], AnyPolicy]
    train_all_rows: Callable[[], AnyPolicy]

    def makers(self) -> dict[str, Maker]:
        """Everybody by name, made when their turn comes; None: there is nothing to compare."""
        found = self._baselines()
        if self.experiment.sft.epochs:
            found |= self._trained("sft")
            found |= (
                self._written() if isinstance(self.policy, TextPolicy) else self._stopping_rules()
            )
        if self.experiment.ppo.iterations:
            found |= self._trained("ppo")
        return found

    def _baselines(self) -> dict[str, Maker]:
        wanted, test = self.experiment.evaluation.rivals, self.world.test
        found: dict[str, Maker] = {}
        writes = isinstance(self.policy, TextPolicy)
        if "random" in wanted and not writes:
            rule = test.heuristics.get("random")
            uniform = RandomActor(test.action_space, len(test.special_actions))
            found["random"] = lambda: RuleActor(rule) if rule else uniform
        if "heuristics" in wanted:
            for name, heuristic in test.heuristics.items():
                if name != "random":
                    found[name] = partial(RuleActor, heuristic)
        if "expert" in wanted and self._may_be_expert(found):
            found["expert"] = ExpertActor
        if "zero_shot" in wanted and writes:
            found["zero_shot"] = lambda: actor_of(self.untrained())
        if isinstance(self.policy, Policy):
            spec = self.policy.spec.observation
            if "cosine" in wanted and spec.max_candidates and spec.num_slots:
                found["cosine"] = lambda: CosineActor(cast(Policy, self.untrained()))
            if self.experiment.evaluation.likelihood_model and spec.max_candidates:
                found["likelihood"] = partial(self._likelihood, spec)
        return found

    def _may_be_expert(self, found: Mapping[str, Maker]) -> bool:
        """Whether the environment's expert is called up; `judge_all` asks whether it acts.

        A heuristic of that name gives way to an expert of all rows alone.
        """
        seed = self.experiment.seed
        return "expert" not in found or has_expert_everywhere(self.world.test, seed)

    def _likelihood(self, spec: ObservationSpec) -> Actor:
        section = self.experiment.evaluation
        assert section.likelihood_model is not None
        device = resolve_device(self.experiment.backbone.device)
        return load_likelihood_actor(
            section.likelihood_model, spec, section.likelihood_score, device
        )

    def _written(self) -> dict[str, Maker]:
        """The best of several responses of SFT, as the judge itself scores them."""
        count = self.experiment.evaluation.best_of
        if "best_of_n" not in self.experiment.evaluation.rivals:
            return {}
        sampled = partial(self._sampled, "sft")
        return {f"sft_best_of_{count}": lambda: BestOf(sampled(), count)}

    def _sampled(self, stage: str) -> Actor:
        """The policy of a stage, drawing; PPO's KL to SFT's is measured on the way."""
        reference = self._reference if stage == "ppo" else None
        return actor_of(self._policy_of(stage), greedy=False, reference=reference)

    def _greedy(self, stage: str) -> Actor:
        """The policy of a stage at its most probable; a writer's KL says little there."""
        is_written = isinstance(self.policy, TextPolicy)
        reference = self._reference if stage == "ppo" and not is_written else None
        return actor_of(self._policy_of(stage), reference=reference)

    def _trained(self, stage: str) -> dict[str, Maker]:
        return {
            stage: partial(self._greedy, stage),
            f"{stage}_sampled": partial(self._sampled, stage),
        }

    @property
    def _reference(self) -> Reference | Mapping[str, Tensor] | None:
        """SFT's policy, to be told beside PPO's; None where there was no SFT."""
        if isinstance(self.policy, TextPolicy):
            start = "backbone."
            sft = self.states["sft"].items()
            return {k.removeprefix(start): v for k, v in sft if k.startswith(start)}
        if not self.experiment.sft.epochs:
            return None
        return Reference(self._sft_policy)

    def _policy_of(self, stage: str) -> AnyPolicy:
        self.policy.load_state(self.states[stage])
        return self.policy

    def _stopping_rules(self) -> dict[str, Maker]:
        wanted = self.experiment.evaluation.rivals
        rules = {
            "threshold": ("sft_threshold", fit_threshold),
            "threshold_by_state": ("sft_threshold_by_state", fit_threshold_by_state),
            "dp": ("sft_dp", fit_plug_in_dp),
        }
        if not self.policy.spec.special_actions:
            return {}
        found: dict[str, Maker] = {
            name: partial(self._stopping, fit)
            for key, (name, fit) in rules.items()
            if key in wanted
        }
        if "special_bias" in wanted:
            found["sft_special_bias"] = self._biased
        if self.experiment.sft.demonstrations is None:
            if "all_rows_dp" in wanted:
                found["all_rows_dp"] = partial(self._stopping_on_all_rows, fit_plug_in_dp)
            if "all_rows_special_bias" in wanted:
                bias = partial(self._stopping_on_all_rows, fit_threshold, odds=True)
                found["all_rows_special_bias"] = bias
        return found

    def _stopping(self, fit: Callable[[StoppingRecord], StoppingRule]) -> Actor | None:
        record = self._sft_record
        if record is None:
            return None
        return StoppingActor(self._sft_policy, fit(record))

    def _biased(self) -> Actor | None:
        """SFT with the best bias of its special action: a threshold on the odds against it."""
        policy = self._sft_policy
        record = self._record(policy, odds=True)
        if record is None:
            return None
        return StoppingActor(policy, fit_threshold(record), odds=True)

    def _stopping_on_all_rows(
        self, fit: Callable[[StoppingRecord], StoppingRule], *, odds: bool = False
    ) -> Actor | None:
        if self._sft_record is None:
            return None
        policy = self._all_rows_policy
        record = self._record(policy, odds)
        return None if record is None else StoppingActor(policy, fit(record), odds)

    @cached_property
    def _all_rows_policy(self) -> Policy:
        return cast(Policy, self.train_all_rows())

    @property
    def _sft_policy(self) -> Policy:
        return cast(Policy, self._policy_of("sft"))

    @cached_property
    def _sft_record(self) -> StoppingRecord | None:
        record = self._record(self._sft_policy)
        if record is None:
            log.info("a special action does not end an episode here: no stopping rules to compare")
        return record

    def _record(self, policy: Policy, odds: bool = False) -> StoppingRecord | None:
        slots = self.world.validation
        plans = validation_plans(slots, self.experiment.seed)
        return record_stopping(policy, slots, plans, odds)


def judge_all(
    work: Work, experiment: Experiment, world: World, actors: Actors
) -> dict[str, list[Episode]]:
    """Play the test split with everybody and write an episodes file for each.

    The environment's expert is left out unless it acts in every row of the split.
    """
    plans = plan_split(world.test, experiment.seed, "test", experiment.evaluation.episodes)
    judged: dict[str, list[Episode]] = {}
    makers = actors.makers()
    for number, (name, make) in enumerate(makers.items()):
        work.progress(number, len(makers), name)
        work.heed_signals()
        actor = make()
        if isinstance(actor, ExpertActor) and not has_expert_everywhere(
            world.test, experiment.seed, _begun_with_expert(judged)
        ):
            actor = None
        if actor is not None:
            judged[name] = _judge(work.path, experiment, world, plans, "test", name, actor)
    work.progress(len(makers), len(makers))
    return judged


def _begun_with_expert(judged: Mapping[str, Sequence[Episode]]) -> dict[int, bool]:
    """Of rows that somebody has played, whether they began with an expert action."""
    return {
        episode.row: episode.steps[0].expert_action is not None
        for episodes in judged.values()
        for episode in episodes
        if episode.row is not None
    }


def judge_one(
    path: Path,
    experiment: Experiment,
    split: str,
    name: str,
    policy: AnyPolicy | None,
    moments: Moments | None = None,
) -> str:
    """Play one policy of a finished run on a split; gives a line with its return.

    Args:
        path: The run's folder; the episodes go into it.
        experiment: Its configuration.
        split: Which rows.
        name: `ppo`, `sft`, `random`, `expert` or a heuristic of the task.
        policy: The loaded policy where it is one.
        moments: What the running scales of its reward were held at.
    """
    world = make_world(experiment)
    slots = world.slots(split)
    slots.set_reward_phase(1.0, moments or {})
    rules: dict[str, Actor] = {n: RuleActor(rule) for n, rule in slots.heuristics.items()}
    rules.setdefault("random", RandomActor(slots.action_space, len(slots.special_actions)))
    asked = policy is None and (name == "expert" or name not in rules)
    if asked and has_expert_everywhere(slots, experiment.seed):
        rules["expert"] = ExpertActor()
    if policy is None and name not in rules:
        known = ", ".join(["ppo", "sft", *sorted(rules)])
        raise InputError(f"--policy: got {name!r}, expected one of {known}")
    actor = actor_of(policy) if policy is not None else rules[name]
    plans = plan_split(slots, experiment.seed, split, experiment.evaluation.episodes)
    episodes = _judge(path, experiment, world, plans, split, name, actor)
    world.close()
    returns = [episode.return_ for episode in episodes]
    groups = [episode.group or episode.episode_id for episode in episodes]
    low, high = bootstrap_interval(np.array(returns), groups)
    mean = sum(returns) / len(returns)
    figures = f"{mean:.3f} [{low:.3f}, {high:.3f}]"
    return f"{name} on {split}: mean return {figures}, {len(returns)} episodes"


def _judge(
    path: Path,
    experiment: Experiment,
    world: World,
    plans: Sequence[EpisodePlan],
    split: str,
    name: str,
    actor: Actor,
) -> list[Episode]:
    rng = generator(experiment.seed, "evaluation", split, name)
    label = Label(name, split, experiment.seed)
    keep_texts = name in experiment.logging.full_episodes
    games = actor.count if isinstance(actor, BestOf) else 1
    played = [
        play(actor, world.slots(split), plans, label, rng=rng, keep_texts=keep_texts)
        for _ in range(games)
    ]
    episodes = [max(row, key=lambda e: e.return_) for row in zip(*played, strict=True)]
    folder = path / "episodes"
    folder.mkdir(exist_ok=True)
    header = {
        "task": experiment.task.id,
        "split": split,
        "policy": name,
        "same_rows": world.same_rows,
    }
    write_episodes(folder / f"{split}-{name}.jsonl", episodes, header)
    return episodes


def log_report(
    work: Work, experiment: Experiment, report: dict[str, Any], episodes: dict[str, list[Episode]]
) -> None:
    """The report's figures and pictures and a few episodes for TensorBoard."""
    for name, figures in report["policies"].items():
        scalars = _scalars(figures)
        work.logger.log("evaluate", 0, {f"eval/{name}/{key}": v for key, v in scalars.items()})
    for name in experiment.logging.full_episodes:
        digest = episodes_digest(episodes.get(name, []), experiment.logging.digest_episodes)
        if digest:
            work.logger.log_text("evaluate", 0, f"episodes/{name}", digest)
    if report["texts"]:
        work.logger.log_text("evaluate", 0, "texts/ppo", render_texts(report["texts"]))
    for picture in sorted((work.path / "plots").glob("*.png")):
        path = picture.relative_to(work.path).as_posix()
        work.logger.log_image("evaluate", 0, f"plots/{picture.stem}", path)
    names = [f"eval/{name}/mean_return" for name in report["policies"]]
    work.logger.hparams(hyperparameters(experiment), names)


def _scalars(figures: Mapping[str, Any]) -> dict[str, float]:
    """One policy's entry of the report as flat figures."""
    scalars = {
        "mean_return": figures["mean_return"],
        "ci_low": figures["ci95"][0],
        "ci_high": figures["ci95"][1],
        "episodes": figures["episodes"],
        "mean_length": figures["mean_length"],
    }
    if figures["accuracy"] is not None:
        scalars["accuracy"] = figures["accuracy"]
    if figures["kl_to_sft"] is not None:
        scalars["kl_to_sft"] = figures["kl_to_sft"]
    shares = {f"action_share/{one_part(n)}": v for n, v in figures["action_shares"].items()}
    return (
        scalars | shares | {f"component/{one_part(n)}": v for n, v in figures["components"].items()}
    )


def hyperparameters(experiment: Experiment) -> dict[str, Any]:
    """The options of the training stages, flat, for the HParams tab."""
    sections = ["backbone", "policy", "sft", "ppo"]
    if experiment.generation != GenerationConfig():
        sections.append("generation")
    return {
        f"{section}.{key}": value if isinstance(value, int | float | str | bool) else str(value)
        for section in sections
        for key, value in getattr(experiment, section).model_dump().items()
    } | {"seed": experiment.seed}
