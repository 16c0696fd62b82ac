"""A clock beside the reward functions: says who is slow, and stops who is too slow.

It rings by a timer signal, which reaches plain Python, sleeping and waiting for a network, but not
a library in the midst of a long computation; a function that may hang there needs `isolate: true`.
Signals reach the main thread alone, and Unix alone has the timer; elsewhere the clock is silent.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Protocol

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds after which a waiting line is logged
_AGAIN = 1.0  # seconds until the next try where a function swallowed the first


class DeadlinePassed(BaseException):
    """Raised inside a function that ran too long; no `except Exception` of its own catches it."""


class Timed(Protocol):
    """What the clock watches: a function's name and how many seconds a call may take."""

    name: str
    deadline: float


class Clock:
    """Watches the function in `running`, which began at `started` (seconds of perf_counter).

    `rung` says that it was stopped, for whoever calls it to see where the function catches that.
    """

    def __init__(self) -> None:
        self.running: Timed | None = None
        self.started = 0.0
        self.rung = False
        self._armed_at: float | None = None
        self._earlier: tuple[Any, tuple[float, float]] = (None, (0.0, 0.0))
        self._patience = PATIENCE
        self._told = False

    def arm(self, patience: float) -> None:
        """Begin to watch, from the main thread only; ring after `patience` seconds first.

        An earlier handler and timer of the process are kept for `disarm`.
        """
        if not hasattr(signal, "setitimer") or self._armed_at is not None:
            return
        if threading.current_thread() is not threading.main_thread():
            return
        self._patience, self._told = patience, False
        handler = signal.signal(signal.SIGALRM, self._ring)
        self._armed_at = perf_counter()
        self._earlier = handler, signal.setitimer(signal.ITIMER_REAL, patience)

    @contextmanager
    def armed(self, patience: float | None) -> Iterator[None]:
        """Watch during a block; None: there is nothing to watch."""
        if patience is None:
            yield
            return
        self.arm(patience)
        try:
            yield
        finally:
            self.disarm()

    def disarm(self) -> None:
        """Stop watching; an earlier timer goes on with what was left of it."""
        self.running = None
        if self._armed_at is None:
            return
        handler, (left, interval) = self._earlier
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if handler is None else handler)
        if left:
            left = max(1e-3, left - (perf_counter() - self._armed_at))
            signal.setitimer(signal.ITIMER_REAL, left, interval)
        self._armed_at = None

    def _ring(self, number: int, frame: Any) -> None:
        watched = self.running
        if watched is None:
            signal.setitimer(signal.ITIMER_REAL, self._patience)
            return
        passed = perf_counter() - self.started
        if passed >= watched.deadline:
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
            self.rung = True
            raise DeadlinePassed
        if passed >= PATIENCE and not self._told:
            self._told = True
            tell_waiting(watched.name, passed)
        until = PATIENCE if passed < PATIENCE < watched.deadline else watched.deadline
        signal.setitimer(signal.ITIMER_REAL, max(1e-3, until - passed))


def tell_waiting(name: str, seconds: float) -> None:
    """Log that a reward function keeps everybody waiting."""
    log.warning("waiting for reward %s, %.0f s", name, seconds)
