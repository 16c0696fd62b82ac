"""The settings of tasks from data: what may be given, and what is said where it may not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from strategy_rl_envs.from_data.data import Source
from strategy_rl_envs.from_data.rewards import FACTS
from strategy_rl_envs.kit.errors import SettingError, whole_number
from strategy_rl_envs.kit.splits import read_shares, split_file

_SAMPLE = Path(__file__).parent / "sample"
_DEFAULT_SHARES = (0.8, 0.1, 0.1)
_MEANT_BY_TRAINERS = ("candidates", "action_mask", "candidate_features")


def read_source(
    data: str | None,
    kind: str,
    group: str | None,
    shares: Sequence[float] | None,
    reward_fields: Sequence[str],
    max_chars: int,
) -> Source:
    """Read what both tasks share; without `data`, the sample of this `kind`.

    Raises:
        SettingError: a setting cannot be used.
    """
    data = str(_SAMPLE / f"{kind}.jsonl") if data is None else data
    if shares is not None and split_file(data, "train") is not None:
        raise SettingError(f"shares: {data!r} has a file for each split already; leave shares out")
    extra = field_names("reward_fields", reward_fields) if reward_fields else ()
    for name in extra:
        if name in FACTS or not name.isidentifier():
            raise SettingError(
                f"reward_fields: {name!r} cannot be a parameter of its own beside "
                f"{', '.join(FACTS)}; rename the field"
            )
    return Source(
        data,
        None if group is None else field_name("group", group),
        read_shares(_DEFAULT_SHARES if shares is None else shares),
        extra,
        whole_number("max_chars", max_chars, 1),
    )


def field_name(setting: str, given: object) -> str:
    """Read a setting that names one field.

    Raises:
        SettingError: it is no text.
    """
    if not isinstance(given, str) or not given:
        raise SettingError(f"{setting}: expected a field's name, got {given!r}")
    return given


def read_special(given: Sequence[str]) -> tuple[str, ...]:
    """Read the names of the special actions; there may be none."""
    return field_names("special_actions", given) if given else ()


def read_classes(given: Sequence[str] | None) -> tuple[str, ...]:
    """Read the names of the classes; none where the training rows are to tell.

    Raises:
        SettingError: there is but one.
    """
    if given is None:
        return ()
    names = field_names("classes", given)
    if len(names) < 2:
        raise SettingError(f"classes: expected two or more names, got {given!r}")
    return names


def read_texts(given: object) -> tuple[str, ...]:
    """Read the fields that an observation holds under their own names.

    Raises:
        SettingError: a trainer would take one of them for something else.
    """
    names = field_names("text", given)
    for name in names:
        if name in _MEANT_BY_TRAINERS:
            raise SettingError(
                f"text: {name!r} means something else in an observation; rename the field"
            )
    return names


def field_names(setting: str, given: object) -> tuple[str, ...]:
    """Read a setting that names one field or several.

    Raises:
        SettingError: it is neither a text nor a list of different texts.
    """
    listed = given if isinstance(given, list | tuple) else (given,)
    names = tuple(name for name in listed if isinstance(name, str) and name)
    if not names or len(names) < len(listed) or len(set(names)) < len(names):
        raise SettingError(f"{setting}: expected a field's name or a list of them, got {given!r}")
    return names
