"""The same rows again and again while a policy is trained: which episode is from when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from strategy_rl.board.heads import row_of
from strategy_rl.board.index import Entry

SPLIT = "probe"


def probes_of(entries: Sequence[Entry]) -> dict[str, Any]:
    """`points` in the order of training, `rows` with the key of the episode at each point.

    Stages stand in the order in which they first appear, each by iterations.
    """
    probed = [entry.head for entry in entries if entry.head["split"] == SPLIT]
    stages = list(dict.fromkeys(head["stage"] for head in probed))
    found = {(head["stage"], head["iteration"]) for head in probed}
    points = sorted(found, key=lambda point: (stages.index(point[0]), point[1] or 0))
    rows: dict[Any, dict[str, Any]] = {}
    for head in probed:
        name = row_of(head)
        row = rows.setdefault(
            name, {"row": name, "kind": head["kind"], "keys": [None] * len(points)}
        )
        row["keys"][points.index((head["stage"], head["iteration"]))] = head["key"]
    return {
        "points": [{"stage": stage, "iteration": iteration} for stage, iteration in points],
        "rows": sorted(rows.values(), key=lambda row: (str(type(row["row"])), row["row"])),
    }
