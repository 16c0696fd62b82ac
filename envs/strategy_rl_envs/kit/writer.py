"""Data files that a build command writes: each is there whole or not at all. Knows no task."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Write JSONL; gives the size and the digest of the file for a manifest."""
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    _write(path, content)
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write what a folder of data was made from: last, so that it stands for a whole folder."""
    _write(path, (json.dumps(manifest, indent=2) + "\n").encode())


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
