"""The rules of what an environment offers beyond episodes: constructor, rows, heuristics."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator

from strategy_rl_envs.testing.faults import Faults, Replay
from strategy_rl_envs.testing.play import Player, make_chooser
from strategy_rl_envs.testing.rules import Result

Make = Callable[..., gymnasium.Env[Any, Any]]
SPLITS = ("train", "validation", "test")


def check_rows(player: Player, faults: Faults, seed: int) -> None:
    """`num_rows`, `row_groups` and `reset(options={"row": i})`."""
    env = player.env
    num_rows = getattr(env.unwrapped, "num_rows", None)
    if num_rows is None:
        return
    if type(num_rows) is not int or num_rows < 1:
        faults.note("num_rows", f"expected an int of at least 1, got {num_rows!r}")
        return
    groups = getattr(env.unwrapped, "row_groups", None)
    listed = isinstance(groups, Sequence) and [type(group) for group in groups]
    if groups is not None and listed != [str] * num_rows:
        faults.note("row_groups", f"expected {num_rows} texts, one a row")
    for row in {0, num_rows // 2, num_rows - 1}:
        results, replay = player.play(make_chooser(env, "random", seed), seed, {"row": row})
        if results and results[0].info.get("row") != row:
            seen = f"info says row {results[0].info.get('row')!r} instead of {row}"
            faults.note("row option", seen, replay)
    for row in (-1, num_rows):
        _check_row_refused(env, faults, Replay(seed, {"row": row}), num_rows)


def _check_row_refused(
    env: gymnasium.Env[Any, Any], faults: Faults, replay: Replay, num_rows: int
) -> None:
    try:
        env.reset(seed=replay.seed, options=dict(replay.options or {}))
    except IndexError as error:
        if str(num_rows - 1) not in str(error):
            faults.note("row option", f"the IndexError does not tell the range: {error}", replay)
    except Exception as error:
        faults.note("row option", f"expected IndexError, got {type(error).__name__}", replay)
    else:
        faults.note("row option", "a row outside the range is accepted", replay)


def check_heuristics(player: Player, faults: Faults, seed: int) -> None:
    """Each heuristic plays two episodes of legal actions and leaves the observation alone."""
    heuristics = getattr(player.env.unwrapped, "heuristics", {})
    if not isinstance(heuristics, Mapping):
        faults.note("heuristics", f"expected a mapping, got {type(heuristics).__name__}")
        return
    for name, heuristic in heuristics.items():
        choose = partial(_ask_heuristic, name, heuristic, np.random.default_rng(seed), faults)
        for number in range(2):
            player.play(choose, seed + number)


def _ask_heuristic(
    name: str,
    heuristic: Callable[[Any, np.random.Generator], Any],
    rng: np.random.Generator,
    faults: Faults,
    result: Result,
) -> Any:
    before = deepcopy(result.obs)
    action = heuristic(result.obs, rng)
    if repr(before) != repr(result.obs):
        faults.note("heuristics", f"{name!r} changes the observation")
    if action is None:
        faults.note("heuristics", f"{name!r} gave None instead of an action")
    return action


def check_constructor(make: Make, faults: Faults, seed: int) -> None:
    """`split=` and `reward=`, where the constructor has them."""
    parameters = inspect.signature(_creator(make())).parameters
    if "split" in parameters:
        for split in SPLITS:
            for seen in _raised(lambda split=split: make(split=split)):  # type: ignore[misc]
                faults.note("split", f"split={split!r} raised {seen}")
        _check_refused(make, faults, "split", "no_such_split")
    if "reward" in parameters:
        _check_refused(make, faults, "reward", [{"name": "no_such_component"}])
        _check_reward_weight(make, faults, seed)


def _creator(env: gymnasium.Env[Any, Any]) -> Callable[..., Any]:
    """What was registered: the class, or a function that makes the environment."""
    entry = env.spec.entry_point if env.spec is not None else None
    if isinstance(entry, str):
        return load_env_creator(entry)
    return entry if entry is not None else type(env.unwrapped)


def _check_refused(make: Make, faults: Faults, argument: str, value: Any) -> None:
    try:
        make(**{argument: value})
    except ValueError:
        return
    except Exception as error:
        seen = f"{value!r} raised {type(error).__name__}; expected a ValueError"
        faults.note(argument, seen)
    else:
        faults.note(argument, f"{value!r} is accepted")


def _check_reward_weight(make: Make, faults: Faults, seed: int) -> None:
    """The reward of one component alone doubles with its weight, step by step."""
    env = make()
    env.action_space.seed(seed)
    action = env.action_space.sample()
    for name in _first_step(env, action, seed)[4].get("reward_components", {}):
        rewards = []
        for weight in (1.0, 2.0):
            try:
                env = make(reward=[{"name": name, "weight": weight}])
                rewards.append(float(_first_step(env, action, seed)[1]))
            except Exception as error:
                seen = f"{name!r} alone raised {type(error).__name__}: {error}"
                faults.note("reward", seen, Replay(seed, None, [action]))
                return
        if rewards[1] != 2 * rewards[0]:
            seen = f"{name!r} gave {rewards[0]} at weight 1 and {rewards[1]} at weight 2"
            faults.note("reward", seen, Replay(seed, None, [action]))


def _first_step(env: gymnasium.Env[Any, Any], action: Any, seed: int) -> Any:
    env.reset(seed=seed)
    return env.step(action)


def _raised(call: Callable[[], object]) -> Iterator[str]:
    try:
        call()
    except Exception as error:
        yield f"{type(error).__name__}: {error}"
