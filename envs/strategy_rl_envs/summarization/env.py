"""The environment. Knows how a summary grows; what it is worth is told beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from strategy_rl_envs.kit.errors import SettingError, one_of, whole_number
from strategy_rl_envs.kit.selection import SPLITS, row_to_play, selection_spaces
from strategy_rl_envs.kit.splits import split_path
from strategy_rl_envs.rewards.composition import WeightedReward
from strategy_rl_envs.summarization.data import SAMPLE, View, load_split
from strategy_rl_envs.summarization.features import (
    MAX_FEATURE,
    NUM_FEATURES,
    NUM_STATE,
    prepared,
)
from strategy_rl_envs.summarization.heuristics import heuristics
from strategy_rl_envs.summarization.oracle import Picks, Terms
from strategy_rl_envs.summarization.rewards import COMPONENTS, DEFAULT_REWARD, FACTS


class Summarization(gymnasium.Env[dict[str, Any], np.int64]):
    """Pick sentences of a document, one at a time, until the summary is worth no more words.

        context ()               candidates ("Utility to repackage Java libraries.",
                                             "This is useful for two reasons:", ...)
                                 action 0 (a good sentence)       +0.41
        context ("Utility ..",)  the same; sentence 0 is now illegal
                                 action 1 (an empty one)          -0.03, words have a price
        context ("Utility ..", "This is ..")
                                 action 16 `stop`                  0, the episode ends

    The reward of a pick is what it adds to the worth of the summary (`oracle`): mean ROUGE-1, -2
    and -L recall less a price for words, so an episode's return is the worth of what it ends with.
    The summary reads in the order of the document, whatever the order of the picks.

    `context` holds the title, where there is one, and the picks so far. `state`: picks left /
    `max_picks`, words / limit, share of the document's words covered, share of the summary that
    repeats itself, likely summary words covered, sentences / 16. `candidate_features`: numbers
    of each sentence (`features`), 0 beyond the last. Illegal are what was picked, what is too
    long for `length_limit`, and `stop` before the first pick; an illegal action ends the episode.

    Args:
        split: `train`, `validation` or `test`.
        reward: List of `{name, weight, settings}` over `rewards.COMPONENTS` and the library; None
            is `rewards.DEFAULT_REWARD`.
        data: None for the shipped sample, a folder with `train.jsonl` and so on, or a file
            pattern with `{split}`.
        price: Of as many words as a mean training reference has; 0 needs a `length_limit`.
        max_picks: Most sentences of a summary.
        length_limit: Most words of a summary, in mean training references; None for no limit.
        max_sentences: Sentences of a document that are shown, from its beginning.
        max_chars: Longest sentence in characters; longer ones are cut and counted.

    Raises:
        SettingError: An argument is out of its range.
        DataError: The data cannot be used.
    """

    special_actions = ("stop",)

    def __init__(
        self,
        split: str = "train",
        reward: Sequence[Mapping[str, Any]] | None = None,
        *,
        data: str | None = None,
        price: float = 0.02,
        max_picks: int = 5,
        length_limit: float | None = None,
        max_sentences: int = 16,
        max_chars: int = 2000,
    ) -> None:
        one_of("split", split, SPLITS)
        self._terms = Terms(
            _number("price", price, 0.0),
            whole_number("max_picks", max_picks, 1),
            None if length_limit is None else _number("length_limit", length_limit, 0.1),
        )
        self._view = View(
            whole_number("max_sentences", max_sentences, 2), whole_number("max_chars", max_chars, 1)
        )
        train = load_split(split_path(data, "train", SAMPLE), self._view)
        loaded = load_split(split_path(data, split, SAMPLE), self._view)
        self._documents = loaded.rows
        self._prepared = prepared(loaded, train, self._terms)
        self.num_rows = len(loaded.rows)
        self.row_groups = tuple(document.group for document in loaded.rows)
        self.data_counts, self.data_fingerprint = loaded.counts, loaded.fingerprint
        self.reward = WeightedReward(COMPONENTS, reward or DEFAULT_REWARD, FACTS)
        self.heuristics = heuristics(train, self._terms)
        space, self.action_space = selection_spaces(
            max_sentences, num_special=1, state_size=NUM_STATE, max_chars=max_chars
        )
        shape = (max_sentences, NUM_FEATURES)
        features = spaces.Box(0.0, MAX_FEATURE, shape, np.float32)
        self.observation_space = spaces.Dict({**space.spaces, "candidate_features": features})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin a document with an empty summary: `options["row"]`, else a random row."""
        super().reset(seed=seed)
        self._row = row_to_play(options, self.num_rows, self.np_random)
        self._utility, self._features = self._prepared.of(self._row)
        self._order: Picks = ()  # as they were picked; sorted they are the summary
        return self._observe()

    def step(self, action: np.int64) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Add a sentence to the summary, or stop."""
        facts = self._facts(int(action))
        score = self.reward.score(facts)
        obs, info = self._observe()
        info |= score.info()
        info["reward_inputs"] = facts
        return obs, score.reward, facts["ended"], False, info

    def _facts(self, action: int) -> dict[str, Any]:
        """Play the action; return what the reward functions may know of it."""
        document, utility = self._documents[self._row], self._utility
        before, history = tuple(sorted(self._order)), self._texts(self._order)
        picked = action in utility.legal(before)
        if picked:
            self._order = (*self._order, action)
        summary = tuple(sorted(self._order))
        return {
            "recall_gain": utility.recall(summary) - utility.recall(before),
            "cost": utility.cost(summary) - utility.cost(before),
            "utility": utility.value(summary),
            "picked": picked,
            "ended": not (picked and utility.legal(summary)),
            "output": " ".join(self._texts(summary)),
            "reference": document.references[0],
            "references": document.references,
            "source": " ".join(document.sentences),
            "context": (*self._title(), *history),
            "candidates": document.sentences,
            "history": history,
            "action": action,
            "row": self._row,
        }

    def _observe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        sentences = self._documents[self._row].sentences
        summary = tuple(sorted(self._order))
        size = self._view.max_sentences
        mask = np.zeros(size + 1, np.int8)
        mask[self._utility.legal(summary)] = 1
        mask[size] = bool(summary)
        features = np.zeros((size, NUM_FEATURES), np.float32)
        features[: len(sentences)] = self._features.of(summary)
        obs = {
            "context": (*self._title(), *self._texts(self._order)),
            "candidates": sentences,
            "state": self._features.state(summary),
            "candidate_features": features,
            "action_mask": mask,
        }
        best = self._utility.best_pick(summary)
        return obs, {"row": self._row, "expert_action": size if best is None else best}

    def _title(self) -> tuple[str, ...]:
        title = self._documents[self._row].title
        return (title,) if title else ()

    def _texts(self, picks: Picks) -> tuple[str, ...]:
        sentences = self._documents[self._row].sentences
        return tuple(sentences[place] for place in picks)


def _number(setting: str, given: object, low: float) -> float:
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if is_number and low <= given < float("inf"):  # type: ignore[operator]
        return float(given)  # type: ignore[arg-type]
    raise SettingError(f"{setting}: expected a number of {low} or more, got {given!r}")
