"""What the trainer asks of a task's reward. Computes none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

Moments = Mapping[str, tuple[float, float]]  # mean and standard deviation by reward component


@runtime_checkable
class Composition(Protocol):
    """What the trainer asks of a task's `reward`; the task kit's `WeightedReward` answers."""

    @property
    def normalised(self) -> tuple[str, ...]:
        """Names of the components that `set_moments` scales."""

    def set_progress(self, progress: float) -> None:
        """Move scheduled weights to where they are after this share of the training."""

    def set_moments(self, moments: Moments) -> None:
        """Scale by these."""

    def probe(self, facts: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
        """Try every component; gives findings with `component`, `severity` and `message`."""

    def timings(self) -> Mapping[str, tuple[int, float]]:
        """Calls and seconds by component."""

    def close(self) -> None:
        """End what calls have started."""
