"""The front end's files, and the JSON that it reads. Knows no route."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}

_STATIC = Path(__file__).parent / "static"


def static_files() -> dict[str, Path]:
    """The files that may be served, by their names below `static`."""
    return {
        path.relative_to(_STATIC).as_posix(): path
        for path in sorted(_STATIC.rglob("*"))
        if path.suffix in TYPES and path.is_file()
    }


def json_bytes(value: Any) -> bytes:
    """Strict JSON as UTF-8; what is not finite becomes null, a lone surrogate its escape."""
    try:
        text = _dumped(value)
    except ValueError:
        text = _dumped(_finite(value))
    return text.encode("utf-8", "backslashreplace")


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
