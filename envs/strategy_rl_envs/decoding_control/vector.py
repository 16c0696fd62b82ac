"""The same episodes, many at once: one forward pass writes a token in every slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from strategy_rl_envs.decoding_control.playing import Playing
from strategy_rl_envs.kit.errors import SettingError, choices, whole_number
from strategy_rl_envs.kit.selection import row_to_play

if TYPE_CHECKING:
    from strategy_rl_envs.decoding_control.episodes import Outcome

Batch = NDArray[Any]
OPTIONS = ("reset_mask", "row")


class DecodingControlVector(Playing, VectorEnv[Batch, Batch, Batch]):
    """`DecodingControl`, `num_envs` texts side by side.

    A slot whose episode is over ignores its action, gives reward 0 and stays over until it is reset
    by `options={"reset_mask": bool (N,), "row": int64 (N,)}`; both may be left out: all slots,
    random rows. Each slot plays the episode that a single environment plays for its seed. In `info`
    every entry is an array of N objects, with a mask under `_name`.

    Args:
        num_envs: How many texts.
        split: See `DecodingControl`.
        reward: See `DecodingControl`.
        **settings: See `DecodingControl`.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012 - as in Gymnasium

    def __init__(
        self,
        num_envs: int = 1,
        split: str = "train",
        reward: Sequence[Mapping[str, Any]] | None = None,
        **settings: Any,
    ) -> None:
        self.num_envs = whole_number("num_envs", num_envs, 1)
        single = self._open(split, reward, **settings)
        self.single_observation_space, self.single_action_space = single
        self.observation_space, self.action_space = (batch_space(s, num_envs) for s in single)
        self._rngs: list[np.random.Generator | None] = [None] * num_envs
        self._obs = np.zeros((num_envs, len(self.feature_names)), np.float32)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Batch, dict[str, Any]]:
        """Start an episode in some slots.

        Args:
            seed: One a slot; or one number, from which slots count on.
            options: `reset_mask` and `row`.
        """
        slots = self._slots_to_reset(options or {})
        seeds = self._seeds(seed)
        for slot in slots:
            if seeds[slot] is not None or self._rngs[slot] is None:
                self._rngs[slot] = np_random(seeds[slot])[0]
        rngs = [rng for slot in slots if (rng := self._rngs[slot]) is not None]
        rows = [
            row_to_play(_row_option(options, slot), self.num_rows, rng)
            for slot, rng in zip(slots, rngs, strict=True)
        ]
        started = self.episodes.begin(slots, rows, rngs) if slots else {}
        return self._observations(started), self._infos(started)

    def step(self, actions: Batch) -> tuple[Batch, Batch, Batch, Batch, dict[str, Any]]:
        """Play one action in every slot whose episode is not over."""
        running = self.episodes.running
        played = self.episodes.play({slot: actions[slot] for slot in running})
        rewards = np.zeros(self.num_envs)
        for slot, outcome in played.items():
            rewards[slot] = outcome.reward
        terminated = np.ones(self.num_envs, dtype=np.bool_)
        terminated[self.episodes.running] = False
        truncated = np.zeros(self.num_envs, dtype=np.bool_)
        return self._observations(played), rewards, terminated, truncated, self._infos(played)

    def _observations(self, outcomes: Mapping[int, Outcome]) -> Batch:
        for slot, outcome in outcomes.items():
            self._obs[slot] = outcome.obs
        return self._obs.copy()

    def _infos(self, outcomes: Mapping[int, Outcome]) -> dict[str, Any]:
        infos: dict[str, Any] = {}
        for slot, outcome in outcomes.items():
            for name, value in outcome.info.items():
                if name not in infos:
                    infos[name] = np.full(self.num_envs, None, dtype=object)
                    infos[f"_{name}"] = np.zeros(self.num_envs, dtype=np.bool_)
                infos[name][slot], infos[f"_{name}"][slot] = value, True
        return infos

    def _slots_to_reset(self, options: Mapping[str, Any]) -> list[int]:
        for name in options:
            if name not in OPTIONS:
                raise SettingError(f"reset option {name!r}: {choices(name, OPTIONS)}")
            if np.shape(options[name]) != (self.num_envs,):
                raise SettingError(
                    f"reset option {name!r}: expected {self.num_envs} entries, got the shape "
                    f"{np.shape(options[name])}"
                )
        mask = np.asarray(options.get("reset_mask", np.ones(self.num_envs, np.bool_)), np.bool_)
        slots: list[int] = np.flatnonzero(mask).tolist()
        return slots

    def _seeds(self, given: int | Sequence[int | None] | None) -> list[int | None]:
        if given is None:
            return [None] * self.num_envs
        if isinstance(given, int | np.integer):
            return [int(given) + slot for slot in range(self.num_envs)]
        if len(given) != self.num_envs:
            raise SettingError(f"seed: expected {self.num_envs} of them, got {len(given)}")
        return list(given)


def _row_option(options: Mapping[str, Any] | None, slot: int) -> dict[str, Any] | None:
    return {"row": options["row"][slot]} if options and "row" in options else None
