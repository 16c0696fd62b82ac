"""What the check-up looks at: steps of episodes that simple policies played on the same rows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import numpy as np

Facts = Mapping[str, Any]
Chooser = Callable[[Any, Mapping[str, Any]], Any]

REPEATS = 8  # samples of one row, to see how much its return varies
MIN_ROWS = 2
MAX_SECONDS = 15.0
MAX_EPISODE_STEPS = 200
RANDOM = "random"
EXPERT = "expert"


class Step(NamedTuple):
    """What the reward was given at one step, and what it gave, as a whole and in parts."""

    facts: Facts
    reward: float
    components: Mapping[str, float]
    values: Mapping[str, float | None]


@dataclass(frozen=True)
class Played:
    """One episode.

    Attributes:
        policy: Who played it.
        row: The data row, or the number of the start where the task has no rows.
        steps: What happened, up to where it ended or broke off.
        fault: Why it broke off; None where it did not.
    """

    policy: str
    row: int
    steps: tuple[Step, ...]
    fault: str | None = None

    @property
    def facts(self) -> tuple[Facts, ...]:
        """What the reward was given at each step."""
        return tuple(step.facts for step in self.steps)

    @property
    def return_(self) -> float:
        """Sum of the rewards, undiscounted."""
        return math.fsum(step.reward for step in self.steps)


def play_rows(env: gymnasium.Env[Any, Any], *, steps: int, seed: int) -> list[Played]:
    """Play rows, drawn without replacement, once by each policy and `REPEATS` times at random.

    Args:
        env: The environment; its infos hold `reward_inputs`.
        steps: No further row is begun after so many, nor after `MAX_SECONDS`, but `MIN_ROWS` are.
        seed: Of the rows and of all choices.
    """
    rng = np.random.default_rng(seed)
    env.action_space.seed(seed)
    num_rows = getattr(env.unwrapped, "num_rows", None)
    order = rng.permutation(num_rows).tolist() if num_rows else range(steps)
    played: list[Played] = []
    begun = time.perf_counter()
    for done, row in enumerate(order):
        taken = sum(len(episode.steps) for episode in played)
        late = taken >= steps or time.perf_counter() - begun > MAX_SECONDS
        if late and done >= MIN_ROWS:
            break
        options = {"row": int(row)} if num_rows else None
        for name, choose in _policies(env, rng):
            start = env.reset(seed=seed + int(row), options=options)
            if name == EXPERT and start[1].get("expert_action") is None:
                continue
            played.append(_play(env, name, int(row), choose, start))
    return played


def _play(
    env: gymnasium.Env[Any, Any], name: str, row: int, choose: Chooser, start: tuple[Any, Any]
) -> Played:
    steps: list[Step] = []
    obs, info = start
    fault = None
    for _ in range(MAX_EPISODE_STEPS):
        action = choose(obs, info)
        try:
            obs, reward, terminated, truncated, info = env.step(action)
        except Exception as error:  # a reward function failed: that is what is looked for
            fault = f"{type(error).__name__}: {error}"
            break
        fault = info.get("reward_dropped")
        if fault is not None:
            break
        facts = deepcopy(info.get("reward_inputs", {}))
        parts = info.get("reward_components", {}), info.get("reward_values", {})
        steps.append(Step(facts, float(reward), *parts))
        if terminated or truncated:
            break
    return Played(name, row, tuple(steps), fault)


def _policies(
    env: gymnasium.Env[Any, Any], rng: np.random.Generator
) -> Iterator[tuple[str, Chooser]]:
    """The expert, each heuristic, each special action, the first action, chance."""
    yield EXPERT, partial(_expert, env, rng)
    for name, heuristic in getattr(env.unwrapped, "heuristics", {}).items():
        if name != RANDOM:
            yield name, partial(_heuristic, heuristic, rng)
    if isinstance(env.action_space, gymnasium.spaces.Discrete):
        special = getattr(env.unwrapped, "special_actions", ())
        for place, name in enumerate(special, start=int(env.action_space.n) - len(special)):
            yield f"always {name}", partial(_legal, env, rng, wanted=place)
        yield "first action", partial(_legal, env, rng, wanted=0)
    for _ in range(REPEATS):
        yield RANDOM, partial(_legal, env, rng)


def _expert(
    env: gymnasium.Env[Any, Any], rng: np.random.Generator, obs: Any, info: Mapping[str, Any]
) -> Any:
    known = info.get("expert_action")
    return _legal(env, rng, obs, info) if known is None else known


def _heuristic(
    heuristic: Callable[[Any, np.random.Generator], Any],
    rng: np.random.Generator,
    obs: Any,
    info: Mapping[str, Any],
) -> Any:
    return heuristic(obs, rng)


def _legal(
    env: gymnasium.Env[Any, Any],
    rng: np.random.Generator,
    obs: Any,
    info: Mapping[str, Any],
    wanted: int | None = None,
) -> Any:
    """The wanted action where it is legal, else a random one."""
    mask = obs.get("action_mask") if isinstance(obs, Mapping) else None
    mask = info.get("action_mask") if mask is None else mask
    if mask is None:
        return env.action_space.sample() if wanted is None else wanted
    if not isinstance(env.action_space, gymnasium.spaces.Discrete):
        return env.action_space.sample(mask)
    legal = np.flatnonzero(mask)
    return wanted if wanted in legal else int(rng.choice(legal))


def returns_by_row(episodes: Sequence[Played]) -> dict[int, list[float]]:
    """The returns of the episodes that did not break off."""
    found: dict[int, list[float]] = {}
    for episode in episodes:
        if episode.fault is None:
            found.setdefault(episode.row, []).append(episode.return_)
    return found


def spread_out(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly from all of them."""
    places = np.linspace(0, len(items), min(count, len(items)), endpoint=False).astype(int)
    return [items[place] for place in places]
