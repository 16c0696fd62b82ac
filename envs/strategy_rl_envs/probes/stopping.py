"""A probe of sequential decisions: when to stop, where waiting costs."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Obs = NDArray[np.float32]


class OptimalStopping(gymnasium.Env[Obs, np.int64]):
    """Sell for the offer that is seen, or pay 0.12 to see another; refused offers are gone.

    Offers are 0.1, 0.2, ... 1.0, each equally likely. Action 0 sells: reward the offer, end.
    Action 1 waits: reward -0.12, a new offer.

    Known answer (gamma 1): waiting is worth the W that solves E[max(offer - W, 0)] = 0.12, so
    W = 0.56: sell at 0.6 or more. V(offer) = max(offer, 0.56), mean return W + 0.12 = 0.68.
    Selling at once gives 0.55, waiting for 1.0 gives -0.08, a fair coin 0.43.
    """

    observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(2)
    cost = 0.12
    worth_of_waiting = 0.56

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Draw the first offer."""
        super().reset(seed=seed)
        return self._next()

    def step(self, action: np.int64) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Sell or see another offer."""
        if action == 0:
            return np.full(1, self._offer, np.float32), self._offer, True, False, {}
        obs, info = self._next()
        return obs, -self.cost, False, False, info

    def _next(self) -> tuple[Obs, dict[str, Any]]:
        self._offer = float(self.np_random.integers(1, 11)) / 10
        expert_action = 0 if self._offer > self.worth_of_waiting else 1
        return np.full(1, self._offer, np.float32), {"expert_action": expert_action}
