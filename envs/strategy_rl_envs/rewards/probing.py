"""Tries a component on a few real steps before training. Knows no other component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from strategy_rl_envs.kit.errors import RewardError
from strategy_rl_envs.rewards.calling import Caller
from strategy_rl_envs.rewards.guard import changed_message

LARGE = 1e3  # components beyond this swamp others and upset a value head
SLOW = 0.05  # seconds a step from which rewards begin to rule the time of training


class Finding(NamedTuple):
    """Something that a probe noticed.

    Attributes:
        component: Its name.
        severity: `warning`, or `note` for what may merely interest.
        message: A sentence about it.
    """

    component: str
    severity: Literal["warning", "note"]
    message: str


def probe_component(
    caller: Caller, steps: Sequence[Mapping[str, Any]], drops: bool
) -> list[Finding]:
    """Score the steps twice, every call guarded.

    Raises:
        RewardError: it failed on a step; with `drops`, on every one.
    """
    caller.probed = True
    try:
        first = caller.many(steps)
        before = caller.seconds
        second = caller.many(steps)
    finally:
        caller.probed = False
    errors = [outcome for outcome in first + second if isinstance(outcome, RewardError)]
    if errors and not (drops and len(errors) < 2 * len(steps)):
        raise errors[0]
    warnings = [changed_message(caller.name, changed) for changed in sorted(caller.changed)]
    if errors:
        warnings.append(f"failed in {len(errors)} of {2 * len(steps)} calls, first: {errors[0]}")
    warnings += _about_values(first, second, steps)
    seconds = (caller.seconds - before) / len(steps)
    if seconds > SLOW:
        warnings.append(f"takes {seconds:.3g} s a step")
    findings = [Finding(caller.name, "warning", message) for message in warnings]
    return [*findings, Finding(caller.name, "note", _note(first, seconds))]


def _about_values(
    first: Sequence[Any], second: Sequence[Any], steps: Sequence[Mapping[str, Any]]
) -> list[str]:
    found = []
    for one, other, step in zip(first, second, steps, strict=True):
        if not isinstance(one, RewardError) and not isinstance(other, RewardError) and one != other:
            found.append(
                f"gave {one}, then {other} for the same step (row {step.get('row')}): "
                "a resumed run will not repeat exactly"
            )
            break
    if all(outcome is None for outcome in first):
        found.append(f"abstained on all of {len(steps)} steps")
    return found


def _note(outcomes: Sequence[Any], seconds: float) -> str:
    numbers = [x for outcome in outcomes for x in _numbers(outcome)]
    span = f"values {min(numbers):.4g} to {max(numbers):.4g}" if numbers else "no values"
    return f"{span} on {len(outcomes)} steps, {seconds * 1e3:.3g} ms a step"


def _numbers(outcome: Any) -> list[float]:
    values = outcome.values() if isinstance(outcome, dict) else (outcome,)
    return [value for value in values if isinstance(value, float)]
