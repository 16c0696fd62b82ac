"""What is played: rows, a menu, a reward and how texts are written. Knows no model and no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strategy_rl_envs.decoding_control.data import SAMPLE, Row, load_split
from strategy_rl_envs.decoding_control.knobs import Menu
from strategy_rl_envs.decoding_control.reading import TEMPLATES
from strategy_rl_envs.decoding_control.rewards import COMPONENTS, DEFAULT_REWARD, FACTS
from strategy_rl_envs.kit.errors import SettingError, one_of, whole_number
from strategy_rl_envs.kit.rows import Split
from strategy_rl_envs.kit.selection import SPLITS
from strategy_rl_envs.kit.splits import split_path
from strategy_rl_envs.rewards.composition import WeightedReward

DTYPES = ("float32", "bfloat16")
MOST_TOKENS = 1024


@dataclass(frozen=True, kw_only=True)
class Writing:
    """How texts are written. Each is a setting that an experiment names.

    Attributes:
        model: Folder of a causal language model, or its id in the local Hugging Face cache.
        hold: Tokens that are written between two decisions, at most.
        max_new_tokens: The most tokens of a text, the end token included.
        template: `chat` for the model's own chat template, `plain` for the prompt as it is; `auto`:
            `chat` where there is one.
        targets: Whether the policy sees what of a row's `keywords` and `window` is still wanted.
        dtype: Of the model's weights, `float32` or `bfloat16`. In bfloat16 the company of other
            episodes may change a text.
        cache_mb: Megabytes of prompts that are kept as the model has read them, at most; a token of
            a model of 135 M weights takes 46 kB.

    Raises:
        SettingError: One is out of its range.
    """

    model: str = ""
    hold: int = 4
    max_new_tokens: int = 28
    template: str = "auto"
    targets: bool = False
    dtype: str = "float32"
    cache_mb: int = 2048

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model:
            raise SettingError(
                f"model: got {self.model!r}; name the folder of a causal language model"
            )
        whole_number("hold", self.hold, 1)
        whole_number("max_new_tokens", self.max_new_tokens, 1, MOST_TOKENS)
        whole_number("cache_mb", self.cache_mb, 0)
        one_of("template", self.template, TEMPLATES)
        if not isinstance(self.targets, bool):
            raise SettingError(f"targets: expected true or false, got {self.targets!r}")
        one_of("dtype", self.dtype, DTYPES)


@dataclass(frozen=True)
class Task:
    """One split as it is played.

    Attributes:
        split: Its rows.
        menu: What can be chosen.
        reward: What a finished text is worth.
        writing: How texts are written.
        expert_reward: By what the expert of `replay` stops: the reward that is given for it, else
            `reward`, with the weights of the end of training.
        dense: Whether each step is paid what it adds to the worth of the text so far; else all is
            paid at the end. The return is the same.
        experts: The best static action of each row, or None; None: of no row.
    """

    split: Split[Row]
    menu: Menu
    reward: WeightedReward
    writing: Writing
    expert_reward: WeightedReward
    dense: bool = False
    experts: Sequence[Any] | None = None

    def expert(self, place: int) -> Any:
        """The best static action of a row, where it is known."""
        return None if self.experts is None else self.experts[place]


def make_task(
    split: str,
    reward: Sequence[Mapping[str, Any]] | None,
    data: str | None = None,
    max_prompt: int = 4000,
    knobs: Mapping[str, Any] | None = None,
    presets: Sequence[Mapping[str, Any]] | None = None,
    dense: bool = False,
    expert_reward: Sequence[Mapping[str, Any]] | None = None,
    **writing: Any,
) -> Task:
    """Read the settings that an experiment names; see `env.DecodingControl`.

    Raises:
        SettingError: One is unknown or out of its range.
        DataError: The data cannot be used.
    """
    one_of("split", split, SPLITS)
    whole_number("max_prompt", max_prompt, 1)
    if not isinstance(dense, bool):
        raise SettingError(f"dense: expected true or false, got {dense!r}")
    try:
        how = Writing(**writing)
    except TypeError as error:  # a name that is unknown
        raise SettingError(f"{str(error).removeprefix('Writing.__init__() ')}") from error
    menu = Menu.of(knobs, presets)
    paid = reward or DEFAULT_REWARD
    composition = WeightedReward(COMPONENTS, paid, FACTS)
    judge = _at_the_end(paid if expert_reward is None else expert_reward)
    rows = load_split(split_path(data, split, SAMPLE), max_prompt)
    return Task(rows, menu, composition, how, judge, dense)


def _at_the_end(reward: Sequence[Mapping[str, Any]]) -> WeightedReward:
    """An expert's reward, with the weights that judge."""
    try:
        composition = WeightedReward(COMPONENTS, reward, FACTS)
    except SettingError as error:  # its places begin with `reward`
        raise SettingError(f"expert_reward: {error}") from error
    composition.set_progress(1.0)
    return composition
