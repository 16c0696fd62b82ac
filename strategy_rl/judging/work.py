"""What judging needs of the run around it. Knows no run folder and no signal itself."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from strategy_rl.logger import MetricsLogger


class Work(Protocol):
    """What judging needs of the run around it."""

    path: Path
    logger: MetricsLogger

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Show how far it is."""

    def heed_signals(self) -> None:
        """Leave if a signal has come."""
