"""A contender: MaskablePPO of sb3-contrib on the same rows, their vectors side by side."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from contest import Clock, Figures, Settings, contender_main
from rows import PickRight, Rows
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv


class Flat(gymnasium.Wrapper[Any, np.int64, dict[str, Any], np.int64]):
    """Observes a row's vectors as one vector, looked up by the row's number."""

    def __init__(self, env: PickRight, vectors: np.ndarray) -> None:
        super().__init__(env)
        self.vectors = vectors
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, vectors.shape[1:])

    def action_masks(self) -> np.ndarray:
        """Legal actions, as MaskablePPO asks for them."""
        mask: np.ndarray = self.env.unwrapped.mask  # type: ignore[attr-defined]
        return mask

    def reset(self, **arguments: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a row."""
        _, info = self.env.reset(**arguments)
        return self.vectors[info["row"]], info

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Play on."""
        _, reward, terminated, truncated, info = self.env.step(action)
        return self.vectors[info["row"]], float(reward), terminated, truncated, info


class Timed(BaseCallback):
    """Tells the clock when a round begins, which is when the last one is over."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.begun = False

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.begun:
            self.clock.round_over()
        self.begun = True

    def _on_training_end(self) -> None:
        rewards = self.model.rollout_buffer.rewards  # type: ignore[attr-defined]
        self.clock.round_over(float(rewards.mean()))


def measure(settings: Settings) -> Figures:
    """Train and time the rounds."""
    torch.set_num_threads(1)
    rows = Rows(settings.num_rows, settings.num_candidates)
    vectors = rows.vectors().reshape(rows.num_rows, -1)
    model = MaskablePPO(
        "MlpPolicy",
        DummyVecEnv([lambda: Flat(PickRight(rows), vectors) for _ in range(settings.num_envs)]),
        learning_rate=1e-3,
        n_steps=settings.num_steps,
        batch_size=settings.minibatch_size,
        n_epochs=settings.epochs,
        ent_coef=0.01,
        seed=0,
        device="cpu",
        policy_kwargs={"net_arch": [64, 64]},
    )
    clock = Clock(settings.decisions)
    model.learn(settings.decisions * settings.iterations, callback=Timed(clock))
    return clock.figures()


if __name__ == "__main__":
    contender_main(measure)
