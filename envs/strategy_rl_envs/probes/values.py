"""Probes of the value function: there is nothing to decide, so V is known exactly."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Obs = NDArray[np.float32]
Result = tuple[Obs, float, bool, bool, dict[str, Any]]


class OneAction(gymnasium.Env[Obs, np.int64]):
    """One action, one step, observation 0, reward 1.

    Known answer: V(0) = 1. A value loss that does not fall here is broken.
    """

    observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: np.int64) -> Result:
        """Pay 1 and end."""
        return np.zeros(1, np.float32), 1.0, True, False, {}


class ObservationReward(gymnasium.Env[Obs, np.int64]):
    """One action, one step; the observation is -1 or +1, and so is the reward.

    Known answer: V(s) = s. If only this one fails, observations do not reach the value function.
    """

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Draw the observation."""
        super().reset(seed=seed)
        self._sign = float(self.np_random.choice((-1.0, 1.0)))
        return np.full(1, self._sign, np.float32), {}

    def step(self, action: np.int64) -> Result:
        """Pay the observation and end."""
        return np.full(1, self._sign, np.float32), self._sign, True, False, {}


class DelayedReward(gymnasium.Env[Obs, np.int64]):
    """One action, two steps, observations 0 and 1, reward 1 at the end.

    Known answer: V(1) = 1 and V(0) = gamma (0.99 with gamma 0.99). If only this one fails, rewards
    are not carried back in time, or the discount is wrong.
    """

    observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Begin at observation 0."""
        super().reset(seed=seed)
        self._steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.int64) -> Result:
        """Go to observation 1, then end with reward 1."""
        self._steps += 1
        ends = self._steps >= 2
        return np.ones(1, np.float32), float(ends), ends, False, {}


class RandomTruncation(gymnasium.Env[Obs, np.int64]):
    """An endless chain of 4 states that pays 1 a step and is cut off after 2 to 12 steps.

    The observation is the state, one-hot. The cut comes from outside and cannot be foreseen.

    Known answer: V(s) = 1 / (1 - gamma) in every state (10 with gamma 0.9). A trainer that takes
    truncation for termination learns about 1 / (1 - gamma) times (1 - gamma^5) instead; one
    that bootstraps from the observation after the reset is right here only by luck.
    """

    observation_space = spaces.Box(0.0, 1.0, (4,), np.float32)
    action_space = spaces.Discrete(1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Draw the first state and when the chain is cut off."""
        super().reset(seed=seed)
        self._state = int(self.np_random.integers(4))
        self._steps_left = int(self.np_random.integers(2, 13))
        return self._observe(), {}

    def step(self, action: np.int64) -> Result:
        """Move on, pay 1, perhaps be cut off."""
        self._state = (self._state + 1) % 4
        self._steps_left -= 1
        return self._observe(), 1.0, False, self._steps_left <= 0, {}

    def _observe(self) -> Obs:
        state = np.zeros(4, np.float32)
        state[self._state] = 1.0
        return state
