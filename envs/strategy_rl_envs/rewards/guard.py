"""What a reward function must leave alone: the process's random generators, folder and threads.

Knows no step and no composition. Comparing costs about 0.1 ms a call, so it is done now and then;
the folder alone costs 0.5 us and is compared at every call.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

log = logging.getLogger(__name__)

_INPUT = "its input "
_FOLDER = "the working directory"
_warned: set[tuple[str, str]] = set()


class _Shared(NamedTuple):
    """Something that all code in a process shares."""

    name: str
    read: Callable[[], Any]
    restore: Callable[[Any], Any]
    disturb: Callable[[], Any] | None = None  # so that seeding again with one seed is seen


class Guard:
    """Remembers the shared state of the process; `restore` puts back what was changed since."""

    def __init__(self) -> None:
        self._before = [(shared, shared.read()) for shared in _all_shared()]
        self._disturbed = []
        for shared, before in self._before:
            if shared.disturb is not None:
                shared.disturb()
            self._disturbed.append(before if shared.disturb is None else shared.read())

    def restore(self) -> list[str]:
        """Put everything back; give the names of what was changed."""
        changed = []
        for (shared, before), disturbed in zip(self._before, self._disturbed, strict=True):
            now = shared.read()
            if not same(now, disturbed):
                changed.append(shared.name)
            if shared.disturb is not None or not same(now, before):
                shared.restore(before)
        return changed


def working_folder() -> str | None:
    """The working directory of the process; None where it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return None


def restore_folder(before: str | None) -> list[str]:
    """Go back to a working directory; give its name where it was left, as `Guard.restore`."""
    if working_folder() == before:
        return []
    _enter(before)
    return [_FOLDER]


def warn_once(reward: str, changed: str, told: bool = False) -> None:
    """Log, once in a process, that a reward function changes what it must leave alone.

    With `told` somebody else says it, and nothing is logged now or later.
    """
    if (reward, changed) not in _warned:
        _warned.add((reward, changed))
        if not told:
            log.warning("%s", changed_message(reward, changed))


def changed_message(reward: str, changed: str) -> str:
    """Say what a function changes and what to do."""
    if changed.startswith(_INPUT):
        return f"reward {reward!r} changes {changed}; it has copies, but let it leave them alone"
    return (
        f"reward {reward!r} changes {changed}, which the whole process shares; it is put back "
        "after each checked call, but let the function use one of its own"
    )


def input_named(fact: str) -> str:
    """How a fact is called among the things that a function changes."""
    return f"{_INPUT}{fact!r}"


def _all_shared() -> list[_Shared]:
    shared = [
        _Shared("the state of `random`", random.getstate, random.setstate, random.random),
        _Shared("the state of `numpy.random`", _numpy_state, np.random.set_state, np.random.random),
        _Shared(_FOLDER, working_folder, _enter),
    ]
    torch = sys.modules.get("torch")  # not imported: then there is nothing to change
    if torch is not None and hasattr(torch, "set_num_threads"):
        rng = torch.random
        shared += [
            _Shared(
                "the state of `torch`", rng.get_rng_state, rng.set_rng_state, lambda: torch.rand(())
            ),
            _Shared("the threads of `torch`", torch.get_num_threads, torch.set_num_threads),
        ]
        if torch.cuda.is_initialized():
            cuda = torch.cuda
            shared.append(
                _Shared("the state of `torch.cuda`", cuda.get_rng_state_all, cuda.set_rng_state_all)
            )
    return shared


def _enter(folder: str | None) -> None:
    if folder is not None:
        with contextlib.suppress(OSError):  # deleted meanwhile: there is no way back
            os.chdir(folder)


def _numpy_state() -> Any:
    return np.random.get_state(legacy=True)


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal: arrays by their entries, and NaN equal to NaN."""
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if hasattr(one, "__array__"):
        has_nan = np.asarray(one).dtype.kind in "fc"
        return bool(np.array_equal(one, other, equal_nan=has_nan))
    return bool(one == other) or (isinstance(one, float) and one != one and other != other)
