"""Trains an experiment file in memory: what a run does between its folder and its report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from strategy_rl.assembly import ppo_plan
from strategy_rl.collector import collect_episodes
from strategy_rl.config import load_experiment
from strategy_rl.env import EnvSlots
from strategy_rl.evaluation import greedy_return
from strategy_rl.policy import Policy
from strategy_rl.ppo import Task, ppo_state, train_ppo
from strategy_rl.reference import Reference
from strategy_rl.rollout import EpisodePlan
from strategy_rl.seeding import generator
from strategy_rl.sft import sft_state, train_sft
from strategy_rl.stages import Stages
from strategy_rl.stages.rounds import collector
from strategy_rl.training import Silent
from strategy_rl.updates import DecisionMethod

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


class Learnt(NamedTuple):
    """What training left, and where to try it."""

    policy: Policy
    slots: EnvSlots
    logs: list[dict[str, float]]

    def value(self, obs: Any) -> float:
        """V of an observation."""
        return self.policy.act(obs).value

    def greedy(self, episodes: int = 100) -> float:
        """Mean return of the greedy policy."""
        return greedy_return(self.policy, self.slots, _plans(episodes))

    def sampled(self, episodes: int = 100) -> float:
        """Mean return of the sampled policy."""
        rng = generator(0, "test")
        played = collect_episodes(self.policy, self.slots, _plans(episodes), rng)
        return float(played.episode_returns.mean())


def _plans(episodes: int) -> list[EpisodePlan]:
    return [EpisodePlan(10**6 + number) for number in range(episodes)]


def learn(name: str, overrides: Sequence[str] = ()) -> Learnt:
    """Train as `experiments/<name>.yaml` says: SFT from its file, if any, then PPO."""
    experiment = load_experiment(EXPERIMENTS / f"{name}.yaml", list(overrides))
    stages = Stages(experiment)
    policy, seed = stages.policy, stages.seed
    if "file" in stages.teaching.raw:
        _imitate(stages)
    state = ppo_state(policy, experiment.ppo, experiment.backbone.learning_rate)
    logs: list[dict[str, float]] = []
    hooks = Silent()
    hooks.log = lambda step, scalars: logs.append(dict(scalars))  # type: ignore[method-assign]
    task = Task(
        collect=collector(
            experiment, stages.world.train, policy, ppo_plan(None, seed), state.counters
        ),
        validate=lambda: {"return": 0.0},  # of equals the last one stays
        method=DecisionMethod(policy, Reference(policy) if experiment.ppo.kl_coef else None),
    )
    train_ppo(policy, task, experiment.ppo, seed=seed, hooks=hooks, state=state)
    return Learnt(policy, stages.world.validation, logs)


def _imitate(stages: Stages) -> None:
    config, policy = stages.experiment.sft, stages.policy
    found = stages.teaching.raw["file"].encode(policy)
    demonstrations, validation = stages.teaching.with_validation(policy, found)
    state = sft_state(policy, config, 0.0)
    train_sft(
        policy, demonstrations, validation, config, seed=stages.seed, hooks=Silent(), state=state
    )
