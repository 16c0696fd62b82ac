"""What pictures show of many returns: a histogram and a curve. Reads heads alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from strategy_rl.board.heads import Head, number_of
from strategy_rl.board.index import Entry

_MAX_BINS = 200


def histogram(entries: Sequence[Entry], value: Callable[[Head], Any], bins: int) -> dict[str, Any]:
    """Counts in `bins` of the same width; one bin where all values are the same.

    Args:
        entries: Of which episodes.
        value: Reads the number.
        bins: How many, at most 200.

    Returns:
        `bins`, each with `low`, `high` (its upper edge belongs to the last alone) and `count`;
        `missing`, how many episodes have no such number.
    """
    values = [v for e in entries if (v := number_of(value(e.head))) is not None]
    missing = len(entries) - len(values)
    if not values:
        return {"bins": [], "missing": missing}
    low, high = min(values), max(values)
    count = min(bins, _MAX_BINS)
    width = (high - low) / count
    if width <= 0 or not math.isfinite(width):
        return {"bins": [{"low": low, "high": high, "count": len(values)}], "missing": missing}
    counts = Counter(min(int((v - low) / width), count - 1) for v in values)
    edges = [low + place * width for place in range(count)] + [high]
    found = [
        {"low": edges[place], "high": edges[place + 1], "count": counts[place]}
        for place in range(count)
    ]
    return {"bins": found, "missing": missing}


def curve(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The mean return of each stage, iteration, policy and split, in the order of iterations."""
    returns: dict[tuple[Any, ...], list[float]] = {}
    names = ("stage", "iteration", "policy", "split")
    for entry in entries:
        head = entry.head
        if head["return"] is not None:
            point = (head["stage"], head["iteration"], head["policy"], head["split"])
            returns.setdefault(point, []).append(head["return"])
    points = sorted(returns.items(), key=lambda item: item[0][1] or 0)
    return [
        {
            **dict(zip(names, point, strict=True)),
            "mean_return": _mean(given),
            "episodes": len(given),
        }
        for point, given in points
    ]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
