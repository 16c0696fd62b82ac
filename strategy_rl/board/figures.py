"""What pictures show of many returns: a histogram and a curve. Reads heads alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from strategy_rl.board.heads import RANDOM, Head, number_of, reasons_of
from strategy_rl.board.index import Entry

_MAX_BINS = 200


def histogram(entries: Sequence[Entry], value: Callable[[Head], Any], bins: int) -> dict[str, Any]:
    """Counts in `bins` of the same width; one bin where all values are the same.

    Args:
        entries: Of which episodes.
        value: Reads the number.
        bins: How many, at most 200.

    Returns:
        `bins`, each with `low`, `high` (its upper edge belongs to the last alone), `count`, and
        `least` and `most`, the values in it at both ends; `missing`, how many episodes have no
        such number.
    """
    values = [v for e in entries if (v := number_of(value(e.head))) is not None]
    missing = len(entries) - len(values)
    if not values:
        return {"bins": [], "missing": missing}
    low, high = min(values), max(values)
    count = min(bins, _MAX_BINS)
    width = (high - low) / count
    if width <= 0 or not math.isfinite(width):
        return {"bins": [_bin(low, high, values)], "missing": missing}
    inside: list[list[float]] = [[] for _ in range(count)]
    for v in values:
        inside[min(int((v - low) / width), count - 1)].append(v)
    edges = [low + place * width for place in range(count)] + [high]
    found = [_bin(edges[place], edges[place + 1], inside[place]) for place in range(count)]
    return {"bins": found, "missing": missing}


def curve(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The mean return of each stage, iteration, policy and split, in the order of iterations.

    Returns:
        Of each point `mean_return`; `episodes`, how many are recorded; `num_episodes`, how many
        were played, where a training rollout kept a few: the mean is that of all of them then, or
        of those drawn at random where the run does not say.
    """
    points: dict[tuple[Any, ...], list[Head]] = {}
    names = ("stage", "iteration", "policy", "split")
    for entry in entries:
        points.setdefault(tuple(entry.head[name] for name in names), []).append(entry.head)
    found = [
        {**dict(zip(names, point, strict=True)), "episodes": len(heads), **_mean_of(heads)}
        for point, heads in sorted(points.items(), key=lambda item: item[0][1] or 0)
    ]
    return [point for point in found if point["mean_return"] is not None]


def _bin(low: float, high: float, values: Sequence[float]) -> dict[str, Any]:
    ends = {"least": min(values, default=None), "most": max(values, default=None)}
    return {"low": low, "high": high, "count": len(values), **ends}


def _mean_of(heads: Sequence[Head]) -> dict[str, Any]:
    """`mean_return` and `num_episodes` of one point."""
    told = [selection for head in heads if (selection := head["selection"]) is not None]
    for selection in told:
        if selection["mean_return"] is not None:
            return {name: selection[name] for name in ("mean_return", "num_episodes")}
    sample = [head["return"] for head in heads if RANDOM in reasons_of(head)]
    known = [value for value in sample if value is not None]
    mean = math.fsum(known) / len(known) if known else None
    return {"mean_return": mean, "num_episodes": told[0]["num_episodes"] if told else None}
