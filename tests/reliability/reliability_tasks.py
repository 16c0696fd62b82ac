"""Tasks that touch every part of a run's state, and tasks that break on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from strategy_rl_envs.kit.selection import selection_mask, selection_spaces
from strategy_rl_envs.rewards.composition import WeightedReward

SYLLABLES = ("ba", "do", "fi", "gu", "ke", "lo", "mi", "nu", "pa", "ro", "si", "tu")
FAULTS = (
    *("raise", "reset", "nan", "text", "mismatch", "lost"),
    *("mask", "wide_mask", "nan_state", "no_state"),
)


FACTS = ("place", "action")


def nearness(place: float) -> float:
    """How near the middle."""
    return -abs(place)


def effort(action: int) -> float:
    """Moving costs a little."""
    return -0.1 * float(action != 1)


class Drift(gymnasium.Env[dict[str, Any], np.int64]):
    """Walk to the middle: three numbers, three actions, two to six steps, no rows, no texts.

    Args:
        expert: Whether the info names what to do.
        fault: What goes wrong, one of `FAULTS`; None: nothing.
        after: Steps that an environment plays before it does.
        split_at_fault: In which split.
        reward: Of `nearness` and `effort`.
    """

    observation_space = spaces.Dict(
        {
            "state": spaces.Box(-100.0, 100.0, (3,), np.float32),
            "action_mask": spaces.MultiBinary(3),
        }
    )
    action_space = spaces.Discrete(3)

    mended = False

    def __init__(
        self,
        split: str = "train",
        *,
        expert: bool = True,
        fault: str | None = None,
        after: int = 0,
        split_at_fault: str = "train",
        reward: Sequence[Mapping[str, Any]] = ("nearness", "effort"),  # type: ignore[assignment]
    ) -> None:
        self.reward = WeightedReward({"nearness": nearness, "effort": effort}, reward, FACTS)
        self.expert, self.after = expert, after
        self.fault = fault if split == split_at_fault else None
        self._played = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        if self._due("reset"):
            raise RuntimeError("the world is gone")
        self._place = float(self.np_random.normal(0, 3))
        self._steps = 0
        return self._observe()

    def step(self, action: np.int64) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        self._played += 1
        self._steps += 1
        if self._due("raise"):
            raise RuntimeError("the wheel came off")
        self._place += float(action - 1) + float(self.np_random.normal(0, 0.2))
        facts = {"place": self._place, "action": int(action)}
        score = self.reward.score(facts)
        reward: Any = score.reward
        if self._due("nan"):
            reward = float("nan")
        if self._due("text"):
            reward = "much"
        if self._due("mismatch"):
            reward += 1.0
        ended = self._steps > 1 and (self._steps == 6 or self.np_random.random() < 0.2)
        obs, info = self._observe()
        info |= {**score.info(), "reward_inputs": facts}
        if self._due("lost"):
            del info["reward_components"]["effort"]
        return obs, reward, bool(ended), False, info

    def _observe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        mask = np.array([self._place > -4, 1, self._place < 4], np.int8)
        if self._due("mask"):
            mask[:] = 0
        if self._due("wide_mask"):
            mask = np.ones(5, np.int8)
        state = np.array([self._place, 10 + 5 * self._place, self._steps], np.float32)
        best = 1 if abs(self._place) < 2 else 2 if self._place < 0 else 0  # he is lazy
        info = {"expert_action": best} if self.expert else {}
        if self._due("nan_state"):
            state[1] = np.nan
        if self._due("no_state"):
            return {"action_mask": mask}, info
        return {"state": state, "action_mask": mask}, info

    def _due(self, fault: str) -> bool:
        return self.fault == fault and self._played >= self.after and not self.mended


class Words(gymnasium.Env[dict[str, Any], np.int64]):
    """Pick the candidate that is the word of the context; a wrong pick leads to words of its own.

    So PPO meets texts that no expert has seen, in an order that is its own.
    """

    num_rows = 24

    def __init__(self, split: str = "train") -> None:
        self.split = split
        self.observation_space, self.action_space = selection_spaces(
            3, num_special=0, state_size=1, max_chars=16
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self._way = [self.split, str((options or {}).get("row", 0))]
        return self._observe()

    def step(self, action: np.int64) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        reward = 1.0 if action == self._right else -1.0
        self._way.append(str(action))
        obs, info = self._observe()
        return obs, reward, len(self._way) > 3, False, info

    def _observe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        rng = Random("-".join(self._way))
        words = tuple("".join(rng.choices(SYLLABLES, k=4)) for _ in range(3))
        self._right = rng.randrange(3)
        obs = {
            "context": (words[self._right],),
            "candidates": words,
            "state": np.full(1, (4 - len(self._way)) / 2, np.float32),
            "action_mask": selection_mask(3, 3, ()),
        }
        return obs, {"expert_action": self._right}


gymnasium.register("reliability/Drift-v0", entry_point=Drift)
gymnasium.register("reliability/Words-v0", entry_point=Words)
