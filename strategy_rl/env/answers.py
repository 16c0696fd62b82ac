"""What one environment answers. Knows nothing of where it is played."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class StepResult(NamedTuple):
    """One environment's answer to one action."""

    obs: Any
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]


class ResetResult(NamedTuple):
    """The start of one episode."""

    obs: Any
    info: dict[str, Any]


def detached(value: Any) -> Any:
    """The same, however often an environment writes into the arrays that it gave."""
    if isinstance(value, np.ndarray):
        return value.copy()
    return {k: detached(v) for k, v in value.items()} if isinstance(value, dict) else value
