"""A contender: this project's PPO on tokens; see token_ppo.py for what is measured."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import torch

from strategy_rl.backbone import BackboneSettings, LanguageModel, LoraSettings, load_language_model
from strategy_rl.collector import collect_episodes
from strategy_rl.config import PPOConfig
from strategy_rl.env import EnvSlots
from strategy_rl.generation import TextPolicy, TextPolicySpec
from strategy_rl.models import resolve_model
from strategy_rl.policy import BackboneSource
from strategy_rl.ppo import Task, ppo_state, train_ppo
from strategy_rl.rollout import EpisodePlan, Rollout
from strategy_rl.seeding import generator, seed_torch
from strategy_rl.token_updates import TokenMethod, TokenReference
from strategy_rl.training import Silent
from strategy_rl_envs.kit.text import UnicodeText

WARM_UP = 1


class Paid(gym.Env[str, str]):
    """One response an episode, paid by its length: the reward costs nothing."""

    observation_space = UnicodeText(10)
    action_space = UnicodeText(10_000)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """The prompt is given elsewhere."""
        super().reset(seed=seed)
        return "", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """The end."""
        return "", len(action) / 100, True, False, {}


class FixedPrompts(TextPolicy):
    """Every prompt has as many tokens as was asked for, and no response ends early."""

    prompt: Sequence[int] = ()

    def encode(self, observations: Sequence[Any]) -> list[list[int]]:
        """The same ids for all."""
        return [list(self.prompt) for _ in observations]


class Timed(Silent):
    """Notes when a round is over."""

    def __init__(self) -> None:
        self.marks: list[float] = []
        self.tokens: list[int] = []

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """A round is over."""
        self.marks.append(time.perf_counter())
        self.tokens.append(step)


class Stopwatch:
    """Adds up the seconds of the phases of a round."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def around(self, name: str, call: Any) -> Any:
        """The same function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                spent = time.perf_counter() - started
                self.seconds[name] = self.seconds.get(name, 0.0) + spent

        return timed


def make_model(settings: Mapping[str, Any]) -> LanguageModel:
    """The model, whose responses never end by themselves."""
    lora = LoraSettings(rank=8, target_modules=("q_proj", "k_proj", "v_proj", "o_proj"))
    backbone = BackboneSettings(
        train=settings["train"], last_n=settings["last_n"], lora=lora, dtype=settings["dtype"]
    )
    model = load_language_model(resolve_model(settings["model"]), backbone)
    model.end_ids = ()
    return model


def measure(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train and time the rounds; the first is a warm-up."""
    torch.set_num_threads(settings["threads"])
    seed_torch(0)
    model = make_model(settings)
    spec = TextPolicySpec(max_new_tokens=settings["new_tokens"])
    policy = FixedPrompts(spec, model, BackboneSource(settings["model"]))
    policy.prompt = list(range(100, 100 + settings["prompt_tokens"]))
    rows, rounds = settings["prompts"], settings["rounds"] + WARM_UP
    config = PPOConfig(
        iterations=rounds,
        episodes_per_iteration=rows,
        num_envs=rows,
        epochs=settings["epochs"],
        minibatch_size=rows,
        learning_rate=1e-5,
        entropy_coef=0.0,
        kl_coef=0.05,
        evaluate_every=rounds,
    )
    slots, watch, timed = EnvSlots(Paid, rows), Stopwatch(), Timed()

    def collect(iteration: int) -> Rollout:
        plans = [EpisodePlan(i) for i in range(rows)]
        return collect_episodes(policy, slots, plans, generator(0, "benchmark", iteration))

    method = TokenMethod(policy, TokenReference(policy), rows)
    for name in ("judge", "update"):
        object.__setattr__(method, name, watch.around(name, getattr(method, name)))
    task = Task(watch.around("generate", collect), validate=lambda: {"return": 0.0}, method=method)
    state = ppo_state(policy, config, backbone_learning_rate=1e-5)
    assert method.reference is not None
    state.twins = {f"backbone.{name}": t for name, t in method.reference.weights.items()}
    train_ppo(policy, task, config, seed=0, hooks=timed, state=state)
    seconds = timed.marks[-1] - timed.marks[WARM_UP - 1]
    return {
        "tokens_per_second": (timed.tokens[-1] - timed.tokens[WARM_UP - 1]) / seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "phases": {name: spent / rounds for name, spent in watch.seconds.items()},
        "learning_parameters": sum(p.numel() for p in policy.backbone_parameters()),
    }


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
