"""Tiny reply selection, made by rule: for smoke tests, where nothing may be read or downloaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from strategy_rl_envs.kit.errors import one_of, whole_number
from strategy_rl_envs.kit.selection import (
    SPLITS,
    random_legal_action,
    row_to_play,
    selection_mask,
    selection_spaces,
)
from strategy_rl_envs.rewards import WeightedReward

COLOURS = ("red", "blue", "green", "black", "white", "brown")
ANIMALS = ("fox", "cat", "dog", "hen", "cow", "owl", "pig", "hare")
PLACES = ("barn", "yard", "house", "wood", "field", "lake")
MAX_CANDIDATES = 5
QUESTIONS_A_ROW = 2
FACTS = ("right", "handed_over", "ended", "output", "reference", "action", "row")


class Question(NamedTuple):
    """A question, its candidates and the index of the right one."""

    text: str
    candidates: tuple[str, ...]
    label: int


def right_answer(right: bool) -> float:
    """1 for the right answer."""
    return float(right)


def wrong_answer(right: bool, handed_over: bool) -> float:
    """-1 for a wrong answer."""
    return 0.0 if right or handed_over else -1.0


def hand_over(handed_over: bool) -> float:
    """-1 for handing the question over."""
    return -1.0 if handed_over else 0.0


def constant(ended: bool) -> float:
    """1 at the end of the episode, whatever was done: the control."""
    return float(ended)


COMPONENTS: dict[str, Callable[..., float]] = {
    function.__name__: function for function in (right_answer, wrong_answer, hand_over, constant)
}
DEFAULT_REWARD: tuple[dict[str, Any], ...] = (
    {"name": "right_answer", "weight": 1.0},
    {"name": "wrong_answer", "weight": 1.0},
    {"name": "hand_over", "weight": 0.25},
)


class TinyReply(gymnasium.Env[dict[str, Any], np.int64]):
    """Answer two questions with one of 3 to 5 candidates, or hand one over to a human.

        state [1.0]  context ("where is the red fox ?",)
                     candidates ("the red fox is in the barn", "the blue cow is in the lake", ...)
                     action 0 -> +1: the right answer names both colour and animal
        state [0.5]  context ("where is it ?",)
                     candidates (...): nothing tells which one; a guess is worth -0.5 at 4
                     candidates, `hand_over` -0.25

    A quarter of the questions are unclear like the second. The expert knows their answers (return
    2), so cloning it teaches to guess; the best policy without that knowledge hands them over:
    1 - 1.25 / 4 = 0.6875 a question, 1.375 an episode.

    Args:
        split: `train`, `validation` or `test`; their rows are drawn apart.
        reward: what `WeightedReward` takes as `specs`; None is `DEFAULT_REWARD`.
        num_rows: rows of the split.
    """

    special_actions = ("hand_over",)
    heuristics: Mapping[str, Callable[[Mapping[str, Any], np.random.Generator], int]] = {
        "random": random_legal_action,
        "always_hand_over": lambda obs, rng: MAX_CANDIDATES,
    }

    def __init__(
        self,
        split: str = "train",
        reward: Sequence[Mapping[str, Any]] | None = None,
        num_rows: int = 300,
    ) -> None:
        one_of("split", split, SPLITS)
        self.num_rows = whole_number("num_rows", num_rows, 1)
        self.row_groups = tuple(f"{split}-{row}" for row in range(num_rows))
        self._rows = [_make_row(group) for group in self.row_groups]
        self.reward = WeightedReward(COMPONENTS, reward or DEFAULT_REWARD, FACTS)
        self.observation_space, self.action_space = selection_spaces(
            MAX_CANDIDATES, num_special=1, state_size=1, max_chars=64
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin with the first question of a row: `options["row"]`, else a random one."""
        super().reset(seed=seed)
        self._row = row_to_play(options, self.num_rows, self.np_random)
        self._asked = 0
        return self._observe()

    def step(self, action: np.int64) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Answer the question and go on to the next one."""
        facts = self._facts(int(action))
        score = self.reward.score(facts)
        self._asked += 1
        obs, info = self._observe()
        info |= {**score.info(), "reward_inputs": facts}
        return obs, score.reward, facts["ended"], False, info

    def _facts(self, action: int) -> dict[str, Any]:
        """What the reward functions may know; an illegal action counts as a wrong answer."""
        question = self._rows[self._row][self._asked]
        legal = action < len(question.candidates)
        return {
            "right": action == question.label,
            "handed_over": action == MAX_CANDIDATES,
            "ended": self._asked + 1 == QUESTIONS_A_ROW,
            "output": question.candidates[action] if legal else "",
            "reference": question.candidates[question.label],
            "action": action,
            "row": self._row,
        }

    def _observe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Show the next question; after the last one, the last again with nothing left."""
        question = self._rows[self._row][min(self._asked, QUESTIONS_A_ROW - 1)]
        count = len(question.candidates)
        obs = {
            "context": (question.text,),
            "candidates": question.candidates,
            "state": np.full(1, 1 - self._asked / QUESTIONS_A_ROW, np.float32),
            "action_mask": selection_mask(count, MAX_CANDIDATES, (True,)),
        }
        kinds = tuple("gold" if i == question.label else "random" for i in range(count))
        return obs, {"row": self._row, "expert_action": question.label, "candidate_kinds": kinds}


def _make_row(name: str) -> tuple[Question, ...]:
    """Draw a row's questions; the name is the seed, so a row is the same in every process."""
    rng = Random(name)
    return tuple(_make_question(rng) for _ in range(QUESTIONS_A_ROW))


def _make_question(rng: Random) -> Question:
    """Draw distinct colours and animals, so that one answer alone fits."""
    colours, animals = _shuffled(COLOURS, rng), _shuffled(ANIMALS, rng)
    count = 3 + int(rng.random() * (MAX_CANDIDATES - 2))
    places = [PLACES[int(rng.random() * len(PLACES))] for _ in range(count)]
    label = int(rng.random() * count)
    unclear = rng.random() < 0.25
    asked = "where is it ?" if unclear else f"where is the {colours[label]} {animals[label]} ?"
    answers = (f"the {colours[i]} {animals[i]} is in the {places[i]}" for i in range(count))
    return Question(asked, tuple(answers), label)


def _shuffled(words: tuple[str, ...], rng: Random) -> list[str]:
    """Shuffle by `rng.random()` alone, whose stream Python keeps the same between versions."""
    return sorted(words, key=lambda _: rng.random())
