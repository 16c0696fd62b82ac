"""Small policies and environments that the tests of the core share."""

from collections.abc import Callable, Mapping
from itertools import count
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from strategy_rl.assembly import backbone_settings, make_policy
from strategy_rl.backbone import load_backbone
from strategy_rl.collector import collect_episodes
from strategy_rl.config import BackboneConfig, Experiment, PolicyConfig, PPOConfig, TaskConfig
from strategy_rl.env import EnvSlots, make_slots
from strategy_rl.features import TextTable
from strategy_rl.policy import Policy
from strategy_rl.ppo import Task, ppo_state, train_ppo
from strategy_rl.reference import Reference
from strategy_rl.rollout import EpisodePlan, Rollout
from strategy_rl.seeding import generator
from strategy_rl.training import Silent
from strategy_rl.updates import DecisionMethod
from strategy_rl_envs.kit.selection import selection_mask, selection_spaces

WORDS = ("red", "blue", "green", "black", "white", "brown")


def policy_of(
    observation_space: gymnasium.Space[Any],
    action_space: gymnasium.Space[Any],
    *,
    special_actions: tuple[str, ...] = (),
    train: str | None = None,
    **sizes: Any,
) -> Policy:
    """A small fresh policy over two spaces; `train` names how `random:tiny` reads its texts."""
    backbone = BackboneConfig(model=train and "random:tiny", train=train or "frozen", max_tokens=16)
    table = None
    if train is not None:
        table = TextTable(load_backbone("random:tiny", backbone_settings(backbone)))
    sizes = {"hidden_sizes": (16, 16), "projection_size": 8, "context_turns": 2, **sizes}
    experiment = Experiment(
        name="toy", task=TaskConfig(id="toy"), backbone=backbone, policy=PolicyConfig(**sizes)
    )
    slots = SimpleNamespace(
        observation_space=observation_space,
        action_space=action_space,
        special_actions=special_actions,
    )
    return make_policy(experiment, slots, table)  # type: ignore[arg-type]


def selection_policy(num_special: int = 1, train: str = "frozen", **sizes: Any) -> Policy:
    """A policy that scores up to four candidates and knows special actions."""
    names = ("hand_over", "abstain")[:num_special]
    given = selection_spaces(4, num_special, state_size=1, max_chars=32)
    return policy_of(*given, special_actions=names, train=train, **sizes)


def question(*candidates: str, context: tuple[str, ...] = ("red",), state: float = 0.5) -> Any:
    """An observation of `selection_policy()`."""
    return {
        "context": context,
        "candidates": candidates,
        "state": np.array([state], np.float32),
        "action_mask": selection_mask(len(candidates), 4, (True,)),
    }


@torch.no_grad()
def stir(policy: Policy, scale: float = 0.3, seed: int = 0) -> Policy:
    """Move every weight: a fresh head says nearly the same of everything, which hides faults."""
    draw = torch.Generator().manual_seed(seed)
    for parameter in policy.parameters():
        parameter += scale * torch.randn(parameter.shape, generator=draw)
    return policy


def numbers_policy(inputs: int = 1, actions: int = 2, **sizes: Any) -> Policy:
    """A policy from a few numbers to a few actions."""
    return policy_of(spaces.Box(-np.inf, np.inf, (inputs,)), spaces.Discrete(actions), **sizes)


class Counter(gymnasium.Env[Any, Any]):
    """Counts: the observation is seed / 10 + steps taken / 100; rewards are 1, 2, 3, ...

    Episodes of an even seed terminate after `length` steps, those of an odd seed are truncated.
    """

    observation_space = spaces.Box(0, np.inf, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, length: int = 3) -> None:
        self.length = length

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self.seed, self.steps, self.options = seed or 0, 0, options
        return self.observe()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        obs, info = self.observe()
        ended, even = self.steps == self.length, self.seed % 2 == 0
        info["reward_components"] = {"base": float(self.steps), "seed": 0.0}
        return obs, float(self.steps), ended and even, ended and not even, info

    def observe(self) -> tuple[Any, dict[str, Any]]:
        """The count, and one legal action that changes from step to step."""
        mask = np.zeros(2, np.int8)
        mask[self.steps % 2] = 1
        return np.array([self.seed / 10 + self.steps / 100], np.float32), {"action_mask": mask}


def counters(num_slots: int, length: int = 3) -> EnvSlots:
    """Slots of `Counter`."""
    return EnvSlots(lambda: Counter(length), num_slots)


class Numbered(gymnasium.Env[Any, Any]):
    """One step; the observation is the episode's seed / 100; action 1 pays 1 more than action 0."""

    observation_space = spaces.Box(0, np.inf, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self.number = np.array([(seed or 0) / 100], np.float32)
        return self.number, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.number, float(action), True, False, {}


class Recorder(Silent):
    """Keeps what a loop logs: one dict a call."""

    def __init__(self) -> None:
        self.logs: list[dict[str, float]] = []

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        self.logs.append({"step": step, **scalars})


def train(
    policy: Policy,
    slots: EnvSlots | None = None,
    *,
    collect: Callable[[int], Rollout] | None = None,
    validate: Callable[[], float] | None = None,
    reference: Reference | None = None,
    **options: Any,
) -> list[dict[str, float]]:
    """PPO on one rollout of 24 numbered episodes an iteration; gives what was logged.

    Without `validate` the last weights stay.
    """
    plain = {"kl_coef": 0.0, "entropy_coef": 0.0, "minibatch_size": 8, "iterations": 2, "epochs": 2}
    config = PPOConfig(**{**plain, "evaluate_every": 1, **options})
    slots = slots or EnvSlots(Numbered, 4)
    recorder, rising = Recorder(), count()

    def episodes(iteration: int) -> Rollout:
        plans = [EpisodePlan(24 * iteration + i) for i in range(24)]
        return collect_episodes(policy, slots, plans, generator(0, "toy", iteration))

    task = Task(
        collect=collect or episodes,
        validate=lambda: {"return": validate() if validate else float(next(rising))},
        method=DecisionMethod(policy, reference),
    )
    state = ppo_state(policy, config, backbone_learning_rate=1e-3)
    train_ppo(policy, task, config, seed=0, hooks=recorder, state=state)
    return recorder.logs


def rollout_of(policy: Policy, task: Any = Numbered, episodes: int = 24, seed: int = 0) -> Rollout:
    """Sampled episodes of `Numbered` or of a probe."""
    if callable(task):
        slots = EnvSlots(task, 4)
    else:
        slots = make_slots(f"strategy_rl_envs:strategy_rl/Probe{task}-v0", {}, 4)
    plans = [EpisodePlan(number) for number in range(episodes)]
    return collect_episodes(policy, slots, plans, np.random.default_rng(seed))


def moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    """Names of the tensors that changed."""
    return {name for name, tensor in after.items() if not tensor.equal(before[name])}
