"""A contender: this project's PPO over the given rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from contest import Clock, Figures, Settings, contender_main
from gymnasium.envs.registration import register
from rows import WIDTH, PickRight, Rows

from strategy_rl.assembly import ppo_plan
from strategy_rl.collector import StepCollector
from strategy_rl.config import PPOConfig
from strategy_rl.env import EnvSlots, make_slots
from strategy_rl.features import TextTable
from strategy_rl.policy import Policy, PolicySpec
from strategy_rl.policy.network import NetworkSizes
from strategy_rl.policy.pairs import num_pair_features
from strategy_rl.policy.spaces import action_spec, observation_spec
from strategy_rl.ppo import Task, ppo_state, train_ppo
from strategy_rl.reference import Reference
from strategy_rl.rollout import Rollout
from strategy_rl.seeding import generator, seed_torch
from strategy_rl.training import Silent
from strategy_rl.updates import DecisionMethod

TASK = "PickRight-v0"


class GivenVectors:
    """Stands for a frozen backbone and its cache; asked once, for all texts in their order."""

    is_frozen = True
    hidden_size = WIDTH
    device = torch.device("cpu")

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = torch.from_numpy(vectors)

    def features(self, texts: Sequence[str], progress: object = None) -> torch.Tensor:
        """Vectors of the texts, (N, 384)."""
        vectors, self.vectors = self.vectors, torch.empty(0)
        assert len(texts) == len(vectors)
        return vectors

    def trainable_parameters(self) -> list[torch.nn.Parameter]:
        """None: it is frozen."""
        return []

    def save_trainable(self) -> dict[str, torch.Tensor]:
        """Nothing."""
        return {}

    def load_trainable(self, state: Mapping[str, torch.Tensor]) -> None:
        """Nothing to load."""


class Timed(Silent):
    """Hooks that tell the clock when a round is over."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """A round is over."""
        self.clock.round_over(scalars["rollout/return_mean"])


def ppo_config(settings: Settings) -> PPOConfig:
    """The settings as a `ppo` section; whatever they do not name is as the product has it."""
    names = ("iterations", "num_envs", "num_steps", "epochs", "minibatch_size", "kl_coef")
    names += ("freeze_projections", "representation_epochs")
    given = {name: getattr(settings, name) for name in names}
    given |= {"rollout": "steps", "evaluate_every": settings.iterations}
    return PPOConfig.model_validate(given)


def make_table(rows: Rows) -> TextTable:
    """A table that holds every text."""
    given = GivenVectors(rows.vectors())
    table = TextTable(given, given)  # type: ignore[arg-type]  # all that a table asks of either
    table.prepare(rows.all_names)
    return table


def make_policy(slots: EnvSlots, table: TextTable, pair_features: bool) -> Policy:
    """A fresh policy: 384 to 64, then 64-64."""
    action = action_spec(slots.action_space)
    observation = observation_spec(slots.observation_space, action, context_turns=1)
    num_pairs = num_pair_features(table, observation.num_slots) if pair_features else 0
    sizes = NetworkSizes(WIDTH, num_pairs, 64, (64, 64))
    seed_torch(0)
    return Policy(PolicySpec(observation, action, sizes, pair_features=pair_features), table)


def measure(settings: Settings) -> Figures:
    """Train and time the rounds."""
    torch.set_num_threads(1)
    rows = Rows(settings.num_rows, settings.num_candidates, settings.pool)
    register(TASK, entry_point=lambda **_: PickRight(rows))
    slots = make_slots(TASK, {}, settings.num_envs)
    policy = make_policy(slots, make_table(rows), settings.pair_features)
    config = ppo_config(settings)
    steps = StepCollector(policy, slots, ppo_plan(list(range(rows.num_rows)), seed=0))
    steps.restart(0)

    def collect(iteration: int) -> Rollout:
        return steps.collect(settings.num_steps, generator(0, "actions", iteration))

    clock = Clock(settings.decisions)
    reference = Reference(policy) if settings.kl_coef else None
    method = DecisionMethod(policy, reference)
    task = Task(collect, validate=lambda: {"return": 0.0}, method=method)
    state = ppo_state(policy, config, backbone_learning_rate=0.0)
    train_ppo(policy, task, config, seed=0, hooks=Timed(clock), state=state)
    return clock.figures()


if __name__ == "__main__":
    contender_main(measure)
