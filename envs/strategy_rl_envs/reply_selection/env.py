"""The environment. Knows how a conversation goes on; reading and rewards are beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

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
from strategy_rl_envs.kit.splits import split_path
from strategy_rl_envs.reply_selection.data import SAMPLE, Turn, View, load_split
from strategy_rl_envs.reply_selection.heuristics import TfIdf, always_hand_over
from strategy_rl_envs.reply_selection.rewards import COMPONENTS, DEFAULT_REWARD, FACTS
from strategy_rl_envs.rewards import WeightedReward

Heuristic = Callable[[Mapping[str, Any], np.random.Generator], int]


class ReplySelection(gymnasium.Env[dict[str, Any], np.int64]):
    """Reply in a real conversation, turn after turn, or hand it over to a human.

    An episode is one speaker's first turns of a logged conversation. Each turn offers the reply
    that was really given among others; whatever is chosen, the next turn shows the logged history.

        state [1.0, 0.0, 1.0]    context ("how was your weekend ?", ...)
                                 candidates ("pretty good, i went hiking", "blue", "no idea")
                                 action 0 (the real reply)        +1
        state [0.875, 0.0, 1.0]  context (..., "pretty good, i went hiking", "where did you go ?")
                                 action 2 (a wrong one)           -0.5
        state [0.75, 1.0, 1.0]   action 10 `hand_over`            -0.25, the episode ends
                                 (a second wrong reply: -2, the customer leaves)

    `state` holds the turns left / `max_turns`, the wrong replies so far /
    `wrong_replies_allowed`, and the hand-overs left / `max_turns` (1 without a budget). An action
    that the mask forbids counts as a wrong reply. After the end the last turn is shown once more,
    with no turns left.

    Args:
        split: `train`, `validation` or `test`.
        reward: list of `{name, weight, settings}` over `rewards.COMPONENTS`; None is
            `rewards.DEFAULT_REWARD` of the mode.
        data: None for the shipped sample, a folder with `train.jsonl` and so on, or a file
            pattern with `{split}`.
        mode: `conversation`, or `single`: each turn is an episode of its own.
        after_hand_over: `leave` ends the episode; `stay`: a human answers this one turn.
        hand_over_budget: how many hand-overs an episode allows; None for any number.
        max_turns: turns of a conversation that are played.
        context_turns: texts of the history that are shown.
        min_candidates: fewest candidates of a turn.
        max_candidates: most candidates of a turn.
        wrong_replies_allowed: how many the customer bears with; the next one makes him leave.
        max_chars: longest text in characters; longer ones are cut and counted.

    Raises:
        SettingError: an argument is out of its range.
        DataError: the data cannot be used.
    """

    special_actions = ("hand_over",)

    def __init__(  # noqa: PLR0913 - each is a setting that an experiment names
        self,
        split: str = "train",
        reward: Sequence[Mapping[str, Any]] | None = None,
        *,
        data: str | None = None,
        mode: str = "conversation",
        after_hand_over: str = "leave",
        hand_over_budget: int | None = None,
        max_turns: int = 8,
        context_turns: int = 3,
        min_candidates: int = 3,
        max_candidates: int = 10,
        wrong_replies_allowed: int = 1,
        max_chars: int = 2000,
    ) -> None:
        one_of("split", split, SPLITS)
        self._stays = one_of("after_hand_over", after_hand_over, ("leave", "stay")) == "stay"
        self._budget = hand_over_budget
        if hand_over_budget is not None:
            whole_number("hand_over_budget", hand_over_budget, 0)
        self._allowed = whole_number("wrong_replies_allowed", wrong_replies_allowed, 0)
        view = View(
            single=one_of("mode", mode, ("conversation", "single")) == "single",
            max_turns=whole_number("max_turns", max_turns, 1),
            context_turns=whole_number("context_turns", context_turns, 1),
            min_candidates=whole_number("min_candidates", min_candidates, 2),
            max_candidates=whole_number("max_candidates", max_candidates, min_candidates),
            max_chars=whole_number("max_chars", max_chars, 1),
        )
        self._max_turns, self._max_candidates = view.max_turns, view.max_candidates
        loaded = load_split(split_path(data, split, SAMPLE), view)
        self._rows = loaded.rows
        self.num_rows = len(loaded.rows)
        self.row_groups = tuple(row.group for row in loaded.rows)
        self.data_counts, self.data_fingerprint = loaded.counts, loaded.fingerprint
        self.reward = WeightedReward(COMPONENTS, reward or DEFAULT_REWARD[mode], FACTS)
        self.heuristics = _heuristics(split_path(data, "train", SAMPLE), view)
        self.observation_space, self.action_space = selection_spaces(
            max_candidates, num_special=1, state_size=3, max_chars=max_chars
        )
        self._masks = [
            selection_mask(k, max_candidates, (True,)) for k in range(max_candidates + 1)
        ]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin a row at its first turn: `options["row"]`, else a random row."""
        super().reset(seed=seed)
        self._row = row_to_play(options, self.num_rows, self.np_random)
        self._turns = self._rows[self._row].turns
        self._turn = self._wrong = self._handed_over = 0
        self._ended = False
        return self._observe(self._turns[0], len(self._turns))

    def step(self, action: np.int64) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Reply or hand over, then show the next turn of the logged conversation."""
        if self._ended:
            raise gymnasium.error.ResetNeeded("the episode is over; call reset() first")
        facts = self._facts(int(action))
        score = self.reward.score(facts)
        self._ended = ended = facts["ended"]
        self._turn += not ended
        turns_left = 0 if ended else len(self._turns) - self._turn
        obs, info = self._observe(self._turns[self._turn], turns_left)
        info |= {**score.info(), "reward_inputs": facts}
        return obs, score.reward, ended, False, info

    def _facts(self, action: int) -> dict[str, Any]:
        """Play the action; return what the reward functions may know of it."""
        turn = self._turns[self._turn]
        handed_over = action == self._max_candidates and self._hand_overs_left() > 0
        correct = action == turn.label
        self._handed_over += handed_over
        self._wrong += not (correct or handed_over)
        left = self._wrong > self._allowed
        last = self._turn + 1 == len(self._turns)
        return {
            "correct": correct,
            "handed_over": handed_over,
            "left": left,
            "ended": left or last or (handed_over and not self._stays),
            "output": turn.candidates[action] if action < len(turn.candidates) else "",
            "reference": turn.candidates[turn.label],
            "context": turn.context,
            "candidates": turn.candidates,
            "action": action,
            "row": self._row,
            "turn": self._turn,
        }

    def _observe(self, turn: Turn, turns_left: int) -> tuple[dict[str, Any], dict[str, Any]]:
        mask = self._masks[len(turn.candidates)].copy()
        hand_overs = min(self._hand_overs_left(), self._max_turns)
        if hand_overs == 0:
            mask[-1] = 0
        wrong = min(1.0, self._wrong / max(1, self._allowed))
        state = (turns_left / self._max_turns, wrong, hand_overs / self._max_turns)
        obs = {
            "context": turn.context,
            "candidates": turn.candidates,
            "state": np.array(state, np.float32),
            "action_mask": mask,
        }
        info = {"row": self._row, "expert_action": turn.label, "candidate_kinds": turn.kinds}
        return obs, info

    def _hand_overs_left(self) -> int:
        return self._max_turns if self._budget is None else self._budget - self._handed_over


@lru_cache(maxsize=4)
def _trained_tfidf(train_path: Path, view: View) -> TfIdf:
    """Count the words of the training split, once a process and only where they are asked for."""
    rows = load_split(train_path, view).rows
    turns = [turn for row in rows for turn in row.turns]
    return TfIdf(dict.fromkeys(text for turn in turns for text in turn.context + turn.candidates))


def _heuristics(train_path: Path, view: View) -> dict[str, Heuristic]:
    def tfidf(obs: Mapping[str, Any], rng: np.random.Generator) -> int:
        return _trained_tfidf(train_path, view)(obs, rng)

    return {"random": random_legal_action, "tfidf": tfidf, "always_hand_over": always_hand_over}
