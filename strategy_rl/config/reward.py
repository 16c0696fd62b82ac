"""The reward of an experiment: a list of components. Knows nothing of what they compute."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    model_validator,
)

from strategy_rl.config.base import Positive, Section, Text, as_tuple, kind_of_number, refuse
from strategy_rl.config.names import shorten


class WeightSchedule(Section):
    """A weight that moves in a straight line while PPO goes on; it may be negative."""

    start: float = Field(alias="from")
    """Weight at the beginning."""
    to: float
    """Weight at the end of the move; it stays there, and judges."""
    over: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the training that the move takes."""


class Affine(Section):
    """(value - shift) / divide."""

    shift: float = 0.0
    """What is subtracted."""
    divide: float = 1.0
    """What the rest is divided by; not 0."""

    @model_validator(mode="after")
    def _divisible(self) -> Affine:
        if self.divide == 0:
            refuse([("divide", "got 0, expected another number")])
        return self


class Gate(Section):
    """A condition on another component's own value."""

    name: Text
    """The other component, or `component/score` of one with several; it may have weight 0."""
    at_least: float
    """From which value on the gated component counts."""


def _kind_of_scale(value: object) -> str:
    return "affine" if isinstance(value, dict | Affine) else "running"


class RewardTerm(Section):
    """One component of the reward: its value, scaled, clipped, gated, then weighted."""

    name: Text
    """Name of a component: the task's own, the library's, or one that `imports` brings."""
    weight: Annotated[
        Annotated[float, Tag("number")] | Annotated[WeightSchedule, Tag("schedule")],
        Discriminator(kind_of_number),
    ] = 1.0
    """What the component is multiplied by."""
    settings: dict[str, JsonValue] = {}  # noqa: RUF012 - pydantic copies it
    """Keyword arguments of the component."""
    scale: (
        Annotated[
            Annotated[Literal["running"], Tag("running")] | Annotated[Affine, Tag("affine")],
            Discriminator(_kind_of_scale),
        ]
        | None
    ) = None
    """`running`: to mean 0 and deviation 1 over the training so far; null: as it is."""
    clip: Annotated[tuple[float, float], BeforeValidator(as_tuple)] | None = None
    """Least and greatest value, after scaling; null: no limits."""
    gate: Gate | None = None
    """Count this component only where another one is high enough; null: always."""
    on_error: Literal["stop", "drop"] = "stop"
    """What a failure does while training: end the run, or throw the episode away and count it."""
    deadline: Positive = 60.0
    """Seconds that one call may take."""
    isolate: bool = False
    """Call it in a process of its own, which is killed at the deadline."""

    @model_validator(mode="after")
    def _ordered(self) -> RewardTerm:
        if self.clip is not None and self.clip[0] >= self.clip[1]:
            refuse([("clip", f"got {list(self.clip)}, expected the smaller number first")])
        if self.gate is not None and self.gate.name == self.name:
            refuse([("gate.name", "names the component itself; name another one")])
        return self


def _usable_reward(terms: tuple[RewardTerm, ...]) -> tuple[RewardTerm, ...]:
    names = [term.name for term in terms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{shorten(twice[0])} is listed twice; give it once, weights added")
    for term in terms:
        if term.gate is not None and term.gate.name.partition("/")[0] not in names:
            raise ValueError(
                f"the gate of {shorten(term.name)} names {shorten(term.gate.name)}, which is not "
                "listed; list it too, with weight 0 where it pays nothing itself"
            )
    if terms and not any(term.weight for term in terms):
        raise ValueError("all weights are 0, so every reward is 0; give one term another weight")
    return terms


Reward = Annotated[
    tuple[RewardTerm, ...], BeforeValidator(as_tuple), AfterValidator(_usable_reward)
]
