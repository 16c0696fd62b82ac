"""Probes of the policy: one decision, or many that do not depend on each other."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from strategy_rl_envs.kit.errors import SettingError, whole_number

Obs = NDArray[np.float32]
MaskedObs = dict[str, Any]


class ActionReward(gymnasium.Env[Obs, np.int64]):
    """Two actions, one step, observation 0; action 0 pays -1, action 1 pays +1.

    Known answer: pi(1) goes to 1, so V(0) goes to 1. If only this one fails, the policy's loss or
    its advantages are wrong.
    """

    observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {"expert_action": 1}

    def step(self, action: np.int64) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Pay for the action and end."""
        return np.zeros(1, np.float32), 1.0 if action == 1 else -1.0, True, False, {}


class MatchObservation(gymnasium.Env[Obs, np.int64]):
    """Two actions, one step; +1 if the action is the observation (0 or 1), else -1.

    Known answer: pi(s | s) goes to 1, V(s) to 1. If only this one fails, transitions and actions
    are mixed up on their way through the batch.
    """

    observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Draw the observation."""
        super().reset(seed=seed)
        self._bit = int(self.np_random.integers(2))
        return np.full(1, self._bit, np.float32), {"expert_action": self._bit}

    def step(self, action: np.int64) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Pay for the match and end."""
        reward = 1.0 if action == self._bit else -1.0
        return np.full(1, self._bit, np.float32), reward, True, False, {}


class MaskedArms(gymnasium.Env[MaskedObs, np.int64]):
    """Four arms that pay 0, 1, 2 and 3, two of them legal, drawn anew each episode; one step.

    The mask is in the observation. An illegal arm pays -10.

    Known answer: the better legal arm each time. The better of two random arms pays 1, 2 or 3 in
    1, 2 and 3 of 6 masks: mean return 14/6 = 2.3333. Any illegal action means the mask is ignored.
    """

    observation_space = spaces.Dict(
        {"state": spaces.Box(0.0, 1.0, (4,), np.float32), "action_mask": spaces.MultiBinary(4)}
    )
    action_space = spaces.Discrete(4)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[MaskedObs, dict[str, Any]]:
        """Draw the legal arms."""
        super().reset(seed=seed)
        self._mask = np.zeros(4, np.int8)
        self._mask[self.np_random.choice(4, size=2, replace=False)] = 1
        return self._observe(), {"expert_action": int(np.flatnonzero(self._mask)[-1])}

    def step(self, action: np.int64) -> tuple[MaskedObs, float, bool, bool, dict[str, Any]]:
        """Pay for the arm and end."""
        return self._observe(), float(action) if self._mask[action] else -10.0, True, False, {}

    def _observe(self) -> MaskedObs:
        return {"state": self._mask.astype(np.float32), "action_mask": self._mask.copy()}


class Bandit(gymnasium.Env[Obs, np.int64]):
    """Three arms that pay 1, 0 and 2; one step, observation 0.

    Known answer with a KL penalty to the reference (0.5, 0.3, 0.2): the best policy is
    pi(a) ~ ref(a) exp(r(a) / beta). With beta 0.5 it is (0.24772, 0.02012, 0.73217) and its
    penalised return 1.35116 (reward 1.71205, KL 0.72179); with beta 1 it is
    (0.43327, 0.09563, 0.47110) and 1.14325 (KL 0.23221); with beta 0.1 the return is 1.83907.
    """

    observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(3)
    payments = (1.0, 0.0, 2.0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: np.int64) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Pay for the arm and end."""
        return np.zeros(1, np.float32), self.payments[int(action)], True, False, {}


class Identity(gymnasium.Env[MaskedObs, np.int64]):
    """Name the state: 1 for the right action, else 0; the next state does not depend on it.

    Some of the other actions are illegal, drawn anew each step. The observation holds the state,
    one-hot, and the mask. The registered forms are cut off after 100 steps.

    Known answer: 100 an episode. With 4 actions, none illegal, a good PPO has 90 after 1,200
    steps (learning rate 2e-3, 256 steps a rollout). With 70 actions, 55 illegal, gamma 0.4 and
    2,048 steps a rollout it has 90 after 4,096 steps; a random policy that heeds the mask has
    100 / 15 = 6.7, a PPO that ignores it about 30. (The idea is that of the identity environments
    in the tests of Stable-Baselines3.)

    Args:
        num_actions: how many states and actions there are.
        num_illegal: how many actions the mask forbids at each step.
    """

    def __init__(self, num_actions: int = 4, num_illegal: int = 0) -> None:
        self._num_actions = whole_number("num_actions", num_actions, 2)
        self._num_illegal = whole_number("num_illegal", num_illegal, 0)
        if self._num_illegal >= self._num_actions:
            raise SettingError(
                f"num_illegal: {num_illegal} of {num_actions} leaves no legal action"
            )
        self.action_space = spaces.Discrete(num_actions)
        self.observation_space = spaces.Dict(
            {
                "state": spaces.Box(0.0, 1.0, (num_actions,), np.float32),
                "action_mask": spaces.MultiBinary(num_actions),
            }
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[MaskedObs, dict[str, Any]]:
        """Draw the first state."""
        super().reset(seed=seed)
        return self._next()

    def step(self, action: np.int64) -> tuple[MaskedObs, float, bool, bool, dict[str, Any]]:
        """Pay for the action and draw the next state."""
        reward = float(action == self._state)
        obs, info = self._next()
        return obs, reward, False, False, info

    def _next(self) -> tuple[MaskedObs, dict[str, Any]]:
        self._state = int(self.np_random.integers(self._num_actions))
        others = self.np_random.permutation(self._num_actions - 1)[: self._num_illegal]
        mask = np.ones(self._num_actions, np.int8)
        mask[others + (others >= self._state)] = 0  # skip over the state itself
        state = np.zeros(self._num_actions, np.float32)
        state[self._state] = 1.0
        return {"state": state, "action_mask": mask}, {"expert_action": self._state}
