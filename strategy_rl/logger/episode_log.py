"""Files of episodes that grow while training goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from strategy_rl.episodes import SCHEMA, Episode, episode_to_json
from strategy_rl.errors import StorageError
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
        with storage_errors(folder):
            folder.mkdir(exist_ok=True)
        self._folder, self._name, self._header = folder, name, header
        self._max_bytes = max_bytes
        self._number = self._whole = 0  # of the file that grows; bytes of those before it
        while (
            self._path.is_file() and self._whole + (size := self._path.stat().st_size) < keep_bytes
        ):
            self._whole += size
            self._number += 1
        files = sorted(folder.glob(f"{name}-{'[0-9]' * 5}.jsonl"))
        if keep_bytes and not self._path.is_file():  # one is gone: what is left is nobody's to drop
            self._number, self._whole = _after(files), keep_bytes
        self._record = self._opened(keep_bytes - self._whole)
        for path in files:
            if path.name > self._path.name:
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
                self._begin_next()
            self._record.append(episode_to_json(episode))

    def close(self) -> None:
        """Write what still waits, if the disk takes it."""
        self._record.close()

    @property
    def _path(self) -> Path:
        return self._folder / f"{self._name}-{self._number:05d}.jsonl"

    def _begin_next(self) -> None:
        """Where the disk refuses another file, this one goes on."""
        self._number += 1
        try:
            following = self._opened(0)
        except StorageError:
            self._number -= 1
            return
        self._whole += self._record.offset
        self._record.close()
        self._record = following

    def _opened(self, keep_bytes: int) -> Record:
        record = Record(self._path, keep_bytes=keep_bytes)
        if not record.size:
            record.append({**self._header, "schema": SCHEMA})
        return record


def _after(files: Sequence[Path]) -> int:
    """The number that follows the last file's."""
    return int(files[-1].stem.rpartition("-")[2]) + 1 if files else 0
