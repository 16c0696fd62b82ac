"""Lines of an episodes file as data; what a list of episodes shows of each. Knows no file.

A head is the part of a line before `,"steps":`. A run may come from elsewhere: every field of a
head is checked, and what is no episode becomes None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Head = dict[str, Any]

# Why a training episode was recorded: a run keeps a few of each rollout.
RANDOM = "random"
REASONS = (RANDOM, "best", "worst", "surprising")

_MOST = 1e100  # beyond it a number is taken for unknown: squares must be floats too
_MOST_WHOLE = 2**53  # that a browser holds
_STEPS = b',"steps":['
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)  # NaN is no JSON, and is unknown


def parse_line(line: bytes) -> dict[str, Any] | None:
    """The object on a line, or None where it holds none."""
    try:
        value = _DECODER.decode(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def parse_heads(lines: Sequence[bytes]) -> list[Head | None]:
    """What a list shows of each line, in order; None where a line is no episode.

    The steps are parsed only where the head has no `summary`, as in older files.
    """
    begins = [_begin(line) for line in lines]
    return [_head(fields, line) for fields, line in zip(_parsed(begins), lines, strict=True)]


def number_of(value: Any) -> float | None:
    """A finite number, or None."""
    if isinstance(value, int | float) and not isinstance(value, bool) and -_MOST < value < _MOST:
        return value
    return None


def whole_of(value: Any) -> int | None:
    """A whole number that a browser holds, or None."""
    return value if type(value) is int and abs(value) < _MOST_WHOLE else None


def reasons_of(head: Head) -> list[str]:
    """Why an episode was recorded; as a random one where all of them are."""
    selection = head["selection"]
    return [RANDOM] if selection is None else selection["reasons"]


def row_of(head: Head) -> int | str:
    """By what an episode is known again: its row, else its number, which had the same seed."""
    row: int | None = head["row"]
    if row is not None:
        return row
    number: str = head["episode_id"].rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() and len(number) < 10 else number


def partner_key(head: Head) -> tuple[str | None, int | str] | None:
    """By what an episode finds its partner of another policy: its split and `row_of`.

    None of a training episode without a row: its number is a place in one rollout.
    """
    if head["row"] is None and head["split"] == "train":
        return None
    return head["split"], row_of(head)


def _begin(line: bytes) -> bytes:
    """The line without its steps, still an object; a quote in a text cannot end like this."""
    cut = line.find(_STEPS)
    return line if cut < 0 else line[:cut] + b"}"


def _parsed(begins: Sequence[bytes]) -> list[dict[str, Any] | None]:
    """All at once, which is faster and shares the keys; one by one where something is wrong."""
    try:
        values: list[Any] = _DECODER.decode(
            b"".join((b"[", b",".join(begins), b"]")).decode("utf-8")
        )
    except (ValueError, RecursionError):
        values = []
    if len(values) == len(begins) and all(type(value) is dict for value in values):
        return values
    return [parse_line(begin) for begin in begins]


def _head(fields: dict[str, Any] | None, line: bytes) -> Head | None:
    if fields is None:
        fields = parse_line(line)
    if fields is None or not isinstance(fields.get("episode_id"), str):
        return None
    summary = fields.get("summary")
    if not isinstance(summary, dict):
        summary = _summary(line)
    length = None if summary is None else whole_of(summary.get("length"))
    if summary is None or length is None:
        return None
    return {
        "key": 0,
        "episode_id": fields["episode_id"],
        "stage": _text(fields.get("stage")),
        "iteration": whole_of(fields.get("iteration")),
        "split": _text(fields.get("split")),
        "policy": _text(fields.get("policy")),
        "row": whole_of(fields.get("row")),
        "kind": _text(fields.get("kind")),
        "group": _text(fields.get("group")),
        "return": number_of(fields.get("return")),
        "length": length,
        "terminated": fields.get("terminated") is True,
        "value_error": number_of(summary.get("value_error")),
        "least_probability": number_of(summary.get("least_probability")),
        "actions": _numbers(summary.get("actions")),
        "components": _numbers(summary.get("components")),
        "selection": _selection(fields.get("selection")),
    }


def _summary(line: bytes) -> dict[str, Any] | None:
    """From the steps; None where they are none."""
    from strategy_rl.episodes import summary_of  # heavy, and only older files need it

    fields = parse_line(line)
    try:
        return None if fields is None else summary_of(fields["steps"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _selection(value: Any) -> dict[str, Any] | None:
    """Out of how many episodes, of which mean return, an episode was selected, and why."""
    if not isinstance(value, dict):
        return None
    reasons = value.get("reasons")
    return {
        "reasons": [name for name in REASONS if isinstance(reasons, list) and name in reasons],
        "num_episodes": whole_of(value.get("num_episodes")),
        "mean_return": number_of(value.get("mean_return")),
    }


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _numbers(value: Any) -> Mapping[str, float]:
    if not isinstance(value, dict):
        return {}
    for number in value.values():  # as `number_of`, but faster, and in the usual case no copy
        kind = type(number)
        if not ((kind is float or kind is int) and -_MOST < number < _MOST):
            return {name: n for name, n in value.items() if number_of(n) is not None}
    return value
