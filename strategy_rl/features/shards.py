"""Rows of features in files that are never changed once written. Knows nothing of texts or models.

A shard is one safetensors file: `keys` (n, 16) uint8, `features` (n, H) float32 and `check`, a
BLAKE2b digest of both. It appears by rename, so processes may share a folder; what is damaged or
was dropped by another process counts as absent. The number in a name orders shards by age.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from strategy_rl.errors import StorageError
from strategy_rl.files import disk, write_bytes

KEY_BYTES = 16
_NAME = re.compile(r"(\.tmp-)?shard-(\d{10})-[0-9a-f]{8}\.safetensors(-[0-9a-f]{8})?")
_log = logging.getLogger(__name__)


class ShardStore:
    """Rows by key in `<root>/<folder>/`; all folders of `root` together stay below `max_bytes`.

    Memory: about 150 bytes a key for the index; rows are read when they are asked for.
    """

    def __init__(self, root: Path, folder: str, width: int, max_bytes: int) -> None:
        self._root = root
        self._folder = root / folder
        self._width = width
        self._max_bytes = max_bytes
        self._writable = True
        self._index: dict[bytes, Path] = {}
        for path in sorted(self._folder.glob("shard-*.safetensors")):
            if _number(path):
                self._index_shard(path)

    def find(self, keys: Iterable[bytes]) -> Iterator[tuple[bytes, np.ndarray]]:
        """Yield each key that is stored, with its row of shape (H,), in no particular order."""
        wanted: dict[Path, set[bytes]] = {}
        for key in keys:
            if key in self._index:
                wanted.setdefault(self._index[key], set()).add(key)
        for path, here in wanted.items():
            for key, row in self._rows_of(path):
                if key in here:
                    yield key, row

    def add(self, keys: list[bytes], rows: np.ndarray) -> None:
        """Write one shard of rows of shape (n, H). A disk that refuses stops the storing alone."""
        if not self._writable or not keys:
            return
        try:
            path = self._write(keys, np.ascontiguousarray(rows, dtype=np.float32))
            self._index.update(dict.fromkeys(keys, path))
            self._drop_oldest()
        except (OSError, StorageError) as error:
            self._writable = False
            _log.warning("features are no longer stored in %s: %s", self._folder, error)

    def _index_shard(self, path: Path) -> None:
        try:
            with safe_open(path, framework="np") as shard:
                keys = shard.get_tensor("keys")
            if keys.shape[1:] != (KEY_BYTES,):
                raise ValueError(f"keys of shape {keys.shape}")
        except FileNotFoundError:
            return
        except (OSError, ValueError, SafetensorError) as error:
            self._warn(path, error)
            return
        self._index.update(dict.fromkeys(map(bytes, keys), path))  # the newest shard wins

    def _rows_of(self, path: Path) -> Iterator[tuple[bytes, np.ndarray]]:
        try:
            shard = load(path.read_bytes())
            keys, rows = shard["keys"], shard["features"]
            if rows.shape != (len(keys), self._width) or rows.dtype != np.float32:
                raise ValueError(f"features of shape {rows.shape} and type {rows.dtype}")
            if bytes(shard["check"]) != _check(keys, rows):
                raise ValueError("its digest does not match")
        except FileNotFoundError:
            return
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            self._warn(path, error)
            return
        yield from zip(map(bytes, keys), rows, strict=True)

    def _warn(self, path: Path, error: Exception) -> None:
        _log.warning("%s is damaged (%s); its texts are encoded again", path, error)

    def _write(self, keys: list[bytes], rows: np.ndarray) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((_number(path) for path in self._all()), default=0)
        path = self._folder / f"shard-{number:010d}-{secrets.token_hex(4)}.safetensors"
        packed = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), KEY_BYTES)
        check = np.frombuffer(_check(packed, rows), dtype=np.uint8)
        write_bytes(path, save({"keys": packed, "features": rows, "check": check}))
        return path

    def _all(self) -> list[Path]:
        """Shards of all folders, also unfinished ones that a killed process left."""
        return [path for path in self._root.glob("*/*shard-*") if _number(path)]

    def _drop_oldest(self) -> None:
        sizes: dict[Path, int] = {}
        for path in sorted(self._all(), key=_number):
            try:
                sizes[path] = path.stat().st_size
            except FileNotFoundError:
                continue
        total = sum(sizes.values())
        for path, size in sizes.items():
            if total <= self._max_bytes:
                return
            with suppress(FileNotFoundError):  # another process may be as busy
                disk.remove(path)
            total -= size


def _number(path: Path) -> int:
    """The age of a shard, finished or not; 0 where it is none."""
    found = _NAME.fullmatch(path.name)
    return int(found[2]) if found else 0


def _check(keys: np.ndarray, rows: np.ndarray) -> bytes:
    digest = hashlib.blake2b(keys.tobytes(), digest_size=KEY_BYTES)
    digest.update(rows.tobytes())
    return digest.digest()
