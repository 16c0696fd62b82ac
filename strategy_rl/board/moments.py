"""Moments of training put together: the iterations of each stage in a few equal ranges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any, NamedTuple

from strategy_rl.board.heads import Head

MOST_RANGES = 25  # of a stage; one more where they do not begin at a multiple of their size

_LAST = "evaluation"  # of what was trained before, whatever the order of files


class Moment(NamedTuple):
    """A stage and the first and the last of its iterations, None where it counts none."""

    stage: str | None
    first: int | None
    last: int | None

    def filters(self) -> dict[str, Any]:
        """What a list of episodes is filtered by; `iteration` is a number or a range."""
        one = self.first == self.last
        return {
            "stage": self.stage,
            "iteration": self.first if one else f"{self.first}-{self.last}",
        }


def moments_of(heads: Iterable[Head]) -> dict[tuple[str | None, int | None], Moment]:
    """By stage and iteration, in the order of training: stages as they first appear."""
    seen = dict.fromkeys((head["stage"], head["iteration"]) for head in heads)
    stages = sorted(dict.fromkeys(stage for stage, _ in seen), key=lambda stage: stage == _LAST)
    found: dict[tuple[str | None, int | None], Moment] = {}
    for stage in stages:
        iterations = sorted(i for s, i in seen if s == stage and i is not None)
        for i, (first, last) in zip(iterations, _ranges(iterations), strict=True):
            found[stage, i] = Moment(stage, first, last)
        if (stage, None) in seen:
            found[stage, None] = Moment(stage, None, None)
    return found


def _ranges(iterations: Sequence[int]) -> list[tuple[int, int]]:
    """The range of each, no longer than what is there; the iterations are sorted."""
    if not iterations:
        return []
    least, most = iterations[0], iterations[-1]
    size = ceil((most - least + 1) / MOST_RANGES)
    begins = [i // size * size for i in iterations]
    return [(max(least, begin), min(most, begin + size - 1)) for begin in begins]
