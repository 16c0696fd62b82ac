"""Plays whole episodes of an environment and checks every step of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import data_equivalence

from strategy_rl_envs.testing.faults import Faults, Replay
from strategy_rl_envs.testing.rules import (
    Result,
    action_mask,
    is_legal,
    is_usable_mask,
    result_faults,
)

Chooser = Callable[[Result], Any]
_STEPS_OF_ENDLESS = 200  # enough to look at the other rules
POLICIES = ("random", "first", "last", "expert")


class Player:
    """Plays episodes in one environment and notes each fault with what replays it.

    Args:
        env: the environment, as `gymnasium.make` gives it.
        faults: where faults are noted.
        max_steps: an episode that is longer never ends.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], faults: Faults, max_steps: int) -> None:
        self.env = env
        self.steps = 0
        self._faults = faults
        self._max_steps = max_steps

    def play(
        self, choose: Chooser, seed: int, options: Mapping[str, Any] | None = None
    ) -> tuple[list[Result], Replay]:
        """Play one episode; it is cut short where no further action can be found."""
        replay = Replay(seed, options)
        given: list[Result] = []
        copies: list[Result] = []
        with self._global_random_state_kept(replay):
            for result in self._results(choose, replay):
                given.append(result)
                copies.append(deepcopy(result))
                for rule, seen in result_faults(self.env, result):
                    self._faults.note(rule, seen, replay)
        self._compare_over_time(given, copies, replay)
        return copies, replay

    def _results(self, choose: Chooser, replay: Replay) -> Iterator[Result]:
        result = self._reset(replay)
        while result is not None:
            yield result
            if result.ended:
                return
            known_endless = self._faults.broken("ends")
            limit = min(self._max_steps, _STEPS_OF_ENDLESS) if known_endless else self._max_steps
            if len(replay.actions) == limit:
                seen = f"the episode has not ended after {limit} steps"
                self._faults.note("ends", seen, replay)
                return
            result = self._step(choose, result, replay)

    def _reset(self, replay: Replay) -> Result | None:
        options = None if replay.options is None else dict(replay.options)
        try:
            obs, info = self.env.reset(seed=replay.seed, options=options)
        except Exception as error:
            self._faults.note("reset", f"raised {_named(error)}", replay)
            return None
        if options is not None and options != replay.options:
            self._faults.note("reset", f"changed the caller's options to {options}", replay)
        return Result(obs, info)

    def _step(self, choose: Chooser, result: Result, replay: Replay) -> Result | None:
        mask = action_mask(result)
        if is_usable_mask(self.env, mask) and not mask.any():
            return None  # already noted: there is nothing to choose
        try:
            action = choose(result)
        except Exception as error:
            self._faults.note("policy", f"choosing an action raised {_named(error)}", replay)
            return None
        if action is None:  # the policy has nothing more to say
            return None
        replay.actions.append(action)
        if not is_legal(self.env, result, action):
            self._faults.note("policy", f"chose {action!r}, which is not legal", replay)
            return None
        self.steps += 1
        given = deepcopy(action)
        try:
            obs, reward, terminated, truncated, info = cast(Any, self.env).step(given)
        except Exception as error:
            self._faults.note("step", f"raised {_named(error)}", replay)
            return None
        if not _equal(given, action):
            self._faults.note("step", f"changed the caller's action to {given}", replay)
        if reward is None:
            self._faults.note("reward", "expected a number, got None", replay)
            return None
        return Result(obs, info, reward, terminated, truncated)

    def _compare_over_time(self, given: list[Result], copies: list[Result], replay: Replay) -> None:
        """Check what only a whole episode shows."""
        for number, (result, copy) in enumerate(zip(given, copies, strict=True)):
            if not _same(result, copy, ("obs", "info")):
                seen = f"what call {number} returned was changed by a later call; return copies"
                self._faults.note("returned data", seen, replay)
        self._find_shared(given, replay)
        keys = [_component_names(result) for result in copies[1:]]
        if any(names != keys[0] for names in keys):
            self._faults.note("reward_components", f"the keys change: {keys[:5]}", replay)
        last, limit = copies[-1] if copies else None, getattr(self.env.spec, "max_episode_steps", 0)
        if len(copies) == 2 and last and last.truncated and not last.terminated and limit != 1:
            seen = "the first step truncates; an episode of one decision ends by `terminated`"
            self._faults.note("truncated", seen, replay)
        rows = [result.info.get("row") for result in copies if isinstance(result.info, dict)]
        if any(row != rows[0] for row in rows):
            self._faults.note("row", f"changes within an episode: {rows[:5]}", replay)

    def _find_shared(self, given: list[Result], replay: Replay) -> None:
        """Note an array, list, dict or set that two calls of an episode returned both."""
        owners: dict[int, int] = {}
        for number, result in enumerate(given):
            for part in _mutable_parts((result.obs, result.info)):
                first = owners.setdefault(id(part), number)
                if first != number:
                    seen = (
                        f"calls {first} and {number} returned the same {type(part).__name__} "
                        f"object, so who changes one changes both; return copies: {part!r}"
                    )
                    self._faults.note("returned data", seen[:400], replay)
                    return

    @contextmanager
    def _global_random_state_kept(self, replay: Replay) -> Iterator[None]:
        before = _global_random_state()
        yield
        if before != _global_random_state():
            seen = "uses or seeds the global random generators; draw from self.np_random"
            self._faults.note("global random state", seen, replay)


def make_chooser(env: gymnasium.Env[Any, Any], policy: str, seed: int) -> Chooser:
    """Make one of `POLICIES`; where it has no say, it takes a random legal action."""
    rng = np.random.default_rng(seed)
    env.action_space.seed(seed)

    def choose(result: Result) -> Any:
        if policy == "expert" and result.info.get("expert_action") is not None:
            return result.info["expert_action"]
        mask = action_mask(result)
        if not is_usable_mask(env, mask):
            return env.action_space.sample()
        legal = np.flatnonzero(mask)
        return int({"first": legal[0], "last": legal[-1]}.get(policy, rng.choice(legal)))

    return choose


def _global_random_state() -> tuple[Any, ...]:
    state: Any = np.random.get_state()
    return random.getstate(), state[1].tobytes(), *state[2:]


def check_same(first: list[Result], second: list[Result]) -> str | None:
    """Say where two plays of the same seed and actions differ; None where they agree."""
    for number, (one, other) in enumerate(zip(first, second, strict=False)):
        if not _same(one, other, ("obs", "reward", "terminated", "truncated", "info")):
            return f"call {number} gave {one} and then {other}"
    if len(first) != len(second):
        return f"one play took {len(first) - 1} steps and the other {len(second) - 1}"
    return None


def _mutable_parts(value: Any) -> Iterator[Any]:
    if isinstance(value, np.ndarray | list | dict | set):
        yield value
    inner = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, Mapping | tuple | list):
        for item in inner:
            yield from _mutable_parts(item)


def _same(one: Result, other: Result, fields: tuple[str, ...]) -> bool:
    return all(_equal(getattr(one, name), getattr(other, name)) for name in fields)


def _equal(one: Any, other: Any) -> bool:
    """Compare exactly; NaN equals NaN, since it has its own rule."""
    if isinstance(one, float) and isinstance(other, float) and one != one and other != other:
        return True
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and one.dtype.kind == "f":
        return np.array_equal(one, other, equal_nan=True)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return bool(data_equivalence(one, other, exact=True))


def _component_names(result: Result) -> list[str] | None:
    components = result.info.get("reward_components") if isinstance(result.info, dict) else None
    return list(components) if isinstance(components, dict) else None


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
