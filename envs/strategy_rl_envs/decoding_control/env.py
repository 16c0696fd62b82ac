"""The environment of one text at a time. Knows how an episode goes; texts are written beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from strategy_rl_envs.decoding_control.playing import Playing
from strategy_rl_envs.kit.selection import row_to_play

Obs = NDArray[np.float32]


class DecodingControl(Playing, gymnasium.Env[Obs, Any]):
    """Say how a frozen language model goes on with its text, every few tokens.

        observation  numbers about the text so far: see `feature_names`
        action       e.g. temperature 0.7, repetition penalty 1.3, or stop: see `knobs.Menu`
        reward       at the end that of the whole text; before it 0, or a share: see `dense`

    An episode writes a text for one prompt. A step writes up to `hold` tokens with the chosen
    setting, or stops at once; the text also ends with the model's end token and after
    `max_new_tokens`. `info["text"]` is what a step wrote, `info["kind"]` sorts prompts, and
    `expert_action` is the best single setting for the prompt, where it is known. One random number
    is drawn for each token, so that the same seed and actions give the same text. The observation
    after the last step is zeros.

    Several of these cost a forward pass each; `DecodingControlVector`, which
    `gymnasium.make_vec` makes, plays the same episodes with one for all.

    Args:
        split: `train`, `validation` or `test`.
        reward: List of `{name, weight, settings}` over `rewards.COMPONENTS` and the library; None
            is `rewards.DEFAULT_REWARD`.
        **settings: `data` (None for the shipped sample, a folder with `train.jsonl` and so on, or a
            file pattern with `{split}`), `max_prompt` (rows with a longer prompt, in characters,
            are left out), `dense` (pay each step what it adds to the worth of the text so far; the
            return is the same), `knobs` or `presets` (see `knobs.Menu.of`), those of
            `task.Writing`, of which `model` must be given, `replay` (where stopping is all that is
            chosen: play on texts that are written once, see `replay`), `expert_reward` (with
            `replay`: the reward by which its expert stops, where that is not `reward`; a list like
            that one, in which a model is a folder, not a `package:`), and `best_static` (what
            `search` has found: a file, or a pattern with `{split}`).

    Raises:
        SettingError: A setting is unknown or out of its range, or the model cannot be used.
        DataError: The data cannot be used.
    """

    def __init__(
        self,
        split: str = "train",
        reward: Sequence[Mapping[str, Any]] | None = None,
        **settings: Any,
    ) -> None:
        self.observation_space, self.action_space = self._open(split, reward, **settings)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Begin a row: `options["row"]`, else a random one."""
        super().reset(seed=seed)
        row = row_to_play(options, self.num_rows, self.np_random)
        start = self.episodes.begin([0], [row], [self.np_random])[0]
        return start.obs, start.info

    def step(self, action: Any) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Write on as the action says, or stop."""
        if not self.episodes.running:
            raise gymnasium.error.ResetNeeded("the episode is over; call reset first")
        played = self.episodes.play({0: action})[0]
        return played.obs, played.reward, played.terminated, False, played.info
