"""Files of episodes that grow while training goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from strategy_rl.episodes import SCHEMA, Episode, episode_to_json
from strategy_rl.files import storage_errors
from strategy_rl.logger.record import Record

MAX_BYTES = 64 << 20  # of one file; the next is then begun


class EpisodeLog:
    """Episodes as `episodes.write_episodes` has them, added as they are played.

    A disk that refuses never stops training: it warns once. Behind `NAME-00000.jsonl` come
    `NAME-00001.jsonl` and so on, each with a header of its own.

    Args:
        folder: It is made.
        name: Of the files.
        header: What the first line tells beside the schema.
        keep_bytes: The `offset` of the checkpoint that training goes on from: what was written
            after it is dropped.
        max_bytes: Of a file before the next begins.

    Raises:
        StorageError: A file cannot be opened, or one to be dropped not be removed.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        header: Mapping[str, Any],
        keep_bytes: int = 0,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self._header, self._max_bytes = header, max_bytes
        self._files = (folder / f"{name}-{number:05d}.jsonl" for number in count())
        self._whole = 0  # bytes of the files before this one
        current = next(self._files)
        while current.is_file() and self._whole + (size := current.stat().st_size) < keep_bytes:
            self._whole += size
            current = next(self._files)
        self._open(current, keep_bytes - self._whole)
        for path in folder.glob(f"{name}-[0-9]*.jsonl"):
            if path.name > current.name:
                with storage_errors(path):
                    path.unlink()

    @property
    def offset(self) -> int:
        """Bytes on the disk, over all files."""
        return self._whole + self._record.offset

    def add(self, episodes: Iterable[Episode]) -> None:
        """Add episodes at the end."""
        for episode in episodes:
            if self._record.size >= self._max_bytes:
                self._whole += self._record.offset
                self._record.close()
                self._open(next(self._files), 0)
            self._record.append(episode_to_json(episode))

    def close(self) -> None:
        """Write what still waits, if the disk takes it."""
        self._record.close()

    def _open(self, path: Path, keep_bytes: int) -> None:
        self._record = Record(path, keep_bytes=keep_bytes)
        if not self._record.size:
            self._record.append({**self._header, "schema": SCHEMA})
