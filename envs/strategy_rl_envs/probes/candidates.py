"""A probe of candidate scoring: K texts, K changing from step to step."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from strategy_rl_envs.kit.selection import selection_mask, selection_spaces

WORDS = ("red", "blue", "green", "black", "white", "brown", "pink", "gray", "gold", "cyan")


class EqualWord(gymnasium.Env[dict[str, Any], np.int64]):
    """Pick the candidate that says the word of the context, among 2 to 8; three steps an episode.

    +1 for it, -1 for another (or for an illegal action). The state is the share of steps left.

        context ("pink",)   candidates ("gold", "pink", "red")   action 1 -> +1

    Known answer: return 3, V = number of steps left. Fails where scores depend on padding, on the
    candidates' order, or on how many there are.
    """

    special_actions: tuple[str, ...] = ()
    max_candidates = 8
    num_steps = 3

    def __init__(self) -> None:
        self.observation_space, self.action_space = selection_spaces(
            self.max_candidates, num_special=0, state_size=1, max_chars=8
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw the first question."""
        super().reset(seed=seed)
        self._steps_left = self.num_steps
        return self._next()

    def step(self, action: np.int64) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Pay for the choice and draw the next question."""
        reward = 1.0 if action == self._right else -1.0
        self._steps_left = max(0, self._steps_left - 1)
        obs, info = self._next()
        return obs, reward, self._steps_left == 0, False, info

    def _next(self) -> tuple[dict[str, Any], dict[str, Any]]:
        count = int(self.np_random.integers(2, self.max_candidates + 1))
        words = [WORDS[place] for place in self.np_random.permutation(len(WORDS))[:count]]
        self._right = int(self.np_random.integers(count))
        obs = {
            "context": (words[self._right],),
            "candidates": tuple(words),
            "state": np.full(1, self._steps_left / self.num_steps, np.float32),
            "action_mask": selection_mask(count, self.max_candidates, ()),
        }
        return obs, {"expert_action": self._right}
