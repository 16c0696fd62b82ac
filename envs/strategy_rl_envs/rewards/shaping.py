"""From a component's value to its share of the reward: scale, then clip, gate and weight."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

STD_FLOOR = 1e-6  # below it a component was constant so far, and is only centred
RUNNING_LIMIT = 10.0  # in standard deviations: a rare value must not outweigh a whole batch


@dataclass(frozen=True)
class Weight:
    """A weight that goes in a straight line `first` -> `last` over the first `over` of training."""

    first: float
    last: float
    over: float

    @classmethod
    def fixed(cls, weight: float) -> Weight:
        """The same weight all the time."""
        return cls(weight, weight, 1.0)

    def at(self, progress: float) -> float:
        """The weight at a share of training from 0 to 1."""
        share = min(1.0, progress / self.over)
        return (1.0 - share) * self.first + share * self.last


@dataclass(frozen=True)
class Affine:
    """(value - shift) / divide."""

    shift: float
    divide: float

    def __call__(self, value: float) -> float:
        """Scale one value."""
        return (value - self.shift) / self.divide


class Running:
    """(value - mean) / std within +-RUNNING_LIMIT; before the trainer gives moments, the value."""

    def __init__(self) -> None:
        self.moments: dict[str, Affine] = {}

    def set(self, name: str, mean: float, std: float) -> None:
        """Take over a component's mean and standard deviation."""
        self.moments[name] = Affine(mean, std if std >= STD_FLOOR else 1.0)

    def scaled(self, name: str, value: float) -> float:
        """Scale one value of a component."""
        affine = self.moments.get(name)
        if affine is None:
            return value
        return min(max(affine(value), -RUNNING_LIMIT), RUNNING_LIMIT)


@dataclass(frozen=True)
class Gate:
    """Counts only where the value of the component `name` is at least `at_least`."""

    name: str
    at_least: float

    def open(self, value: float | None) -> bool:
        """Whether a value of the gating component opens it; where that abstains, nothing does."""
        return value is not None and value >= self.at_least


@dataclass(frozen=True)
class Shape:
    """All that happens to a component's value, in this order, apart from the gate."""

    weight: Weight
    scale: Affine | Running | None = None
    clip: tuple[float, float] | None = None
    gate: Gate | None = None

    def described(self) -> dict[str, Any]:
        """All of it, in plain values."""
        return {**asdict(self), **({"scale": "running"} if isinstance(self.scale, Running) else {})}

    def scaled(self, name: str, value: float) -> float:
        """Scale and clip the value of a component."""
        scale = self.scale
        if scale is not None:
            value = scale.scaled(name, value) if isinstance(scale, Running) else scale(value)
        if self.clip is not None:
            value = min(max(value, self.clip[0]), self.clip[1])
        return value
