"""A file of episodes that grows while training goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from strategy_rl.episodes import SCHEMA, Episode, episode_to_json
from strategy_rl.logger.record import Record


class EpisodeLog:
    """Episodes as `episodes.write_episodes` has them, added as they are played.

    A disk that refuses never stops training: it warns once.

    Args:
        path: The file; its folder is made.
        header: What the first line tells beside the schema.
        keep_bytes: The `offset` of the checkpoint that training goes on from: what was written
            after it is dropped.

    Raises:
        StorageError: The file cannot be opened.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], keep_bytes: int = 0) -> None:
        path.parent.mkdir(exist_ok=True)
        self._record = Record(path, keep_bytes=keep_bytes)
        if not self._record.size:
            self._record.append({**header, "schema": SCHEMA})

    @property
    def offset(self) -> int:
        """Bytes on the disk."""
        return self._record.offset

    def add(self, episodes: Iterable[Episode]) -> None:
        """Add episodes at the end."""
        for episode in episodes:
            self._record.append(episode_to_json(episode))

    def close(self) -> None:
        """Write what still waits, if the disk takes it."""
        self._record.close()
