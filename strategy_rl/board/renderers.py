"""How steps of a task are best shown, as installed tasks tell it. Data alone; no code of a run.

A package names a list in its entry points, group `strategy_rl.renderers`:
`[{"name": "summary", "task": "my_tasks:my/Summary-v0", "fields": {...}}]`. What `fields` says is
between the list and the front end.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from typing import Any

GROUP = "strategy_rl.renderers"

log = logging.getLogger(__name__)


@cache
def installed_renderers() -> tuple[dict[str, Any], ...]:
    """All of them, read once; what cannot be used is logged and left out."""
    return tuple(_renderers())


def renderer_of(task: str | None) -> str | None:
    """The name of the renderer for a task, or None."""
    names = (entry["name"] for entry in installed_renderers() if entry["task"] == task)
    return next(names, None)


def _renderers() -> Iterator[dict[str, Any]]:
    for point in entry_points(group=GROUP):
        try:
            entries = json.loads(json.dumps(point.load(), allow_nan=False))  # data, and a copy
            yield from [_checked(entry) for entry in entries]
        except Exception as error:  # of somebody else's package
            log.warning("the renderers of %s are left out: %s", point.value, error)


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    fields = entry.get("fields", {})
    if not (isinstance(entry["name"], str) and isinstance(entry["task"], str)):
        raise TypeError(f"got {entry}, expected texts as name and task")
    return {"name": entry["name"], "task": entry["task"], "fields": fields}
