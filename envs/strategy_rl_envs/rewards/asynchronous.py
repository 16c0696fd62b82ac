"""One event loop for all `async def` rewards of a process, in a thread of its own.

So they can be called where a loop is running already, as in a notebook, and connections that they
keep open stay with their loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from strategy_rl_envs.rewards.deadline import PATIENCE, DeadlinePassed, tell_waiting

_GRACE = 0.5  # seconds in which the loop itself has to stop what is late

_loop: tuple[int, asyncio.AbstractEventLoop] | None = None


def gather(
    calls: Sequence[Callable[[], Coroutine[Any, Any, Any]]], deadline: float, name: str
) -> list[Any]:
    """Run all calls at once; give each one's value, or the exception that it ended with.

    A call that takes more than `deadline` seconds ends with DeadlinePassed; so do all of them
    where one blocks the loop.
    """
    future = asyncio.run_coroutine_threadsafe(_all(calls, deadline), _running_loop())
    patience = min(PATIENCE, deadline)
    try:
        return future.result(patience)
    except concurrent.futures.TimeoutError:
        if patience < deadline:
            tell_waiting(name, patience)
    except BaseException:
        future.cancel()
        raise
    try:
        return future.result(deadline - patience + _GRACE)
    except concurrent.futures.TimeoutError:
        _give_up_loop()
        return [DeadlinePassed() for _ in calls]
    except BaseException:
        future.cancel()
        raise


async def _all(
    calls: Sequence[Callable[[], Coroutine[Any, Any, Any]]], deadline: float
) -> list[Any]:
    return await asyncio.gather(*(_one(call, deadline) for call in calls))


async def _one(call: Callable[[], Coroutine[Any, Any, Any]], deadline: float) -> Any:
    limit = asyncio.timeout(deadline)
    try:
        async with limit:
            value = await call()
        return DeadlinePassed() if limit.expired() else value  # it may have caught its end
    except (Exception, SystemExit, asyncio.CancelledError) as error:
        return DeadlinePassed() if limit.expired() else error


def _running_loop() -> asyncio.AbstractEventLoop:
    """The loop of this process; after a fork there is none yet."""
    global _loop
    if _loop is None or _loop[0] != os.getpid():
        _loop = os.getpid(), asyncio.new_event_loop()
        threading.Thread(target=_loop[1].run_forever, name="rewards", daemon=True).start()
    return _loop[1]


def _give_up_loop() -> None:
    """Leave a blocked loop to itself; the next call gets another."""
    global _loop
    _loop = None
