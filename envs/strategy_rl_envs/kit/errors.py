"""What can go wrong in a task. Knows nothing of files or environments.

All are refused input (`ValueError`) except `RewardError`, which happens while an episode is played.

TaskError
├── DataError       a data file or one of its rows (also a ValueError)
├── SettingError    an argument of an environment's constructor (also a ValueError)
└── RewardError     a reward function raised, or gave no finite number
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class TaskError(Exception):
    """Base of every error that a task raises on purpose."""


class DataError(TaskError, ValueError):
    """A data file cannot be used; the message begins with `file:line:`."""


class SettingError(TaskError, ValueError):
    """An environment's constructor was given something it cannot use."""


class RewardError(TaskError):
    """A reward function raised an exception or gave something other than a finite number."""


def choices(given: object, known: Iterable[str]) -> str:
    """Say what may stand in the place of `given`: the nearest name first, then all of them."""
    names = [str(name) for name in known]
    near = get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known: {', '.join(names) if names else '(none)'}"


def one_of(setting: str, given: object, known: Iterable[str]) -> str:
    """Return `given` if it is one of the `known` words.

    Raises:
        SettingError: if it is not.
    """
    names = list(known)
    if isinstance(given, str) and given in names:
        return given
    raise SettingError(f"{setting}: got {given!r}; {choices(given, names)}")


def whole_number(setting: str, given: object, low: int, high: int | None = None) -> int:
    """Return `given` if it is an int from `low` to `high`, both included.

    Raises:
        SettingError: if it is not.
    """
    is_int = isinstance(given, int) and not isinstance(given, bool)
    if is_int and low <= given and (high is None or given <= high):  # type: ignore[operator]
        return int(given)  # type: ignore[call-overload, no-any-return]
    wanted = f"{low} or more" if high is None else f"from {low} to {high}"
    raise SettingError(f"{setting}: expected a whole number {wanted}, got {given!r}")
