"""Finds run folders: those with a folder `episodes` in them. Reads no file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

EPISODES = "episodes"

_SKIPPED = {EPISODES, "checkpoints", "plots", "policy", "policy-sft"}  # of a run: large, no runs
_URI = re.compile(r"[a-zA-Z][0-9a-zA-Z.]*://.*")


def roots_of(logdir: str | None, logdir_spec: str | None) -> dict[Path, str | None]:
    """The folders that TensorBoard was started on, each with the name of its group or None.

    Args:
        logdir: As `--logdir`; empty where there is none.
        logdir_spec: As `--logdir_spec`: `name:path,path`.
    """
    if logdir:
        return {} if _URI.match(logdir) else {Path(logdir).expanduser(): None}
    return dict(_specified(logdir_spec or ""))


def _specified(spec: str) -> Iterator[tuple[Path, str | None]]:
    """As TensorBoard reads it: a path with a drive's letter has no name."""
    for part in spec.split(","):
        named = ":" in part and not part.startswith("/") and not _URI.match(part)
        name, path = None, part
        if named and not os.path.splitdrive(part)[0]:
            name, _, path = part.partition(":")
        if path and not _URI.match(path):  # other machines are left to TensorBoard
            yield Path(path).expanduser(), name


def find_runs(roots: Mapping[Path, str | None]) -> dict[str, Path]:
    """Run folders by the names that TensorBoard gives them: paths below their root.

    Links are followed, each folder once. Of two runs with one name the first counts.
    """
    found: dict[str, Path] = {}
    for root, group in roots.items():
        for folder in _folders(root):
            below = folder.relative_to(root).as_posix()
            name = below if group is None else group if below == "." else f"{group}/{below}"
            found.setdefault(name, folder)
    return found


def _folders(root: Path) -> Iterator[Path]:
    seen: set[tuple[int, int] | None] = {None}
    for parent, names, _ in os.walk(root, followlinks=True):
        identity = _identity(parent)
        if identity in seen:
            names.clear()
            continue
        seen.add(identity)
        skipped = _SKIPPED if EPISODES in names else ()
        if skipped:
            yield Path(parent)
        names[:] = sorted(n for n in names if n not in skipped and not n.startswith("."))


def _identity(folder: str) -> tuple[int, int] | None:
    """Of the folder itself, whatever the links to it are called; None where it is gone."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
