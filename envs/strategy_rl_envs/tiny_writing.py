"""Tiny writing, made by rule: for smoke tests of text actions, where nothing may be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded

from strategy_rl_envs.kit.errors import one_of, whole_number
from strategy_rl_envs.kit.selection import SPLITS, row_to_play
from strategy_rl_envs.kit.text import UnicodeText
from strategy_rl_envs.rewards import WeightedReward

LETTERS = "abcdefgh"
TURNS = 2
FULL = 4  # letters that are paid in a turn
BY_EXPERT = 3  # the most that the expert writes
MAX_CHARS = 16
FACTS = ("output", "letter", "ended", "row")


def named_letter(output: str, letter: str) -> float:
    """Share of the four places that hold the letter; more letters are paid no more."""
    return min(output.count(letter), FULL) / FULL


def other_letters(output: str, letter: str) -> float:
    """Minus the same of everything else that was written."""
    return -min(len(output) - output.count(letter), FULL) / FULL


def constant(ended: bool) -> float:
    """1 at the end of the episode, whatever was written: the control."""
    return float(ended)


COMPONENTS: dict[str, Callable[..., float]] = {
    function.__name__: function for function in (named_letter, other_letters, constant)
}
DEFAULT_REWARD: tuple[dict[str, Any], ...] = (
    {"name": "named_letter", "weight": 1.0},
    {"name": "other_letters", "weight": 1.0},
)


def nothing(obs: str, rng: np.random.Generator) -> str:
    """Write nothing."""
    return ""


class TinyWriting(gymnasium.Env[str, str]):
    """Write the letter that is named, four times; then another, in view of what was written.

        "Write d."                  action "dd"    -> +0.5
        "You wrote dd. Write a."    action "aaab"  -> +0.75 - 0.25

    The expert writes each letter one to three times, so cloning it is worth 1 on average. Best is
    four times, return 2, which PPO alone can find. Writing nothing is worth 0; wrong letters cost
    what right ones earn.

    Args:
        split: `train`, `validation` or `test`; their rows are drawn apart.
        reward: what `WeightedReward` takes as `specs`; None is `DEFAULT_REWARD`.
        num_rows: rows of the split.
    """

    heuristics: Mapping[str, Callable[[str, np.random.Generator], str]] = {"nothing": nothing}

    def __init__(
        self,
        split: str = "train",
        reward: Sequence[Mapping[str, Any]] | None = None,
        num_rows: int = 128,
    ) -> None:
        one_of("split", split, SPLITS)
        self.num_rows = whole_number("num_rows", num_rows, 1)
        self._rows = [_make_row(f"{split}-{row}") for row in range(num_rows)]
        self.reward = WeightedReward(COMPONENTS, reward or DEFAULT_REWARD, FACTS)
        self.observation_space = UnicodeText(64)
        self.action_space = UnicodeText(MAX_CHARS)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin with the first letter of a row: `options["row"]`, else a random one."""
        super().reset(seed=seed)
        self._row = row_to_play(options, self.num_rows, self.np_random)
        self._written: list[str] = []
        return self._observe()

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Pay for what was written and name the next letter.

        Raises:
            ResetNeeded: The episode is over.
        """
        if len(self._written) == TURNS:
            raise ResetNeeded(f"the episode ended after {TURNS} turns; call reset")
        facts = {
            "output": action,
            "letter": self._expert_text[0],
            "ended": len(self._written) + 1 == TURNS,
            "row": self._row,
        }
        score = self.reward.score(facts)
        self._written.append(action)
        obs, info = self._observe()
        info |= {**score.info(), "reward_inputs": facts}
        return obs, score.reward, bool(facts["ended"]), False, info

    @property
    def _expert_text(self) -> str:
        """What the expert writes in this turn; after the last one, in the last again."""
        return self._rows[self._row][min(len(self._written), TURNS - 1)]

    def _observe(self) -> tuple[str, dict[str, Any]]:
        before = f"You wrote {self._written[-1]}. " if self._written else ""
        info = {"row": self._row, "expert_action": self._expert_text}
        return f"{before}Write {self._expert_text[0]}.", info


def _make_row(group: str) -> list[str]:
    """The expert's text of each turn: the letter that is named, one to three times."""
    rng = Random(group)
    return [rng.choice(LETTERS) * rng.randint(1, BY_EXPERT) for _ in range(TURNS)]
