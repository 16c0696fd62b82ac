"""How episodes of a task are best shown, as installed tasks tell it. Data alone; no code of a run.

A package names a list in its entry points, group `strategy_rl.renderers`; docs/policy-tab.md has
the vocabulary.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from strategy_rl.board.heads import number_of

GROUP = "strategy_rl.renderers"

Option = Callable[..., Any]  # reads an option of the run's configuration by the names on its way

# What an entry may say; "?" marks what may be left out.
_ENTRY: Mapping[str, Any] = {
    "name": str,
    "task": str,
    "sentences?": str,
    "texts?": [{"title": str, "field": str}],
    "scales?": [
        {
            "title": str,
            "part": str,
            "otherwise?": (int, float),
            "presets?": {"option": [str], "value": str},
        }
    ],
    "factors?": {"option": [str], "names": [str], "otherwise?": dict},
}

log = logging.getLogger(__name__)


def renderer_of(task: str | None, option: Option) -> dict[str, Any] | None:
    """How a run's episodes are shown: what its task registered, and what the run's own options say.

    Args:
        task: The run's task.
        option: Of the run.

    Returns:
        `sentences`, `texts`, `scales` and `factors` as they are registered, None or empty where
        they are not; each scale with `named`, the numbers of the run's presets, and factors as a
        list of `name` and `values`. None where nothing is registered for the task.
    """
    for entry in installed_renderers():
        if entry["task"] == task:
            return {
                "name": entry["name"],
                "sentences": entry.get("sentences"),
                "texts": entry.get("texts", []),
                "scales": [_scale(scale, option) for scale in entry.get("scales", [])],
                "factors": _factors(entry["factors"], option) if "factors" in entry else [],
            }
    return None


@cache
def installed_renderers() -> tuple[dict[str, Any], ...]:
    """All of them, read once; what cannot be used is logged and left out."""
    return tuple(_installed())


def _installed() -> Iterator[dict[str, Any]]:
    for point in entry_points(group=GROUP):
        try:
            entries = json.loads(json.dumps(point.load(), allow_nan=False))  # data, and a copy
            _check(entries, [_ENTRY], "")
        except Exception as error:  # of somebody else's package
            log.warning("the renderers of %s are left out: %s", point.value, error)
        else:
            yield from entries


def _check(value: Any, shape: Any, place: str) -> None:
    """Compare with a shape: a type, a list of one shape, or a mapping of names to shapes.

    Raises:
        TypeError: It differs; says where.
    """
    kind: Any = type(shape) if isinstance(shape, dict | list) else shape
    if not isinstance(value, kind):
        raise TypeError(f"{place or 'list'}: got {value!r}, expected {_spelled(kind)}")
    if isinstance(shape, list):
        for number, item in enumerate(value):
            _check(item, shape[0], f"{place}[{number}]")
    if isinstance(shape, dict):
        _check_names(value, shape, place)


def _check_names(value: Mapping[str, Any], shape: Mapping[str, Any], place: str) -> None:
    known = {name.rstrip("?"): inner for name, inner in shape.items()}
    needed = [name for name in shape if not name.endswith("?")]
    for name in dict.fromkeys([*value, *needed]):
        if name not in known:
            raise TypeError(f"{place}.{name}: unknown; known are {', '.join(known)}")
        if name not in value:
            raise TypeError(f"{place}.{name}: missing")
        _check(value[name], known[name], f"{place}.{name}")


def _spelled(kind: Any) -> str:
    return " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))


def _scale(scale: Mapping[str, Any], option: Option) -> dict[str, Any]:
    """A number of each setting: a part of its name, or said by the preset of that name."""
    otherwise, presets = scale.get("otherwise"), scale.get("presets")
    listed = option(*presets["option"]) if presets else None
    named = {
        str(preset["name"]): number_of(preset.get(presets["value"], otherwise))
        for preset in (listed if isinstance(listed, list) else [])
        if presets and isinstance(preset, dict) and "name" in preset
    }
    return {"title": scale["title"], "part": scale["part"], "otherwise": otherwise, "named": named}


def _factors(factors: Mapping[str, Any], option: Option) -> list[dict[str, Any]]:
    """Those of which the run left a choice."""
    given = option(*factors["option"])
    values = given if isinstance(given, dict) else factors.get("otherwise", {})
    lists = {
        name: [False, True] if values[name] is True else values[name]
        for name in factors["names"]
        if name in values
    }
    return [
        {"name": name, "values": [_spoken(value) for value in listed]}
        for name, listed in lists.items()
        if isinstance(listed, list) and len(listed) > 1
    ]


def _spoken(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    number = number_of(value)
    return str(value) if number is None else f"{number:g}"
