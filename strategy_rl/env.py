"""A handful of environments, stepped one by one, each answering for itself. Knows no policy.

Why not `gymnasium.vector.SyncVectorEnv`: it hands the same options to every environment, so all
would play one row; it merges infos by the first value's type; and its default autoreset gives
rows that are no transitions (Gymnasium 1.4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from strategy_rl.errors import EnvironmentFault, InputError

Made = TypeVar("Made")
Moments = Mapping[str, tuple[float, float]]  # mean and standard deviation by reward component

STEP_LIMIT = 100_000  # an episode this long has no end


class StepResult(NamedTuple):
    """One environment's answer to one action."""

    obs: Any
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]


class ResetResult(NamedTuple):
    """The start of one episode."""

    obs: Any
    info: dict[str, Any]


@runtime_checkable
class Composition(Protocol):
    """What the trainer asks of a task's `reward`; the task kit's `WeightedReward` answers."""

    @property
    def normalised(self) -> tuple[str, ...]:
        """Names of the components that `set_moments` scales."""

    def set_progress(self, progress: float) -> None:
        """Move scheduled weights to where they are after this share of the training."""

    def set_moments(self, moments: Moments) -> None:
        """Scale by these."""

    def probe(self, facts: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
        """Try every component; gives findings with `component`, `severity` and `message`."""

    def timings(self) -> Mapping[str, tuple[int, float]]:
        """Calls and seconds by component."""

    def close(self) -> None:
        """End what calls have started."""


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
        self._envs = [_made(make)]
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
        self._replays: list[_Replay] = [_Replay() for _ in range(num_slots)]
        self._reward_phase: tuple[float, Moments] = (0.0, {})

    @property
    def rewards(self) -> list[Composition]:
        """Those of the environments that have been made; none where tasks know of no such thing."""
        found = (getattr(env.unwrapped, "reward", None) for env in self._envs)
        return [reward for reward in found if isinstance(reward, Composition)]

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
            self._envs.append(_made(self._make))
            self.set_reward_phase(*self._reward_phase)
        results = []
        for slot, seed, option in zip(slots, seeds, options, strict=True):
            self._replays[slot] = _Replay(seed, option)
            try:
                obs, info = self._envs[slot].reset(seed=seed, options=option)
                results.append(ResetResult(_detached(obs), _detached(info)))
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
        answer = _detached(obs), reward, bool(terminated), bool(truncated), _detached(info)
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


class VectorSlots(EnvSlots):
    """The same over a native vector environment: N episodes for one batched forward pass.

    The environment runs with autoreset disabled and takes
    `options={"reset_mask": bool (N,), "row": int64 (N,)}`; a finished slot ignores its action.
    Rows, special actions and heuristics are attributes of the vector environment.
    """

    def __init__(self, vector: gym.vector.VectorEnv[Any, Any, Any]) -> None:
        self._envs = []
        self._vector = vector
        spaces = vector.single_observation_space, vector.single_action_space
        self._describe(vector.unwrapped, *spaces, vector.num_envs)
        self._last_actions: list[Any] = [self.action_space.sample() for _ in range(vector.num_envs)]
        self._unfinished: set[int] = set()

    def reset(
        self,
        slots: Sequence[int],
        seeds: Sequence[int],
        options: Sequence[dict[str, Any] | None],
    ) -> list[ResetResult]:
        """Start an episode in each slot named."""
        if not slots:
            return []
        mask = np.zeros(self.num_slots, dtype=bool)
        rows = np.zeros(self.num_slots, dtype=np.int64)
        all_seeds: list[int | None] = [None] * self.num_slots
        for slot, seed, option in zip(slots, seeds, options, strict=True):
            mask[slot], all_seeds[slot] = True, seed
            rows[slot] = (option or {}).get("row", 0)
            self._replays[slot] = _Replay(seed, option)
        given: dict[str, Any] = {"reset_mask": mask}
        if self.num_rows is not None:
            given["row"] = rows
        with self._named("reset", slots[0]):
            obs, infos = self._vector.reset(
                seed=all_seeds,  # type: ignore[arg-type]  # vector environments take a list
                options=given,
            )
            observations = _unbatched(self._vector, obs)
        self._unfinished.update(slots)
        results = []
        for slot in slots:
            with self._named("reset", slot):
                info = _slot_info(infos, slot)
                results.append(ResetResult(_detached(observations[slot]), _detached(info)))
        return results

    def step(self, slots: Sequence[int], actions: Sequence[Any]) -> list[StepResult]:
        """Play one action in each slot named; the others must have finished.

        Raises:
            EnvironmentFault: One has not, and would move too; or the environment failed.
        """
        if not slots:
            return []
        strays = sorted(self._unfinished.difference(slots))
        if strays:
            raise EnvironmentFault(
                f"step() was asked for slots {list(slots)}, but slots {strays} are in mid-episode; "
                "a native vector environment moves all: name them too, or reset them"
            )
        for slot, action in zip(slots, actions, strict=True):
            self._replays[slot].actions.append(action)
            with self._named("step", slot):
                self._last_actions[slot] = self._shaped(action)
        with self._named("step", slots[0]):
            batch = gym.vector.utils.create_empty_array(self.action_space, self.num_slots)
            assert batch is not None
            batch = gym.vector.utils.concatenate(self.action_space, self._last_actions, batch)
            obs, rewards, terminated, truncated, infos = self._vector.step(batch)
            observations = _unbatched(self._vector, obs)
        results = []
        for s in slots:
            with self._named("step", s):
                ends = terminated[s], truncated[s]
                answer = observations[s], rewards[s], *ends, _slot_info(infos, s)
                results.append(self._checked(s, *answer))
            if any(ends):
                self._unfinished.discard(s)
        return results

    @property
    def rewards(self) -> list[Composition]:
        """The one that all episodes share."""
        reward = getattr(self._vector.unwrapped, "reward", None)
        return [reward] if isinstance(reward, Composition) else []

    def close(self) -> None:
        """Close the vector environment too."""
        super().close()
        self._vector.close()


class _Replay:
    """What it takes to play an episode again."""

    def __init__(self, seed: int = 0, options: dict[str, Any] | None = None) -> None:
        self.seed = seed
        self.options = options
        self.actions: list[Any] = []

    def place(self) -> str:
        """Where the episode is: its row, where it plays one, and the step to come."""
        row = (self.options or {}).get("row")
        return ("" if row is None else f"row {row}, ") + f"step {len(self.actions) + 1}"

    def __str__(self) -> str:
        tail = [a.tolist() if hasattr(a, "tolist") else a for a in self.actions[-50:]]
        if len(self.actions) > 50:
            tail.insert(0, "...")
        return f"to replay: reset(seed={self.seed}, options={self.options}), then actions {tail}"


def make_slots(task_id: str, settings: Mapping[str, Any], num_slots: int) -> EnvSlots:
    """Environments of a registered task, vectorised natively where the task keeps our contract.

    Raises:
        InputError: The id is unknown, or the task refuses its settings.
    """

    def make() -> gym.Env[Any, Any]:
        return gym.make(task_id, disable_env_checker=True, **settings)

    spec = find_spec(task_id)
    if spec.vector_entry_point is not None:
        vector = _made(
            lambda: gym.make_vec(
                task_id, num_slots, vectorization_mode="vector_entry_point", **dict(settings)
            )
        )
        # Any other mode resets by itself, with steps that are no transitions (CartPole's own does).
        if vector.metadata.get("autoreset_mode") is gym.vector.AutoresetMode.DISABLED:
            return VectorSlots(vector)
        vector.close()
    if spec.entry_point is None:
        raise InputError(
            f"task.id: {task_id!r} has a vector_entry_point only, and that resets by itself; give "
            "it metadata['autoreset_mode'] = AutoresetMode.DISABLED, or register an entry_point"
        )
    return EnvSlots(make, num_slots)


def find_spec(task_id: str) -> EnvSpec:
    """The registration of a task; an id `module:namespace/Name-v0` imports its module first.

    Raises:
        InputError: There is none.
    """
    module, _, name = task_id.rpartition(":")
    try:
        if module:
            import_module(module)
        return gym.spec(name)
    except (gym.error.Error, ImportError) as error:
        raise InputError(
            f"task.id: {task_id!r}: {error}; `strategy-rl tasks` lists what there is"
        ) from error


def fault_at(place: int, message: str) -> EnvironmentFault:
    """The fault of one of several observations; `EnvSlots.blamed` adds how to play it again."""
    fault = EnvironmentFault(message)
    fault.place = place
    return fault


def _made(make: Callable[[], Made]) -> Made:
    try:
        return make()
    except Exception as error:  # a constructor refuses what the user gave
        raise InputError(f"the task cannot be made: {error}") from error


def _detached(value: Any) -> Any:
    """The same, however often an environment writes into the arrays that it gave."""
    if isinstance(value, np.ndarray):
        return value.copy()
    return {k: _detached(v) for k, v in value.items()} if isinstance(value, dict) else value


def _unbatched(vector: gym.vector.VectorEnv[Any, Any, Any], obs: Any) -> list[Any]:
    return list(gym.vector.utils.iterate(vector.observation_space, obs))


def _slot_info(infos: Mapping[str, Any], slot: int) -> dict[str, Any]:
    """One slot's entries of a merged info, by the presence masks `_key` of Gymnasium."""
    found: dict[str, Any] = {}
    for key, value in infos.items():
        if key.startswith("_") or not infos.get(f"_{key}", [True] * (slot + 1))[slot]:
            continue
        if isinstance(value, dict):
            found[key] = _slot_info(value, slot)
        else:
            item = value[slot]
            found[key] = item.item() if hasattr(item, "item") and item.ndim == 0 else item
    return found
