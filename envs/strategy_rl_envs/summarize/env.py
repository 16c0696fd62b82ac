"""The environment. Knows how an episode goes; what a summary is worth is told beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from strategy_rl_envs.kit.documents import Document, View, load_split
from strategy_rl_envs.kit.errors import one_of, whole_number
from strategy_rl_envs.kit.selection import SPLITS, row_to_play
from strategy_rl_envs.kit.splits import split_path
from strategy_rl_envs.kit.text import UnicodeText
from strategy_rl_envs.rewards.composition import WeightedReward
from strategy_rl_envs.summarize.heuristics import Heuristic, best_count, first_words
from strategy_rl_envs.summarize.rewards import COMPONENTS, DEFAULT_REWARD, FACTS

SAMPLE = Path(__file__).parents[1] / "summarization" / "sample"  # the same documents
INSTRUCTION = "Summarize in one short line: "
INSTRUCTION_ZH = "用一句话概括："


class Summarize(gymnasium.Env[str, str]):
    """Write the summary of a document. One step is an episode.

        observation  "Summarize in one short line: Utility that makes it easy to repackage Java
                      libraries and embed them into your own distribution. ..."
        action       "Maven plugin to repackage Java libraries"
        reward       0.62, from what it shares with the real summary; the episode ends

    The observation is an instruction for a language model with the document's title and first
    sentences, the action is its whole answer; what is longer than `max_chars` is cut.
    `expert_action` is the first real summary.

    Args:
        split: `train`, `validation` or `test`.
        reward: List of `{name, weight, settings}` over the library and `rewards.COMPONENTS`; None
            is `rewards.DEFAULT_REWARD`.
        data: None for the shipped sample, a folder with `train.jsonl` and so on, or a file
            pattern with `{split}`; the files are those of Summarization.
        max_sentences: Sentences of a document that are shown, from its beginning.
        max_source: Characters of them and the title that are shown; the sentence in which that
            ends is cut.
        max_chars: Longest answer, in characters.

    Raises:
        SettingError: An argument is out of its range.
        DataError: The data cannot be used.
    """

    special_actions = ()

    def __init__(
        self,
        split: str = "train",
        reward: Sequence[Mapping[str, Any]] | None = None,
        *,
        data: str | None = None,
        max_sentences: int = 2,
        max_source: int = 300,
        max_chars: int = 1000,
    ) -> None:
        one_of("split", split, SPLITS)
        self._max_chars = whole_number("max_chars", max_chars, 1)
        self._max_source = whole_number("max_source", max_source, 1)
        self._view = View(whole_number("max_sentences", max_sentences, 1), max_source)
        self._train = split_path(data, "train", SAMPLE)
        loaded = load_split(split_path(data, split, SAMPLE), self._view)
        self._documents = loaded.rows
        self.num_rows = len(loaded.rows)
        self.row_groups = tuple(document.group for document in loaded.rows)
        self.data_counts, self.data_fingerprint = loaded.counts, loaded.fingerprint
        self.reward = WeightedReward(COMPONENTS, reward or DEFAULT_REWARD, FACTS)
        self.heuristics: dict[str, Heuristic] = {"lead": self._lead, "first_words": self._first}
        self.observation_space = UnicodeText(max_source + len(INSTRUCTION))
        self.action_space = UnicodeText(self._max_chars)
        self._open = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin a document: `options["row"]`, else a random one."""
        super().reset(seed=seed)
        self._row = row_to_play(options, self.num_rows, self.np_random)
        self._open = True
        document = self._documents[self._row]
        expert = document.references[0][: self._max_chars]
        return self._prompt(document), {"row": self._row, "expert_action": expert}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take the summary and score it; the episode ends."""
        if not self._open:
            raise gymnasium.error.ResetNeeded("the episode is over; call reset first")
        self._open = False
        document = self._documents[self._row]
        prompt = self._prompt(document)
        facts = {
            "output": str(action)[: self._max_chars],
            "prompt": prompt,
            "source": self._shown(document),
            "reference": document.references[0],
            "references": document.references,
            "row": self._row,
        }
        score = self.reward.score(facts)
        info = {"row": self._row, **score.info(), "reward_inputs": facts}
        return prompt, score.reward, True, False, info

    def _shown(self, document: Document) -> str:
        title = (document.title,) if document.title else ()
        return " ".join((*title, *document.sentences))[: self._max_source]

    def _prompt(self, document: Document) -> str:
        instruction = INSTRUCTION_ZH if document.language == "zh" else INSTRUCTION
        return instruction + self._shown(document)

    def _lead(self, prompt: str, rng: np.random.Generator) -> str:
        """The document's first sentence, as far as its mark of a sentence's end shows it."""
        text = _document_of(prompt)
        ends = [text.find(mark) for mark in (". ", "! ", "? ", "。", "！", "？")]
        return text[: min([end + 1 for end in ends if end >= 0], default=len(text))]

    def _first(self, prompt: str, rng: np.random.Generator) -> str:
        """As many first words as are best on the training split."""
        return first_words(_document_of(prompt), self._best_count)

    @cached_property
    def _best_count(self) -> int:
        return best_count(load_split(self._train, self._view).rows)


def _document_of(prompt: str) -> str:
    return prompt.removeprefix(INSTRUCTION).removeprefix(INSTRUCTION_ZH)
