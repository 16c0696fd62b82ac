"""Reads the reward list of an experiment file; every fault is reported at once, with its place."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from strategy_rl_envs.kit.errors import SettingError, choices
from strategy_rl_envs.rewards.function import RewardFunction, described, registered
from strategy_rl_envs.rewards.shaping import Affine, Gate, Running, Shape, Weight

KEYS = ("name", "weight", "settings", "clip", "scale", "gate", "on_error", "deadline", "isolate")
DEADLINE = 60.0
LIBRARY = "strategy_rl_envs.rewards.library"


@dataclass(frozen=True)
class Spec:
    """One entry of the list, checked.

    Attributes:
        name: Name of the function and of what it gives.
        function: What is called.
        settings: Its keyword-only arguments, where they are not left at their defaults.
        facts: Names of the facts that it is given.
        shape: From its value to its share of the reward.
        drops: A failure drops the episode; otherwise it stops the run.
        deadline: Seconds that a call may take.
        isolate: It runs in a process of its own.
    """

    name: str
    function: RewardFunction
    settings: dict[str, Any]
    facts: tuple[str, ...]
    shape: Shape
    drops: bool
    deadline: float
    isolate: bool


def read_specs(
    components: Mapping[str, Callable[..., Any]], specs: Any, facts: Collection[str]
) -> tuple[Spec, ...]:
    """Check the whole list.

    Raises:
        SettingError: one line for each fault, begun with its place, as `reward[1].weight: `.
    """
    if isinstance(specs, str | Mapping) or not isinstance(specs, Sequence) or not specs:
        raise SettingError(f"reward: expected a list of {{name, weight, settings}}, got {specs!r}")
    faults: list[str] = []
    entries = [_Entry(f"reward[{i}]", spec, faults) for i, spec in enumerate(specs)]
    found = [entry.read(components, facts) for entry in entries]
    names = [entry.name for entry in entries if entry.name]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        faults.append(f"reward: {', '.join(twice)} given twice; give each name once")
    for entry in entries:
        entry.check_gate(names)
    if faults:
        raise SettingError("\n".join(faults))
    return tuple(spec for spec in found if spec is not None)


def find_function(components: Mapping[str, Callable[..., Any]], name: str) -> RewardFunction | None:
    """Look a name up in the task, among one's own functions, then in the library."""
    if name in components:
        return described(components[name], name=name)
    if name not in registered():
        importlib.import_module(LIBRARY)
    return registered().get(name)


class _Entry:
    """One entry and the list to which its faults are added."""

    def __init__(self, place: str, given: Any, faults: list[str]) -> None:
        self.place, self._faults = place, faults
        given = {"name": given} if isinstance(given, str) else given
        self.given: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        name = self.given.get("name")
        self.name = name if isinstance(name, str) else ""
        if not self.name:
            self._fault("", f"expected {{name, weight, settings}}, got {given!r}")
        for key in self.given:
            if key not in KEYS:
                self._fault(f".{key}", f"no such key; {choices(key, KEYS)}")

    def read(
        self, components: Mapping[str, Callable[..., Any]], facts: Collection[str]
    ) -> Spec | None:
        """Read every key; None where there is no function (faults may be found even so)."""
        shape = Shape(self._weight(), self._scale(), self._clip(), self._gate())
        on_error = self._one_of("on_error", "stop", ("stop", "drop"))
        deadline = self._number(".deadline", self.given.get("deadline", DEADLINE), above=0.0)
        isolate = self._one_of("isolate", False, (False, True))
        function = self._function(components)
        if function is None:
            return None
        if isolate and not getattr(function.function, "__qualname__", "").isidentifier():
            self._fault(".isolate", f"{function.place} must stand at the top level of a module")
        wanted = self._facts(function, facts)
        settings = self.given.get("settings") or {}
        self._faults.extend(function.setting_faults(f"{self.place}.settings", settings))
        drops = on_error == "drop"
        return Spec(self.name, function, settings, wanted, shape, drops, deadline, isolate)

    def check_gate(self, names: Sequence[str]) -> None:
        """The gating component must be another one of the list."""
        gate = self.given.get("gate")
        name = gate.get("name") if isinstance(gate, Mapping) else None
        if not isinstance(name, str):
            return
        others = [other for other in names if other != self.name]
        if name.partition("/")[0] not in others:
            self._fault(".gate.name", f"{name!r} is no other component; {choices(name, others)}")

    def _function(self, components: Mapping[str, Callable[..., Any]]) -> RewardFunction | None:
        if not self.name:
            return None
        try:
            function = find_function(components, self.name)
        except SettingError as error:  # its signature cannot be read
            self._fault("", str(error))
            return None
        if function is None:
            known = [*components, *registered()]
            near = get_close_matches(self.name, known, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)};"
            own = "" if near else " to bring your own: imports: [my_rewards.py]"
            self._fault(".name", f"no reward function {self.name!r}; {hint}{own}")
        return function

    def _facts(self, function: RewardFunction, facts: Collection[str]) -> tuple[str, ...]:
        for name in function.needs:
            if name not in facts:
                self._fault(
                    "",
                    f"{function.place} wants {name!r}, which the task does not give; "
                    f"{choices(name, facts)}",
                )
        return (*function.needs, *(name for name in function.wants if name in facts))

    def _weight(self) -> Weight:
        given = self.given.get("weight", 1.0)
        if not isinstance(given, Mapping):
            return Weight.fixed(self._number(".weight", given))
        part = self._mapping("weight", given, {"from": None, "to": None, "over": 1.0})
        return Weight(
            self._number(".weight.from", part["from"]),
            self._number(".weight.to", part["to"]),
            self._number(".weight.over", part["over"], above=0.0, most=1.0),
        )

    def _scale(self) -> Affine | Running | None:
        given = self.given.get("scale")
        if given is None or given == "running":
            return None if given is None else Running()
        part = self._mapping("scale", given, {"shift": 0.0, "divide": 1.0})
        divide = self._number(".scale.divide", part["divide"])
        if divide == 0:
            self._fault(".scale.divide", "expected a number other than 0, got 0")
        return Affine(self._number(".scale.shift", part["shift"]), divide)

    def _clip(self) -> tuple[float, float] | None:
        given = self.given.get("clip")
        if given is None:
            return None
        if not isinstance(given, list | tuple) or len(given) != 2:
            self._fault(".clip", f"expected [lowest, highest], got {given!r}")
            return None
        low, high = (self._number(".clip", bound) for bound in given)
        if low > high:
            self._fault(".clip", f"expected the lower bound first, got {given!r}")
        return low, high

    def _gate(self) -> Gate | None:
        given = self.given.get("gate")
        if given is None:
            return None
        part = self._mapping("gate", given, {"name": "", "at_least": None})
        if not isinstance(part["name"], str) or not part["name"]:
            self._fault(".gate.name", f"expected a component's name, got {part['name']!r}")
        return Gate(str(part["name"]), self._number(".gate.at_least", part["at_least"]))

    def _mapping(self, key: str, given: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Read a small mapping; None as a default means that the key must be given."""
        if not isinstance(given, Mapping):
            self._fault(f".{key}", f"expected {{{', '.join(defaults)}}}, got {given!r}")
            return {name: 1.0 if default is None else default for name, default in defaults.items()}
        for name in given:
            if name not in defaults:
                self._fault(f".{key}.{name}", f"no such key; {choices(name, defaults)}")
        return {name: given.get(name, default) for name, default in defaults.items()}

    def _number(
        self, key: str, given: Any, above: float = -math.inf, most: float = math.inf
    ) -> float:
        number = float(given) if isinstance(given, int | float) else math.nan
        if math.isfinite(number) and not isinstance(given, bool) and above < number <= most:
            return number
        wanted = "a finite number"
        wanted += f" above {above:g}" if above > -math.inf else ""
        wanted += f" and at most {most:g}" if most < math.inf else ""
        self._fault(key, f"expected {wanted}, got {given!r}")
        return 1.0

    def _one_of(self, key: str, default: Any, known: Sequence[Any]) -> Any:
        given = self.given.get(key, default)
        if not any(type(given) is type(option) and given == option for option in known):  # 0, 1
            self._fault(f".{key}", f"expected {' or '.join(map(str, known))}, got {given!r}")
            return default
        return given

    def _fault(self, key: str, message: str) -> None:
        self._faults.append(f"{self.place}{key}: {message}")
