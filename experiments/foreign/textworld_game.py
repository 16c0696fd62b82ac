"""A game of TextWorld as a Gymnasium environment: its own texts, commands and scores, no network.

`pip install textworld` (1.7, MIT; 360 MB with what it needs) brings the generator and the player.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import textworld
from gymnasium import spaces
from textworld.challenges import simple

from strategy_rl_envs.kit.selection import selection_mask
from strategy_rl_envs.kit.text import UnicodeText

MAX_COMMANDS = 64
GAMES = tempfile.TemporaryDirectory(prefix="textworld-")
INFOS = textworld.EnvInfos(
    admissible_commands=True,
    description=True,
    inventory=True,
    objective=True,
    policy_commands=True,
    score=True,
)


class TextWorldSimple(gymnasium.Env[dict[str, Any], np.int64]):
    """The package's `tw-simple` challenge: a house, a dozen commands in the right order, 10 points.

    Choose among the commands that the game admits; each point of its score is a reward of 1.
    The expert walks the shortest way.

    Args:
        game: Seed of the game.
    """

    def __init__(self, game: int = 1234) -> None:
        self.action_space = spaces.Discrete(MAX_COMMANDS)
        text = UnicodeText(4000)
        self.observation_space = spaces.Dict(
            {
                "action_mask": spaces.MultiBinary(MAX_COMMANDS),
                "candidates": spaces.Sequence(text),
                "context": spaces.Sequence(text),
            }
        )
        self._game = textworld.start(compiled(game), INFOS)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start the game; it begins the same each time."""
        super().reset(seed=seed)
        self._state = self._game.reset()
        return self._observe(), self._info()

    def step(self, action: np.int64) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Say a command."""
        before = self._state.score
        command = self._state.admissible_commands[action]
        self._state, _, done = self._game.step(command)
        return self._observe(), float(self._state.score - before), done, False, self._info()

    def _info(self) -> dict[str, Any]:
        """The next command of the shortest way to win, which the game knows, is the expert's."""
        way, commands = self._state.policy_commands, self._state.admissible_commands
        return {"expert_action": commands.index(way[0])} if way and way[0] in commands else {}

    def _observe(self) -> dict[str, Any]:
        state = self._state
        return {
            "context": (state.objective, state.inventory, state.description),
            "candidates": tuple(state.admissible_commands),
            "action_mask": selection_mask(len(state.admissible_commands), MAX_COMMANDS, ()),
        }


@functools.cache
def compiled(seed: int) -> str:
    """The file of a game, made once a process."""
    options = textworld.GameOptions()
    options.seeds = seed
    game = simple.make({"rewards": "dense", "goal": "detailed", "test": False}, options)
    options.path = str(Path(GAMES.name) / f"{seed}.z8")
    return str(textworld.generator.compile_game(game, options))


gymnasium.register("foreign/TextWorldSimple-v0", TextWorldSimple, max_episode_steps=50)
