"""Scores facts by a reward that may be broken: what fails is noted, not raised."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from strategy_rl_envs.rewards.checkup.material import Facts, Played, Step


class Composition(Protocol):
    """What the check-up needs of a task's reward; `WeightedReward` has it."""

    names: tuple[str, ...]

    def score(self, facts: Facts) -> Any:
        """Score one step."""

    def score_many(self, facts: Sequence[Facts]) -> Sequence[Any]:
        """Score several steps at once."""

    def probe(self, facts: Sequence[Facts]) -> Sequence[Any]:
        """Notice what its functions change."""


class Scored(NamedTuple):
    """One step's reward (NaN where it failed), its parts, and the reason of a failure."""

    reward: float
    components: Mapping[str, float]
    values: Mapping[str, float | None]
    fault: str | None = None


def score_one(reward: Composition, facts: Facts) -> Scored:
    """Score one step."""
    try:
        return _read(reward.score(facts))
    except Exception as error:
        return Scored(math.nan, {}, {}, f"{type(error).__name__}: {error}")


def score_all(reward: Composition, facts: Sequence[Facts]) -> list[Scored]:
    """Score steps at once, or one by one where one of them fails."""
    if not facts:
        return []
    try:
        return score_together(reward, facts)
    except Exception:
        return [score_one(reward, given) for given in facts]


def score_together(reward: Composition, facts: Sequence[Facts]) -> list[Scored]:
    """Score steps at once; what the reward raises is raised."""
    return [_read(score) for score in reward.score_many(facts)]


def declared_bounds(reward: Composition) -> dict[str, tuple[float, float]]:
    """Least and greatest value of each component whose author declares them."""
    given: Mapping[str, tuple[float, float] | None] = getattr(reward, "bounds", {})
    return {name: bounds for name, bounds in given.items() if bounds is not None}


def replayed(reward: Composition, policy: str, row: int, facts: Sequence[Facts]) -> Played:
    """An episode that was stored, as this reward scores it."""
    scores = score_all(reward, facts)
    fault = next((score.fault for score in scores if score.fault), None)
    steps = (Step(f, s.reward, s.components, s.values) for f, s in zip(facts, scores, strict=True))
    return Played(policy, row, tuple(steps), fault)


def _read(score: Any) -> Scored:
    fault = score.dropped
    return Scored(math.nan if fault else float(score.reward), score.components, score.values, fault)
