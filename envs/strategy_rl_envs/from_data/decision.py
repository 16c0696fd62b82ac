"""The environment of both tasks: one decision an episode. Knows no file and no setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from strategy_rl_envs.from_data.data import Loaded, Row
from strategy_rl_envs.from_data.heuristics import Heuristic
from strategy_rl_envs.kit.selection import row_to_play
from strategy_rl_envs.rewards.composition import WeightedReward


class OneDecision(gymnasium.Env[dict[str, Any], np.int64]):
    """One row of a data file, one decision: the right one of its candidates or classes.

    Made by `selection` and `classification`. An action that the mask forbids counts as wrong.
    """

    def __init__(
        self,
        loaded: Loaded,
        observation_space: spaces.Dict,
        action_space: spaces.Discrete[np.int64],
        show: Callable[[Row], tuple[dict[str, Any], dict[str, Any]]],
        special_actions: tuple[str, ...],
        reward: WeightedReward,
        heuristics: Mapping[str, Heuristic],
    ) -> None:
        self._rows = loaded.rows
        self.num_rows = len(loaded.rows)
        self.row_groups = tuple(row.group for row in loaded.rows)
        self.data_counts, self.data_fingerprint = loaded.counts, loaded.fingerprint
        self.observation_space, self.action_space = observation_space, action_space
        self._first_special = int(action_space.n) - len(special_actions)
        self._show = show
        self.special_actions = special_actions
        self.reward = reward
        self.heuristics = heuristics
        self._ended = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Show a row: `options["row"]`, else a random one."""
        super().reset(seed=seed)
        self._row = row_to_play(options, self.num_rows, self.np_random)
        self._ended = False
        return self._observe()

    def step(self, action: np.int64) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Score the choice; the row is shown once more."""
        if self._ended:
            raise gymnasium.error.ResetNeeded("the episode is over; call reset() first")
        self._ended = True
        facts = self._facts(int(action))
        score = self.reward.score(facts)
        obs, info = self._observe()
        info |= score.info()
        info["reward_inputs"] = facts
        return obs, score.reward, True, False, info

    def _facts(self, action: int) -> dict[str, Any]:
        """What the reward functions may know."""
        row = self._rows[self._row]
        special = action - self._first_special
        output = row.candidates[action] if action < len(row.candidates) else ""
        reference = row.candidates[row.label]
        return {
            "output": output,
            "reference": reference,
            "source": "\n".join(row.context),
            "context": row.context,
            "candidates": row.candidates,
            "action": action,
            "label": row.label,
            "correct": output == reference,
            "abstained": special >= 0,
            "special": self.special_actions[special] if special >= 0 else "",
            "row": self._row,
            "ended": True,
            **deepcopy(dict(row.extra)),
        }

    def _observe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        row = self._rows[self._row]
        obs, info = self._show(row)
        return obs, info | {"row": self._row, "expert_action": row.label}
