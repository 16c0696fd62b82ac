"""Environments stepped one by one, each answering for itself. Knows no task by name.

Why not `gymnasium.vector.SyncVectorEnv`: it hands the same options to every environment, so all
would play one row; it merges infos by the first value's type; and its default autoreset gives
rows that are no transitions (Gymnasium 1.4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import gymnasium as gym
import numpy as np

from strategy_rl.env.answers import ResetResult, StepResult, detached
from strategy_rl.env.composition import Composition, Moments
from strategy_rl.env.faults import Replay
from strategy_rl.errors import EnvironmentFault, InputError

Made = TypeVar("Made")

STEP_LIMIT = 100_000  # an episode this long has no end


class EnvSlots:
    """A list of environments of one task; `reset` and `step` touch only the slots named.

    Attributes:
        observation_space: Of one environment.
        action_space: Of one environment.
        num_rows: Rows of the split; None where episodes play no rows.
        special_actions: Names of the last actions.
        action_name: What people call an action, an int or a list of ints; None: it has no name.
        row_groups: A label a row, or None.
        heuristics: Baselines of the task by name.
    """

    def __init__(self, make: Callable[[], gym.Env[Any, Any]], num_slots: int) -> None:
        self._make = make
        self._envs = [made(make)]
        env = self._envs[0]
        self._describe(env.unwrapped, env.observation_space, env.action_space, num_slots)

    def _describe(
        self, base: Any, observation_space: Any, action_space: Any, num_slots: int
    ) -> None:
        self.num_slots = num_slots
        self.observation_space: gym.Space[Any] = observation_space
        self.action_space: gym.Space[Any] = action_space
        self.num_rows: int | None = getattr(base, "num_rows", None)
        self.special_actions = tuple(getattr(base, "special_actions", ()))
        name = getattr(base, "action_name", None)
        self.action_name: Callable[[Any], str] | None = name if callable(name) else None
        self.row_groups: Sequence[str] | None = getattr(base, "row_groups", None)
        self.heuristics: Mapping[str, Callable[[Any, Any], Any]] = dict(
            getattr(base, "heuristics", {})
        )
        self._replays: list[Replay] = [Replay() for _ in range(num_slots)]
        self._reward_phase: tuple[float, Moments] = (0.0, {})

    def _tasks(self) -> Iterator[Any]:
        """The environments that have been made, without their wrappers."""
        return (env.unwrapped for env in self._envs)

    @property
    def rewards(self) -> list[Composition]:
        """Those of the environments that have been made; none where tasks know of no such thing."""
        found = (getattr(task, "reward", None) for task in self._tasks())
        return [reward for reward in found if isinstance(reward, Composition)]

    @property
    def weights(self) -> dict[str, float] | None:
        """What each component of the reward counts for now; None where the task does not tell."""
        reward = next((getattr(task, "reward", None) for task in self._tasks()), None)
        weights = getattr(reward, "weights", None)
        return dict(weights) if isinstance(weights, Mapping) else None

    def set_reward_phase(self, progress: float, moments: Moments) -> None:
        """Tell every environment's reward how far training is, and how its values are spread.

        Args:
            progress: Share of the training done, 0 to 1; it moves scheduled weights.
            moments: Mean and standard deviation by component, for those that are scaled by them.
        """
        self._reward_phase = progress, moments
        for reward in self.rewards:
            asked = set(reward.normalised)
            reward.set_progress(progress)
            reward.set_moments({n: m for n, m in moments.items() if n.partition("/")[0] in asked})

    def group(self, row: int | None) -> str | None:
        """The label that a row shares with those it must be resampled with."""
        if row is None:
            return None
        return self.row_groups[row] if self.row_groups is not None else str(row)

    def reset(
        self,
        slots: Sequence[int],
        seeds: Sequence[int],
        options: Sequence[dict[str, Any] | None],
    ) -> list[ResetResult]:
        """Start an episode in each slot named."""
        while len(self._envs) <= max(slots, default=0):
            self._envs.append(made(self._make))
            self.set_reward_phase(*self._reward_phase)
        results = []
        for slot, seed, option in zip(slots, seeds, options, strict=True):
            self._replays[slot] = Replay(seed, option)
            try:
                obs, info = self._envs[slot].reset(seed=seed, options=option)
                results.append(ResetResult(detached(obs), detached(info)))
            except Exception as error:
                raise self._fault("reset", slot, error) from error
        return results

    def step(self, slots: Sequence[int], actions: Sequence[Any]) -> list[StepResult]:
        """Play one action in each slot named."""
        results = []
        for slot, action in zip(slots, actions, strict=True):
            self._replays[slot].actions.append(action)
            try:
                answer = self._envs[slot].step(self._shaped(action))
                results.append(self._checked(slot, *answer))
            except Exception as error:
                raise self._fault("step", slot, error) from error
        return results

    def _shaped(self, action: Any) -> Any:
        """A policy's array in the type and the shape of the action space."""
        if isinstance(action, np.ndarray):
            return action.astype(self.action_space.dtype).reshape(self.action_space.shape)
        return action

    def _checked(
        self, slot: int, obs: Any, given: Any, terminated: Any, truncated: Any, info: dict[str, Any]
    ) -> StepResult:
        """An answer in plain types.

        Raises:
            ValueError: The reward is no number or not its parts' sum, or the episode has no end.
        """
        reward = float(given)
        if not math.isfinite(reward):
            raise ValueError(f"the reward is {reward}")
        components = info.get("reward_components")
        if components:
            total = sum(components.values())
            if not abs(total - reward) <= 1e-6 * max(1.0, abs(reward)):
                raise ValueError(
                    f"the reward is {reward}, its components {dict(components)} add up to {total}"
                )
        if len(self._replays[slot].actions) >= STEP_LIMIT:
            raise ValueError(f"no end after {STEP_LIMIT} steps; set a time limit")
        answer = detached(obs), reward, bool(terminated), bool(truncated), detached(info)
        return StepResult(*answer)

    @contextmanager
    def _named(self, method: str, slot: int) -> Iterator[None]:
        """Say what failed, and how to play it again."""
        try:
            yield
        except Exception as error:
            raise self._fault(method, slot, error) from error

    def _fault(self, method: str, slot: int, error: Exception) -> EnvironmentFault:
        cause = f"{type(error).__name__}: {error}"
        return EnvironmentFault(f"{method}() failed: {cause}; {self._replays[slot]}")

    @contextmanager
    def blamed(self, slots: Sequence[int]) -> Iterator[None]:
        """Say how to play again what led to an observation that cannot be used.

        Args:
            slots: Where the observations came from, in their order.
        """
        try:
            yield
        except EnvironmentFault as error:
            if error.place is None:
                raise
            replay = self._replays[slots[error.place]]
            raise EnvironmentFault(f"{error}; at {replay.place()}; {replay}") from error

    def close(self) -> None:
        """Close every environment, and what its rewards have started."""
        for reward in self.rewards:
            reward.close()
        for env in self._envs:
            env.close()


def made(make: Callable[[], Made]) -> Made:
    """An environment of a task.

    Raises:
        InputError: The task refuses its settings.
    """
    try:
        return make()
    except Exception as error:  # a constructor refuses what the user gave
        raise InputError(f"the task cannot be made: {error}") from error
