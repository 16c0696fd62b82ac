"""What one environment answers. Knows nothing of where it is played."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

_FIXED = {str, int, float, bool, type(None)}


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
    """The same, however often an environment writes into the containers that it gave."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, dict):
        return {k: detached(v) for k, v in value.items()}
    if not isinstance(value, list | tuple):
        return value
    if set(map(type, value)) <= _FIXED:
        return value if isinstance(value, tuple) else list(value)
    items = [detached(item) for item in value]
    if isinstance(value, list):
        return items
    return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
