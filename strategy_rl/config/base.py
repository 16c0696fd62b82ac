"""What all sections of an experiment are made of: types with ranges, schedules, refusals."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag


class Contradictions(ValueError):
    """Options that are fine one by one but not together; `faults` pairs a key with a message."""

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{key}: {message}" for key, message in faults))
        self.faults = faults


def refuse(faults: list[tuple[str, str]]) -> None:
    """Raise `Contradictions` where there are any, for a model's validator."""
    if faults:
        raise Contradictions(faults)


def as_tuple(value: object) -> object:
    """A YAML list as the tuple that a frozen section holds."""
    return tuple(value) if isinstance(value, list) else value


Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(ge=0, lt=1)]
Text = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused, no conversion (`true` is not 1)."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_by_name=True,
        validate_by_alias=True,
    )


class Schedule(Section):
    """A number that moves in a straight line while training goes on."""

    start: NonNegative = Field(alias="from")
    """Value at the beginning."""
    to: NonNegative
    """Value at the end of the move; it stays there."""
    over: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the training that the move takes."""

    def at(self, progress: float) -> float:
        """Value after `progress`, the share of the training done, 0 to 1."""
        done = min(max(progress / self.over, 0.0), 1.0)
        return self.start + (self.to - self.start) * done


def kind_of_number(value: object) -> str:
    """Which of number and schedule a value is meant to be, so that faults speak of one."""
    return "schedule" if isinstance(value, dict | Section) else "number"


ScheduledPositive = Annotated[
    Annotated[Positive, Tag("number")] | Annotated[Schedule, Tag("schedule")],
    Discriminator(kind_of_number),
]
ScheduledNonNegative = Annotated[
    Annotated[NonNegative, Tag("number")] | Annotated[Schedule, Tag("schedule")],
    Discriminator(kind_of_number),
]


def value_at(number: float | Schedule, progress: float) -> float:
    """A number-or-schedule option after `progress`, the share of the training done, 0 to 1."""
    return number.at(progress) if isinstance(number, Schedule) else number
