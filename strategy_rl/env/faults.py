"""What an environment did wrong, and how to play it again. Steps none."""

from __future__ import annotations

from typing import Any

from strategy_rl.errors import EnvironmentFault


class Replay:
    """What it takes to play an episode again."""

    def __init__(self, seed: int = 0, options: dict[str, Any] | None = None) -> None:
        self.seed = seed
        self.options = options
        self.actions: list[Any] = []

    def place(self) -> str:
        """Where the episode is: its row, where it plays one, and the step to come."""
        row = (self.options or {}).get("row")
        return ("" if row is None else f"row {row}, ") + f"step {len(self.actions) + 1}"

    def __str__(self) -> str:
        tail = [a.tolist() if hasattr(a, "tolist") else a for a in self.actions[-50:]]
        if len(self.actions) > 50:
            tail.insert(0, "...")
        return f"to replay: reset(seed={self.seed}, options={self.options}), then actions {tail}"


def fault_at(place: int, message: str) -> EnvironmentFault:
    """The fault of one of several observations; `EnvSlots.blamed` adds how to play it again."""
    fault = EnvironmentFault(message)
    fault.place = place
    return fault
