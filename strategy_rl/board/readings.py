"""What is told of many episodes at once, read from the steps of the latest few of one policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from strategy_rl.board.episode import entropy_of, steps_in
from strategy_rl.board.estimates import tokens_in
from strategy_rl.board.index import Entry, read_many

MAX_READ = 300  # episodes of one group whose steps are read


class Reading(NamedTuple):
    """Of one episode.

    Attributes:
        text: What it wrote: the texts of its steps, or its actions where they are texts.
        acts_in_text: Whether all its actions are texts.
        tokens: How many it wrote; 0 where they were not recorded for each step.
        entropies: In nats, of the steps that tell.
    """

    text: str
    acts_in_text: bool
    tokens: int
    entropies: list[float]


class Lengths(NamedTuple):
    """How long episodes are, in `steps`, or where they write `tokens` or `characters`."""

    unit: str
    entries: Sequence[Entry]
    values: Sequence[int]


class Group:
    """The episodes of one policy on one split, in the order of training."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self.entries = list(entries)

    @cached_property
    def readings(self) -> list[Reading]:
        """Of the latest few episodes; read once."""
        return [_reading(episode) for episode in read_many(self.entries[-MAX_READ:])]

    def lengths(self) -> Lengths:
        """Of the latest few where actions are texts: a text may grow where steps do not."""
        readings = self.readings
        if not readings or not all(reading.acts_in_text for reading in readings):
            return Lengths("steps", self.entries, [e.head["length"] for e in self.entries])
        latest = self.entries[-len(readings) :]
        if all(reading.tokens for reading in readings):
            return Lengths("tokens", latest, [reading.tokens for reading in readings])
        return Lengths("characters", latest, [len(reading.text) for reading in readings])


def _reading(episode: Mapping[str, Any]) -> Reading:
    steps = steps_in(episode)
    actions = [step.get("action") for step in steps]
    parts = [step.get("text") or step.get("action") for step in steps]
    tokens = [len(tokens_in(step)) for step in steps]
    return Reading(
        text="".join(part for part in parts if isinstance(part, str)),
        acts_in_text=bool(actions) and all(isinstance(action, str) for action in actions),
        tokens=sum(tokens) if all(tokens) else 0,
        entropies=[h for step in steps if (h := entropy_of(step)) is not None],
    )
