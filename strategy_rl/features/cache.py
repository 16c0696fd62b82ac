"""Features of texts under a frozen backbone, each distinct text encoded once.

The bits of a text's features depend on the text alone. A batched matrix product may round
differently when its shape changes, so every forward pass has a shape that follows from the length
of its texts: the token count rounded up to a bucket, a fixed number of rows, filler rows where
texts are short. Hence a cold, a half-filled and a warm cache give equal bytes.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from strategy_rl.backbone import Backbone
from strategy_rl.errors import ModelError
from strategy_rl.features.shards import KEY_BYTES, ShardStore

_BLOCK_TOKENS = 512  # padded tokens of a forward pass; larger ones are no faster on a CPU
_SHARD_ROWS = 2048  # texts that a killed process loses at most
_ROW_OVERHEAD = 200  # bytes of a remembered row beside its numbers

Progress = Callable[[int, int], None]
"""Called with the number of texts encoded so far and the number to encode."""


class FeatureCache:
    """Features in memory and on disk, in `<directory>/<digest of model, settings and machine>/`.

    Args:
        backbone: Frozen.
        directory: Where features outlive the process; None: in memory alone.
        max_bytes: Bound of everything in `directory`; the oldest shards are dropped.
        memory_bytes: Bound of the rows kept in memory; the least recently used are dropped. 0 where
            a `TextTable` keeps every vector anyway: its own `max_bytes` bounds memory then.
    """

    def __init__(
        self,
        backbone: Backbone,
        directory: Path | None,
        max_bytes: int,
        *,
        memory_bytes: int = 2**28,
    ) -> None:
        if not backbone.is_frozen:
            raise ValueError("only a frozen backbone has features that stay; train is not frozen")
        self._backbone = backbone
        self._row_bytes = 4 * backbone.hidden_size
        self._max_rows = memory_bytes // (self._row_bytes + _ROW_OVERHEAD)
        self._memory: OrderedDict[bytes, bytes] = OrderedDict()
        self._store: ShardStore | None = None
        if directory is not None:
            folder = f"{backbone.digest[:32]}-{_machine(backbone.device)}"
            self._store = ShardStore(directory, folder, backbone.hidden_size, max_bytes)

    def features(self, texts: Sequence[str], progress: Progress | None = None) -> Tensor:
        """Features of the texts, in their order; shape (N, H), float32, on the CPU.

        Without `progress`, a bar with the remaining time is shown where stderr is a terminal.

        Raises:
            ModelError: The backbone gives a number that is not finite.
        """
        keys = [_key(text) for text in texts]
        distinct = dict(zip(keys, texts, strict=True))
        position = {key: i for i, key in enumerate(distinct)}
        rows = np.empty((len(distinct), self._backbone.hidden_size), dtype=np.float32)
        known = self._recall(position, rows)
        missing = {key: text for key, text in distinct.items() if key not in known}
        if missing:
            self._encode(missing, position, rows, progress)
        if len(distinct) < len(keys):
            rows = rows[[position[key] for key in keys]]
        return torch.from_numpy(rows)

    def _recall(self, position: dict[bytes, int], out: np.ndarray) -> set[bytes]:
        """Write the rows that memory or disk hold into `out`; the keys that were found."""
        remembered = [key for key in position if key in self._memory]
        if remembered:
            packed = b"".join(self._memory[key] for key in remembered)
            at = [position[key] for key in remembered]
            out[at] = np.frombuffer(packed, dtype=np.float32).reshape(len(at), -1)
            for key in remembered:
                self._memory.move_to_end(key)
        known = set(remembered)
        if self._store is not None and len(known) < len(position):
            for key, row in self._store.find(key for key in position if key not in known):
                out[position[key]] = row
                self._remember(key, row)
                known.add(key)
        return known

    def _encode(
        self,
        missing: dict[bytes, str],
        position: dict[bytes, int],
        out: np.ndarray,
        progress: Progress | None,
    ) -> None:
        keys = list(missing)
        tokens = self._backbone.tokenize(list(missing.values()))
        blocks = list(_blocks([len(ids) for ids in tokens], self._backbone.settings.max_tokens))
        waiting: list[bytes] = []
        done = 0
        # Blocks take about equal time, so the bar's remaining time is right; None: terminals only.
        disable = None if progress is None else True
        with tqdm(total=len(blocks), desc="encoding texts", unit="block", disable=disable) as bar:
            for width, num_rows, members in blocks:
                encoded = self._backbone.encode_block([tokens[i] for i in members], width, num_rows)
                rows = encoded.detach().cpu().numpy()
                for i, row in zip(members, rows, strict=True):
                    _refuse_not_finite(row, missing[keys[i]])
                    out[position[keys[i]]] = row
                    self._remember(keys[i], row)
                waiting += [keys[i] for i in members]
                if len(waiting) >= _SHARD_ROWS:
                    self._keep(waiting, position, out)
                    waiting = []
                done += len(members)
                bar.update()
                if progress is not None:
                    progress(done, len(keys))
        self._keep(waiting, position, out)

    def _keep(self, keys: list[bytes], position: dict[bytes, int], rows: np.ndarray) -> None:
        if self._store is not None:
            self._store.add(keys, rows[[position[key] for key in keys]])

    def _remember(self, key: bytes, row: np.ndarray) -> None:
        self._memory[key] = row.tobytes()
        if len(self._memory) > self._max_rows:
            self._memory.popitem(last=False)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def _bucket(length: int) -> int:
    """Width for a text of `length` tokens: multiples of 8 up to 128, then of 32."""
    step = 8 if length <= 128 else 32
    return -(-length // step) * step


def _blocks(lengths: Sequence[int], max_tokens: int) -> Iterator[tuple[int, int, list[int]]]:
    """Groups of texts for one forward pass each, as (width, number of rows, indices)."""
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        groups.setdefault(min(_bucket(length), max_tokens), []).append(index)
    for width, members in sorted(groups.items()):
        num_rows = max(1, _BLOCK_TOKENS // width)
        for start in range(0, len(members), num_rows):
            yield width, num_rows, members[start : start + num_rows]


def _refuse_not_finite(row: np.ndarray, text: str) -> None:
    if not np.isfinite(row).all():
        raise ModelError(
            f"the backbone gives numbers that are not finite for the text {text[:80]!r}; "
            "try backbone.dtype=float32"
        )


def _machine(device: torch.device) -> str:
    """Short digest of what else moves the last bits: versions, processor, number of threads."""
    if device.type == "cuda":
        place = torch.cuda.get_device_name(device)
    else:
        place = f"{device.type} {torch.backends.cpu.get_cpu_capability()} {torch.get_num_threads()}"
    return hashlib.sha256(f"{torch.__version__} {place}".encode()).hexdigest()[:8]
