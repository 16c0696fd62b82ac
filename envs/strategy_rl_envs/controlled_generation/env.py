"""The environment. Knows how an episode goes; what a text is worth is told beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import gymnasium

from strategy_rl_envs.controlled_generation.data import KINDS, SAMPLE, View, load_split
from strategy_rl_envs.controlled_generation.heuristics import HEURISTICS
from strategy_rl_envs.controlled_generation.prompts import instruction
from strategy_rl_envs.controlled_generation.rewards import COMPONENTS, DEFAULT_REWARD, FACTS
from strategy_rl_envs.kit.errors import SettingError, one_of, whole_number
from strategy_rl_envs.kit.selection import SPLITS, row_to_play
from strategy_rl_envs.kit.splits import split_path
from strategy_rl_envs.kit.text import UnicodeText
from strategy_rl_envs.rewards.composition import WeightedReward

_LONGEST_INSTRUCTION = 500  # characters, beside the source: see `MOST_KEYWORDS`


class ControlledGeneration(gymnasium.Env[str, str]):
    """Write a text that keeps to what the prompt asks for. One step is an episode.

        observation  "Finish this sentence so that it is negative: the battery life is"
        action       "too short and i do not like it."
        reward       0.91, of which 0.51 `control`; the episode ends

    The observation is an instruction for a language model, the action is its whole answer; what
    is longer than `max_chars` is cut. `info["kind"]` names the kind of control. `expert_action` is
    a real text that does what is asked; rows without one have none.

    Args:
        split: `train`, `validation` or `test`.
        reward: List of `{name, weight, settings}` over `rewards.COMPONENTS` and the library; None
            is `rewards.DEFAULT_REWARD`.
        data: None for the shipped sample, a folder with `train.jsonl` and so on, or a file
            pattern with `{split}`.
        kinds: Which rows are played: some of `sentiment`, `keywords`, `length`, `poem_form`.
        expert_only: Leave out rows without a real text.
        max_chars: Longest answer, in characters.
        max_source: Longest text to be continued or summarized; longer ones are cut and counted.

    Raises:
        SettingError: An argument is out of its range, or no row is left.
        DataError: The data cannot be used.
    """

    special_actions = ()

    def __init__(
        self,
        split: str = "train",
        reward: Sequence[Mapping[str, Any]] | None = None,
        *,
        data: str | None = None,
        kinds: Sequence[str] = ("sentiment", "keywords"),
        expert_only: bool = False,
        max_chars: int = 1000,
        max_source: int = 2000,
    ) -> None:
        one_of("split", split, SPLITS)
        self._max_chars = whole_number("max_chars", max_chars, 1)
        max_source = whole_number("max_source", max_source, 1)
        view = View(_kinds(kinds), bool(expert_only), max_source)
        loaded = load_split(split_path(data, split, SAMPLE), view)
        self._rows = loaded.rows
        self.num_rows = len(loaded.rows)
        self.row_groups = tuple(row.group for row in loaded.rows)
        self.data_counts, self.data_fingerprint = loaded.counts, loaded.fingerprint
        self.reward = WeightedReward(COMPONENTS, reward or DEFAULT_REWARD, FACTS)
        self.heuristics = HEURISTICS
        self.observation_space = UnicodeText(max_source + _LONGEST_INSTRUCTION)
        self.action_space = UnicodeText(self._max_chars)
        self._open = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Begin a row: `options["row"]`, else a random one."""
        super().reset(seed=seed)
        self._place = row_to_play(options, self.num_rows, self.np_random)
        self._open = True
        row = self._rows[self._place]
        info: dict[str, Any] = {"row": self._place, "kind": row.kind}
        if row.reference is not None:
            info["expert_action"] = row.reference[: self._max_chars]
        return instruction(row), info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take the answer and score it; the episode ends."""
        if not self._open:
            raise gymnasium.error.ResetNeeded("the episode is over; call reset first")
        self._open = False
        row = self._rows[self._place]
        prompt = instruction(row)
        facts = {
            "output": str(action)[: self._max_chars],
            "prompt": prompt,
            "source": row.source,
            "reference": row.reference,
            "kind": row.kind,
            "target": deepcopy(row.target),
            "wanted": row.target["sentiment"] if row.kind == "sentiment" else "",
            "keywords": tuple(row.target["keywords"]) if row.kind == "keywords" else (),
            "window": row.window,
            "row": self._place,
        }
        score = self.reward.score(facts)
        info = {"row": self._place, "kind": row.kind, **score.info(), "reward_inputs": facts}
        return prompt, score.reward, True, False, info


def _kinds(given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise SettingError(f"kinds: expected a list of {', '.join(KINDS)}, got {given!r}")
    return tuple(one_of("kinds", kind, KINDS) for kind in given)
