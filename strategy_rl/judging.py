"""The last look: every policy and every rival on the same rows of a split."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from strategy_rl.assembly import World, has_expert, make_world, validation_plans
from strategy_rl.collector import EpisodePlan
from strategy_rl.config import Experiment
from strategy_rl.env import EnvSlots
from strategy_rl.episodes import Episode, write_episodes
from strategy_rl.errors import InputError
from strategy_rl.evaluation import (
    Actor,
    ExpertActor,
    Label,
    PolicyActor,
    RandomActor,
    RuleActor,
    plan_split,
    play,
)
from strategy_rl.logger import MetricsLogger, episode_digest
from strategy_rl.policy import Policy
from strategy_rl.report import bootstrap_interval
from strategy_rl.rivals import (
    CosineActor,
    StoppingActor,
    StoppingRecord,
    fit_plug_in_dp,
    fit_threshold,
    fit_threshold_by_state,
    record_stopping,
)
from strategy_rl.seeding import generator

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
    policy: Policy
    states: Mapping[str, Mapping[str, Tensor]]
    untrained: Callable[[], Policy]
    train_all_rows: Callable[[], Policy]

    def __iter__(self) -> Iterator[tuple[str, Actor]]:
        yield from self._baselines()
        if self.experiment.sft.epochs:
            self.policy.load_state(self.states["sft"])
            yield "sft", PolicyActor(self.policy)
            yield "sft_sampled", PolicyActor(self.policy, greedy=False)
            yield from self._stopping_rules()
        if self.experiment.ppo.iterations:
            self.policy.load_state(self.states["ppo"])
            yield "ppo", PolicyActor(self.policy)
            yield "ppo_sampled", PolicyActor(self.policy, greedy=False)

    def _baselines(self) -> Iterator[tuple[str, Actor]]:
        wanted, test = self.experiment.evaluation.rivals, self.world.test
        if "random" in wanted:
            rule = test.heuristics.get("random")
            yield "random", RuleActor(rule) if rule else RandomActor(test.action_space)
        if "heuristics" in wanted:
            for name, rule in test.heuristics.items():
                if name != "random":
                    yield name, RuleActor(rule)
        if "expert" in wanted and has_expert(test, self.experiment.seed):
            yield "expert", ExpertActor()
        spec = self.policy.spec.observation
        if "cosine" in wanted and spec.max_candidates and spec.num_slots:
            yield "cosine", CosineActor(self.untrained())

    def _stopping_rules(self) -> Iterator[tuple[str, Actor]]:
        wanted = set(self.experiment.evaluation.rivals)
        rules = {
            "threshold": ("sft_threshold", fit_threshold),
            "threshold_by_state": ("sft_threshold_by_state", fit_threshold_by_state),
            "dp": ("sft_dp", fit_plug_in_dp),
        }
        if not self.policy.spec.special_actions:
            return
        record = self._record(self.policy)
        if record is None:
            log.info("a special action does not end an episode here: no stopping rules to compare")
            return
        for key, (name, fit) in rules.items():
            if key in wanted:
                yield name, StoppingActor(self.policy, fit(record))
        if "all_rows_dp" in wanted and self.experiment.sft.demonstrations is None:
            policy = self.train_all_rows()
            record = self._record(policy)
            assert record is not None
            yield "all_rows_dp", StoppingActor(policy, fit_plug_in_dp(record))

    def _record(self, policy: Policy) -> StoppingRecord | None:
        slots = self.world.validation
        return record_stopping(policy, slots, validation_plans(slots, self.experiment.seed))


def judge_all(
    work: Work, experiment: Experiment, world: World, actors: Actors
) -> dict[str, list[Episode]]:
    """Play the test split with everybody and write an episodes file for each."""
    plans = plan_split(world.test, experiment.seed, "test", experiment.evaluation.episodes)
    judged: dict[str, list[Episode]] = {}
    for name, actor in actors:
        work.progress(len(judged), len(judged) + 1, name)
        work.heed_signals()
        judged[name] = _judge(work.path, experiment, world.test, plans, "test", name, actor)
    return judged


def judge_one(
    path: Path, experiment: Experiment, split: str, name: str, policy: Policy | None
) -> str:
    """Play one policy of a finished run on a split; gives a line with its return.

    Args:
        path: The run's folder; the episodes go into it.
        experiment: Its configuration.
        split: Which rows.
        name: `ppo`, `sft`, `random`, `expert` or a heuristic of the task.
        policy: The loaded policy where it is one.
    """
    world = make_world(experiment)
    slots = {"train": world.train, "validation": world.validation, "test": world.test}[split]
    rules: dict[str, Actor] = {n: RuleActor(rule) for n, rule in slots.heuristics.items()}
    rules.setdefault("random", RandomActor(slots.action_space))
    rules["expert"] = ExpertActor()
    if policy is None and name not in rules:
        known = ", ".join(["ppo", "sft", *sorted(rules)])
        raise InputError(f"--policy: got {name!r}, expected one of {known}")
    actor = PolicyActor(policy) if policy is not None else rules[name]
    plans = plan_split(slots, experiment.seed, split, experiment.evaluation.episodes)
    episodes = _judge(path, experiment, slots, plans, split, name, actor)
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
    slots: EnvSlots,
    plans: Sequence[EpisodePlan],
    split: str,
    name: str,
    actor: Actor,
) -> list[Episode]:
    episodes = play(
        actor,
        slots,
        plans,
        Label(name, split, experiment.seed),
        rng=generator(experiment.seed, "evaluation", split, name),
        keep_texts=name in experiment.logging.full_episodes,
    )
    folder = path / "episodes"
    folder.mkdir(exist_ok=True)
    header = {"task": experiment.task.id, "split": split, "policy": name}
    write_episodes(folder / f"{split}-{name}.jsonl", episodes, header)
    return episodes


def log_report(
    work: Work, experiment: Experiment, report: dict[str, Any], episodes: dict[str, list[Episode]]
) -> None:
    """The report's figures and a few episodes for TensorBoard."""
    for name, figures in report["policies"].items():
        scalars = {
            f"eval/{name}/mean_return": figures["mean_return"],
            f"eval/{name}/ci_low": figures["ci95"][0],
            f"eval/{name}/ci_high": figures["ci95"][1],
        }
        if figures.get("accuracy") is not None:
            scalars[f"eval/{name}/accuracy"] = figures["accuracy"]
        work.logger.log("evaluate", 0, scalars)
    for name in experiment.logging.full_episodes:
        for number, episode in enumerate(
            episodes.get(name, [])[: experiment.logging.digest_episodes]
        ):
            work.logger.log_text("evaluate", number, f"episodes/{name}", episode_digest(episode))
    names = [f"eval/{name}/mean_return" for name in report["policies"]]
    work.logger.hparams(hyperparameters(experiment), names)


def hyperparameters(experiment: Experiment) -> dict[str, Any]:
    """The options of the training stages, flat, for the HParams tab."""
    return {
        f"{section}.{key}": value if isinstance(value, int | float | str | bool) else str(value)
        for section in ("backbone", "policy", "sft", "ppo")
        for key, value in getattr(experiment, section).model_dump().items()
    } | {"seed": experiment.seed}
