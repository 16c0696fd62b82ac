"""A probe of control: which temperature to draw with, when the best one keeps changing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Obs = NDArray[np.float32]

TEMPERATURES = (0.0, 0.3, 0.7, 1.0, 1.5, 3.0)
NUM_STEPS = 8
FACTS = np.array([0.55, 0.25, 0.2])  # of the tokens of a step that wants the right one
IDEAS = np.array([0.6, 0.2, 0.1, 0.1])  # of the tokens of a step that wants a new one
_WORDS = ("right", "wrong", "mistaken"), ("old", "odd", "rare", "bold")


def tempered(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """The same distribution at a temperature of at least 0; at 0 its mode. Shape: (tokens,)."""
    if temperature == 0.0:
        powers = (np.arange(len(probabilities)) == probabilities.argmax()).astype(np.float64)
    else:
        powers = probabilities ** (1.0 / temperature)
    normalised: NDArray[np.float64] = powers / powers.sum()
    return normalised


class Decoding(gymnasium.Env[Obs, np.int64]):
    """Choose the temperature of each of 8 draws; odd ones want the mode, even ones a new token.

    Odd steps draw from (.55, .25, .2) and pay 1 for the most probable token; even ones draw from
    (.6, .2, .1, .1) and pay 1 for a token that no even step has drawn before. Action i draws with
    the temperature `TEMPERATURES[i]`.

        observation: [wants a new token, used 1 ... 4, share of steps left]
        [1, 1, 0, 0, 0, .625]   action 5 (T 3), drew the second token -> +1

    Known answer: a static temperature has 5.00, 4.73, 4.46, 4.45, 4.41, 4.29 (in the order of
    `TEMPERATURES`). Temperature 0 where the mode is wanted and 3 elsewhere has 6.68, the best that
    the kind of step alone can give. Whoever also heeds which tokens are used has 6.80.

    The expert is the best static setting, temperature 0: all that imitation can give is 5.00.
    """

    observation_space = spaces.Box(0.0, 1.0, (6,), np.float32)
    action_space = spaces.Discrete(len(TEMPERATURES))

    @property
    def heuristics(self) -> Mapping[str, Callable[[Obs, np.random.Generator], int]]:
        """The static settings, and the rule that looks at the kind of step."""
        static = {f"static_{t:g}": partial(_always, i) for i, t in enumerate(TEMPERATURES)}
        return {**static, "by_kind_of_step": lambda obs, rng: 5 if obs[0] else 0}

    def action_name(self, action: int) -> str:
        """The temperature, e.g. "T 0.7"."""
        return f"T {TEMPERATURES[action]:g}"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Begin with nothing used."""
        super().reset(seed=seed)
        self._used = np.zeros(len(IDEAS), bool)
        self._step = 0
        return self._observe(), {"expert_action": 0}

    def step(self, action: np.int64) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Draw a token at the temperature chosen, and pay for it."""
        wants_new = self._step % 2
        weights = tempered(IDEAS if wants_new else FACTS, TEMPERATURES[int(action)])
        token = int(np.searchsorted(np.cumsum(weights)[:-1], self.np_random.random(), "right"))
        right, new = float(not wants_new and token == 0), 0.0
        if wants_new:
            new = float(not self._used[token])
            self._used[token] = True
        self._step += 1
        info = {
            "reward_components": {"right": right, "new": new},
            "text": _WORDS[wants_new][token] + " ",
            "expert_action": 0,
        }
        return self._observe(), right + new, self._step >= NUM_STEPS, False, info

    def _observe(self) -> Obs:
        left = max(0, NUM_STEPS - self._step) / NUM_STEPS
        return np.array([self._step % 2, *self._used, left], np.float32)


def _always(action: int, obs: Obs, rng: np.random.Generator) -> int:
    return action
