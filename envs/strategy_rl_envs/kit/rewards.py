"""A task's reward: a weighted sum of plain functions. Knows no environment.

A component is a function that names, as parameters without a default, the facts of a step that it
wants; its parameters with a default are its settings:

    def short_reply(output: str, max_words: int = 20) -> float:
        return 1.0 if len(output.split()) <= max_words else 0.0
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from strategy_rl_envs.kit.errors import RewardError, SettingError, choices

Component = Callable[..., Any]


@dataclass(frozen=True)
class _Term:
    """One component, ready to be called."""

    name: str
    weight: float
    function: Component
    needs: tuple[str, ...]
    settings: dict[str, Any]


class WeightedReward:
    """Score a step as the sum of `weight * component(facts, settings)`.

    Args:
        components: what the task offers, by name.
        specs: what is wanted: mappings with `name`, `weight` (1.0 if left out) and `settings`
            (`{}` if left out), or a bare name.
        facts: names of the facts that the task gives at every step.

    Raises:
        SettingError: an unknown name, key, setting or fact, a weight that is no finite number,
            the same name twice, or no component at all.
    """

    def __init__(
        self,
        components: Mapping[str, Component],
        specs: Sequence[Mapping[str, Any] | str],
        facts: Collection[str],
    ) -> None:
        if isinstance(specs, str | Mapping) or not isinstance(specs, Sequence) or not specs:
            raise SettingError(
                f"reward: expected a list of {{name, weight, settings}}, got {specs!r}"
            )
        self._terms = tuple(
            _read_spec(f"reward[{place}]", spec, components, facts)
            for place, spec in enumerate(specs)
        )
        self.names = tuple(term.name for term in self._terms)
        twice = {name for name in self.names if self.names.count(name) > 1}
        if twice:
            raise SettingError(f"reward: {sorted(twice)} given twice; give each name once")

    def score(self, facts: Mapping[str, Any]) -> tuple[float, dict[str, float]]:
        """Return the reward and its weighted components, which add up to it.

        Raises:
            RewardError: a component raised, or gave no finite number.
        """
        values = {}
        reward = 0.0
        for term in self._terms:
            weighted = term.weight * _call(term, facts)
            values[term.name] = weighted
            reward += weighted
        if not math.isfinite(reward):
            raise RewardError(f"the reward's sum is {reward} on row {facts.get('row')}: {values}")
        return reward, values


def _read_spec(
    place: str,
    spec: Mapping[str, Any] | str,
    components: Mapping[str, Component],
    facts: Collection[str],
) -> _Term:
    """Check one entry of `reward` and bind it to its function."""
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping) or "name" not in spec:
        raise SettingError(f"{place}: expected {{name, weight, settings}}, got {spec!r}")
    for key in spec:
        if key not in ("name", "weight", "settings"):
            raise SettingError(f"{place}.{key}: {choices(key, ('name', 'weight', 'settings'))}")
    name = spec["name"]
    if name not in components:
        raise SettingError(f"{place}.name: no component {name!r}; {choices(name, components)}")
    weight = spec.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, Real) or not math.isfinite(weight):
        raise SettingError(f"{place}.weight: expected a finite number, got {weight!r}")
    needs, defaults = _parameters(place, components[name], facts)
    settings = _read_settings(place, spec.get("settings") or {}, defaults)
    return _Term(name, float(weight), components[name], needs, settings)


def _parameters(
    place: str, function: Component, facts: Collection[str]
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Split a component's parameters into the facts it needs and its settings with defaults."""
    needs, defaults = [], {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (
            parameter.POSITIONAL_ONLY,
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            raise SettingError(
                f"{place}: {_named(function)} takes {parameter}; name each parameter"
            )
        if parameter.default is not parameter.empty:
            defaults[parameter.name] = parameter.default
        elif parameter.name in facts:
            needs.append(parameter.name)
        else:
            raise SettingError(
                f"{place}: {_named(function)} wants {parameter.name!r}, which the task does "
                f"not give; {choices(parameter.name, facts)}"
            )
    return tuple(needs), defaults


def _read_settings(place: str, given: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Check that each setting exists and has its default's type; an int may stand for a float."""
    if not isinstance(given, Mapping):
        raise SettingError(f"{place}.settings: expected a mapping, got {given!r}")
    for name, value in given.items():
        if name not in defaults:
            raise SettingError(
                f"{place}.settings.{name}: no such setting; {choices(name, defaults)}"
            )
        default = defaults[name]
        wanted = (int, float) if type(default) is float else (type(default),)
        if default is not None and type(value) not in wanted:
            raise SettingError(
                f"{place}.settings.{name}: expected {type(default).__name__}, got {value!r}"
            )
    return dict(given)


def _call(term: _Term, facts: Mapping[str, Any]) -> float:
    """Call one component and make sure that what comes back is a finite number."""
    try:
        value = term.function(**{name: facts[name] for name in term.needs}, **term.settings)
    except Exception as error:
        raise RewardError(
            f"{_where(term, facts)} raised {type(error).__name__}: {error}"
        ) from error
    if type(value) is not float:
        if not isinstance(value, Real | Decimal | np.bool_):
            raise RewardError(f"{_where(term, facts)} gave {value!r}; expected one number")
        value = float(value)
    if not math.isfinite(value):
        raise RewardError(f"{_where(term, facts)} gave {value}; expected a finite number")
    return value


def _where(term: _Term, facts: Mapping[str, Any]) -> str:
    return f"reward {term.name!r} ({_named(term.function)}) on row {facts.get('row')}"


def _named(function: Component) -> str:
    module = getattr(function, "__module__", "?")
    return f"{module}.{getattr(function, '__qualname__', type(function).__qualname__)}"
