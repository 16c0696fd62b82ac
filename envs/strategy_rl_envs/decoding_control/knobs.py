"""What a policy may choose: settings of decoding, and how actions name them. Knows no model.

    Menu.of(knobs={"temperature": [0, 0.7], "repetition_penalty": [1.0, 1.3], "stop": True})
    Menu.of(presets=[{"name": "plain"}, {"name": "lively", "temperature": 0.9}, {"stop": True}])

Knobs make a `MultiDiscrete` space with a factor for each knob that has more than one value; presets
make a `Discrete` one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

import numpy as np
from gymnasium import spaces

from strategy_rl_envs.kit.errors import SettingError, choices

KNOBS = ("temperature", "top_p", "repetition_penalty", "keyword_bonus", "end_bonus")
MOST_ACTIONS = 1000
DEFAULT_KNOBS: Mapping[str, Any] = {
    "temperature": [0.0, 0.7],
    "repetition_penalty": [1.0, 1.3],
    "stop": True,
}

# knob -> (least, most, whether the least itself is allowed)
_LIMITS = {
    "temperature": (0.0, 10.0, True),
    "top_p": (0.0, 1.0, False),
    "repetition_penalty": (0.0, 10.0, False),
    "keyword_bonus": (0.0, 100.0, True),
    "end_bonus": (-100.0, 100.0, True),
}
_SHORT = {
    "temperature": "T",
    "top_p": "p",
    "repetition_penalty": "r",
    "keyword_bonus": "keywords",
    "end_bonus": "end",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """How the next tokens are drawn.

    Attributes:
        temperature: Scores are divided by it; 0: the most probable token each time.
        top_p: Draw among the fewest tokens that hold this much probability, in (0, 1].
        repetition_penalty: By how much scores of tokens that stand in the prompt or the text are
            lowered; 1: not at all.
        keyword_bonus: Added to the scores of tokens that begin a missing keyword of the row, or go
            on with it.
        end_bonus: Added to the scores of tokens that end the text; below 0 it is held back.
        stop: End the text here; the rest does not matter then.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    keyword_bonus: float = 0.0
    end_bonus: float = 0.0
    stop: bool = False

    def __str__(self) -> str:
        if self.stop:
            return "stop"
        shown = [f"T {self.temperature:g}"]
        shown += [
            f"{_SHORT[knob]} {getattr(self, knob):g}"
            for knob in KNOBS[1:]
            if getattr(self, knob) != _PLAIN[knob]
        ]
        return ", ".join(shown)


_PLAIN = {field.name: field.default for field in fields(Setting)}
STOP = Setting(stop=True)


class Menu:
    """All settings that a policy may choose among.

    Args:
        factors: Names of the factors of an action.
        sizes: How many values each has.
        settings: One for each combination, in the order of `itertools.product`.
        names: Of the same combinations, for people.
        space: Of the actions.

    Attributes:
        space: `MultiDiscrete` or `Discrete`.
        factors: Names of the factors, in their order in an action.
        sizes: How many values each has.
        actions: One action for each setting that differs from those before it.
    """

    def __init__(
        self,
        factors: Sequence[str],
        sizes: Sequence[int],
        settings: Sequence[Setting],
        names: Sequence[str],
        space: spaces.Space[Any],
    ) -> None:
        self.factors, self.sizes, self.space = tuple(factors), tuple(sizes), space
        combinations = list(product(*map(range, self.sizes)))
        self._settings = dict(zip(combinations, settings, strict=True))
        self._names = dict(zip(combinations, names, strict=True))
        first: dict[Setting, tuple[int, ...]] = {}
        for combination, setting in self._settings.items():
            first.setdefault(setting, combination)
        self.actions: tuple[Any, ...] = tuple(map(self._action, first.values()))

    @classmethod
    def of(
        cls,
        knobs: Mapping[str, Any] | None = None,
        presets: Sequence[Mapping[str, Any]] | None = None,
    ) -> Menu:
        """Make a menu from the settings of an experiment.

        Args:
            knobs: Values by knob, and `stop: true` where the policy may stop; a knob that is left
                out has the value of `Setting`.
            presets: Mappings with any knobs, `stop` and `name`. Neither: `DEFAULT_KNOBS`.

        Raises:
            SettingError: Both are given, a value is out of its range, or nothing can be chosen.
        """
        if knobs is not None and presets is not None:
            raise SettingError("knobs and presets: got both; give one of them")
        if presets is not None:
            return _of_presets(presets)
        return _of_knobs(DEFAULT_KNOBS if knobs is None else knobs)

    def choice(self, action: Any) -> tuple[int, ...]:
        """The index of each factor.

        Raises:
            ValueError: The action is not in the space.
        """
        given = np.asarray(action)
        whole = given.dtype.kind in "iu" and given.size == len(self.sizes)
        found = tuple(given.reshape(-1).tolist()) if whole else ()
        if found not in self._settings:
            raise ValueError(f"action: got {action!r}, which is not in {self.space}")
        return found

    def setting(self, action: Any) -> Setting:
        """What an action chooses; all that stop give the same.

        Raises:
            ValueError: The action is not in the space.
        """
        return self._settings[self.choice(action)]

    def name(self, action: Any) -> str:
        """A setting for people: `T 0.7, p 0.9`, `stop`, or the name of a preset.

        Raises:
            ValueError: The action is not in the space.
        """
        return self._names[self.choice(action)]

    def _action(self, combination: tuple[int, ...]) -> Any:
        if isinstance(self.space, spaces.Discrete):
            return combination[0]
        return np.array(combination, dtype=np.int64)


def _of_knobs(knobs: Mapping[str, Any]) -> Menu:
    if not isinstance(knobs, Mapping):
        raise SettingError(f"knobs: expected a mapping of knobs to lists, got {knobs!r}")
    known = (*KNOBS, "stop")
    for name in knobs:
        if name not in known:
            raise SettingError(f"knobs: got {name!r}; {choices(name, known)}")
    values: dict[str, list[Any]] = {
        name: _values(f"knobs.{name}", name, knobs[name]) for name in KNOBS if name in knobs
    }
    if _flag("knobs.stop", knobs.get("stop", False)):
        values["stop"] = [False, True]
    varied = {name: listed for name, listed in values.items() if len(listed) > 1}
    fixed = {name: listed[0] for name, listed in values.items() if len(listed) == 1}
    sizes = [len(listed) for listed in varied.values()]
    _check_count("knobs", math.prod(sizes))
    settings = [
        _settled({**fixed, **dict(zip(varied, combination, strict=True))})
        for combination in product(*varied.values())
    ]
    space = spaces.MultiDiscrete(sizes)
    return Menu(tuple(varied), sizes, settings, [str(setting) for setting in settings], space)


def _of_presets(presets: Sequence[Mapping[str, Any]]) -> Menu:
    if isinstance(presets, str | Mapping) or not isinstance(presets, Sequence):
        raise SettingError(f"presets: expected a list of mappings, got {presets!r}")
    _check_count("presets", len(presets))
    settings = [_preset(f"presets[{place}]", preset) for place, preset in enumerate(presets)]
    names = [str(p.get("name", s)) for p, s in zip(presets, settings, strict=True)]
    for what, listed in (("setting", [*map(str, settings)]), ("name", names)):
        twice = next((entry for entry in listed if listed.count(entry) > 1), None)
        if twice is not None:
            raise SettingError(f"presets: the {what} {twice!r} stands there twice")
    return Menu(("preset",), (len(presets),), settings, names, spaces.Discrete(len(presets)))


def _preset(place: str, given: object) -> Setting:
    if not isinstance(given, Mapping):
        raise SettingError(f"{place}: expected a mapping, got {given!r}")
    known = ("name", *(field.name for field in fields(Setting)))
    for name in given:
        if name not in known:
            raise SettingError(f"{place}: got {name!r}; {choices(name, known)}")
    if not isinstance(given.get("name", ""), str):
        raise SettingError(f"{place}.name: expected a text, got {given['name']!r}")
    said = {name: _number(f"{place}.{name}", name, given[name]) for name in KNOBS if name in given}
    return _settled({**said, "stop": _flag(f"{place}.stop", given.get("stop", False))})


def _settled(said: Mapping[str, Any]) -> Setting:
    return STOP if said.get("stop") else Setting(**said)


def _check_count(place: str, count: int) -> None:
    if not 2 <= count <= MOST_ACTIONS:
        raise SettingError(
            f"{place}: {count} action(s) can be chosen, expected 2 to {MOST_ACTIONS}; give a knob "
            "two values or more, or stop: true"
        )


def _values(place: str, knob: str, given: object) -> list[float]:
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise SettingError(f"{place}: expected a list of numbers, got {given!r}")
    numbers = [_number(f"{place}[{i}]", knob, value) for i, value in enumerate(given)]
    if len(set(numbers)) < len(numbers):
        raise SettingError(f"{place}: a value stands twice in {numbers}")
    return numbers


def _number(place: str, knob: str, given: object) -> float:
    low, high, closed = _LIMITS[knob]
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if is_number and (low < given <= high or (closed and given == low)):  # type: ignore[operator]
        return float(given)  # type: ignore[arg-type]
    wanted = f"from {low:g}" if closed else f"above {low:g}"
    raise SettingError(f"{place}: expected a number {wanted} to {high:g}, got {given!r}")


def _flag(place: str, given: object) -> bool:
    if not isinstance(given, bool):
        raise SettingError(f"{place}: expected true or false, got {given!r}")
    return given
