"""Episodes that contain a text: in any text of any step, upper and lower case alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from strategy_rl.board.heads import parse_line
from strategy_rl.board.index import Entry, read_lines


def containing(entries: list[Entry], text: str) -> list[Entry]:
    """Those of the episodes whose steps contain `text`.

    A line is parsed only where its bytes contain the text, names of fields included.
    """
    wanted = text.lower()
    escaped = json.dumps(wanted, ensure_ascii=False)[1:-1]
    return [
        entry
        for entry, line in zip(entries, read_lines(entries), strict=True)
        if escaped in line.decode("utf-8", "replace").lower() and _in_values(line, wanted)
    ]


def _in_values(line: bytes, wanted: str) -> bool:
    fields = parse_line(line) or {}
    return any(wanted in text.lower() for text in texts_in(fields.get("steps")))


def texts_in(value: Any) -> Iterator[str]:
    """Every text in lists and objects, but the names of fields."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
