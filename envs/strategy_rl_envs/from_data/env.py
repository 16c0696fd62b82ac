"""The tasks: what their settings mean, and the environment that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gymnasium import spaces

from strategy_rl_envs.from_data.data import Loaded, Row, Source, find_classes, load
from strategy_rl_envs.from_data.decision import OneDecision
from strategy_rl_envs.from_data.fields import ClassFields, SelectionFields
from strategy_rl_envs.from_data.heuristics import class_heuristics, selection_heuristics
from strategy_rl_envs.from_data.rewards import COMPONENTS, FACTS, default_reward
from strategy_rl_envs.from_data.settings import (
    field_name,
    field_names,
    read_classes,
    read_source,
    read_special,
    read_texts,
)
from strategy_rl_envs.kit.errors import SettingError, one_of, whole_number
from strategy_rl_envs.kit.selection import SPLITS, selection_mask, selection_spaces
from strategy_rl_envs.kit.text import UnicodeText
from strategy_rl_envs.rewards.composition import WeightedReward


def selection(  # noqa: PLR0913 - each is a setting that an experiment names
    split: str = "train",
    reward: Sequence[Mapping[str, Any]] | None = None,
    *,
    data: str | None = None,
    context: str | Sequence[str] = "context",
    candidates: str | Sequence[str] = "candidates",
    label: str = "label",
    group: str | None = None,
    shares: Sequence[float] | None = None,
    reward_fields: Sequence[str] = (),
    special_actions: Sequence[str] = (),
    max_candidates: int | None = None,
    max_chars: int = 2000,
) -> OneDecision:
    """Select one of a row's own candidates, out of your JSONL, CSV or parquet file.

        {"question": "Which one cuts paper ?", "options": ["a spoon", "the scissors"], "answer": 1}

        context ("Which one cuts paper ?",)   candidates ("a spoon", "the scissors")
        action 1 -> correct, +1, the episode ends

    Args:
        split: `train`, `validation` or `test`.
        reward: list of `{name, weight, ...}` over `rewards.COMPONENTS`, the library and your own;
            None: 1 for the right one, and with special actions -1 for a wrong one and -0.25 for
            a special action.
        data: a folder with `train.jsonl` (or .csv, .parquet) and so on, a pattern with `{split}`,
            or one file, which is shared out among the splits; None: a small sample.
        context: field, or fields in their order, with a text or a list of texts.
        candidates: field with a list of texts, or one field for each candidate.
        label: field with the right one: its index from 0, or its text.
        group: field whose rows stay together in splits and resampling; None: rows with the same
            texts do.
        shares: of train, validation and test where `data` is one file; None: 0.8, 0.1, 0.1.
        reward_fields: further fields that reward functions may ask for by name.
        special_actions: names of actions beside the candidates, such as `abstain`.
        max_candidates: room for candidates; None: as many as any row has.
        max_chars: longest text in characters; longer ones are cut and counted.

    Raises:
        SettingError: a setting is out of its range.
        DataError: the data cannot be used.
    """
    one_of("split", split, SPLITS)
    special = read_special(special_actions)
    source = read_source(data, "selection", group, shares, reward_fields, max_chars)
    fields = SelectionFields(
        field_names("context", context),
        field_names("candidates", candidates),
        field_name("label", label),
    )
    loaded = load(source, fields, split)
    room = _room(max_candidates, source, fields, loaded)
    observation_space, action_space = selection_spaces(room, len(special), 0, source.max_chars)

    def show(row: Row) -> tuple[dict[str, Any], dict[str, Any]]:
        mask = selection_mask(len(row.candidates), room, (True,) * len(special))
        obs = {"context": row.context, "candidates": row.candidates, "action_mask": mask}
        gold = row.candidates[row.label]
        kinds = tuple("gold" if text == gold else "other" for text in row.candidates)
        return obs, {"candidate_kinds": kinds}

    return OneDecision(
        loaded,
        observation_space,
        action_space,
        show,
        special,
        _reward(reward, source, special),
        selection_heuristics(source, fields, room, special),
    )


def classification(  # noqa: PLR0913 - each is a setting that an experiment names
    split: str = "train",
    reward: Sequence[Mapping[str, Any]] | None = None,
    *,
    data: str | None = None,
    text: str | Sequence[str] = "text",
    label: str = "label",
    classes: Sequence[str] | None = None,
    group: str | None = None,
    shares: Sequence[float] | None = None,
    reward_fields: Sequence[str] = (),
    special_actions: Sequence[str] = (),
    max_chars: int = 2000,
) -> OneDecision:
    """Name the class of a text, out of your JSONL, CSV or parquet file.

        {"text": "my parcel never came", "label": "delivery"}

        text "my parcel never came"   actions: billing, delivery, returns
        action 1 -> correct, +1, the episode ends

    Args:
        split: `train`, `validation` or `test`.
        reward: as for `selection`.
        data: as for `selection`.
        text: field with a text, or several; the observation holds each under its name.
        label: field with the name of the class: a text, a whole number, true or false.
        classes: names of all classes in the order of the actions; None: those of the training
            rows, numbers by size, texts by letter.
        group: as for `selection`.
        shares: as for `selection`.
        reward_fields: as for `selection`.
        special_actions: as for `selection`.
        max_chars: as for `selection`.

    Raises:
        SettingError: a setting is out of its range.
        DataError: the data cannot be used.
    """
    one_of("split", split, SPLITS)
    special = read_special(special_actions)
    source = read_source(data, "classification", group, shares, reward_fields, max_chars)
    texts = read_texts(text)
    fields = ClassFields(texts, field_name("label", label))
    fields = ClassFields(texts, fields.label, read_classes(classes) or find_classes(source, fields))
    space = spaces.Dict({name: UnicodeText(source.max_chars) for name in texts})
    return OneDecision(
        load(source, fields, split),
        space,
        spaces.Discrete(len(fields.classes) + len(special)),
        lambda row: (dict(zip(texts, row.context, strict=True)), {}),
        special,
        _reward(reward, source, special),
        class_heuristics(source, fields, special),
    )


def _room(given: int | None, source: Source, fields: SelectionFields, loaded: Loaded) -> int:
    """Room for candidates: the same in all splits, whichever is played."""
    if given is None:
        return max(load(source, fields, split).widest for split in SPLITS)
    if whole_number("max_candidates", given, 2) < loaded.widest:
        raise SettingError(
            f"max_candidates: got {given}, but a row has {loaded.widest} candidates; expected "
            f"{loaded.widest} or more, or null"
        )
    return given


def _reward(
    reward: Sequence[Mapping[str, Any]] | None, source: Source, special: tuple[str, ...]
) -> WeightedReward:
    specs = default_reward(bool(special)) if reward is None else reward
    return WeightedReward(COMPONENTS, specs, (*FACTS, *source.extra))
