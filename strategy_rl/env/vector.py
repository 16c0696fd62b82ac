"""Episodes of a native vector environment, behind the interface of `EnvSlots`. Knows no policy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from strategy_rl.env.answers import ResetResult, StepResult, detached
from strategy_rl.env.faults import Replay
from strategy_rl.env.slots import EnvSlots
from strategy_rl.errors import EnvironmentFault


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
            self._replays[slot] = Replay(seed, option)
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
                results.append(ResetResult(detached(observations[slot]), detached(info)))
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

    def _tasks(self) -> Iterator[Any]:
        """The one of all episodes."""
        yield self._vector.unwrapped

    def close(self) -> None:
        """Close the vector environment too."""
        super().close()
        self._vector.close()


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
