"""Plays a split with whoever is judged, all on the same rows, and writes the episodes.

Knows actors and environments; not how a policy was trained, nor what a report makes of episodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from strategy_rl.actors import Actor, ExpertActor, RandomActor, RuleActor, actor_of
from strategy_rl.assembly import World, has_expert_everywhere, make_world
from strategy_rl.config import Experiment
from strategy_rl.env import Moments
from strategy_rl.episodes import Episode, write_episodes
from strategy_rl.errors import InputError
from strategy_rl.evaluation import Label, plan_split, play
from strategy_rl.generation import AnyPolicy
from strategy_rl.judging.contestants import Actors, BestOf
from strategy_rl.judging.work import Work
from strategy_rl.report import bootstrap_interval
from strategy_rl.rollout import EpisodePlan
from strategy_rl.seeding import generator


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
