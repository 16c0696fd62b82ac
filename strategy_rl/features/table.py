"""The texts of one run as dense numbers, with their vectors. Knows nothing of observations.

Shapes: `...` any leading shape of ids, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from strategy_rl.backbone import Backbone
from strategy_rl.errors import MemoryFault
from strategy_rl.features.cache import FeatureCache, Progress

_SCALED_ROWS = 4096  # at a time: scaling takes twice the memory of what it scales


class TextTable:
    """Gives every distinct text an id, counted from 0; -1 stands for no text.

    Vectors are scaled to a root mean square of 1, so heads meet one scale under every model.
    Under a frozen backbone it holds each text's vector, else its tokens. Memory of the vectors is
    texts x H x 4 bytes: 154 MB for 100,000 texts of 384 numbers, up to three times as much for a
    moment while it grows (the space doubles). `prepare` a data set at once to avoid that.

    Args:
        backbone: What encodes.
        cache: Where vectors of a frozen backbone come from; None: a cache of its own, in memory.
        max_bytes: Bound of the vectors; None: no bound.
    """

    def __init__(
        self,
        backbone: Backbone,
        cache: FeatureCache | None = None,
        *,
        max_bytes: int | None = None,
    ) -> None:
        self.backbone = backbone
        self.is_frozen = backbone.is_frozen
        self.hidden_size = backbone.hidden_size
        if self.is_frozen and cache is None:
            cache = FeatureCache(backbone, None, 0, memory_bytes=0)
        self._cache = cache
        self._max_bytes = max_bytes
        self._index: dict[str, int] = {}
        self._texts: list[str] = []
        self._tokens: list[list[int]] = []
        # Row 0 is the zero vector of "no text", so id i has row i + 1.
        self._rows = torch.zeros(1, self.hidden_size, device=backbone.device)

    def __len__(self) -> int:
        return len(self._texts)

    def ids(self, texts: Sequence[str]) -> list[int]:
        """Ids of the texts; those not met before are encoded together."""
        try:
            return list(map(self._index.__getitem__, texts))
        except KeyError:
            self.prepare(texts)
            return list(map(self._index.__getitem__, texts))

    def text(self, text_id: int) -> str:
        """The text of an id."""
        if text_id < 0:
            raise IndexError(f"id {text_id} stands for no text")
        return self._texts[text_id]

    def prepare(self, texts: Sequence[str], progress: Progress | None = None) -> None:
        """Encode what is new among the texts, in one call.

        Raises:
            MemoryFault: The vectors would pass `max_bytes`.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._index]
        if not new:
            return
        if self.is_frozen:
            assert self._cache is not None
            self._reserve(len(self) + len(new))
            place = len(self) + 1
            for part in torch.split(self._cache.features(new, progress), _SCALED_ROWS):
                self._rows[place : place + len(part)] = _unit_rms(part)
                place += len(part)
        else:
            self._tokens += self.backbone.tokenize(new)
        self._index.update(zip(new, range(len(self), len(self) + len(new)), strict=True))
        self._texts += new

    def embed(self, ids: Tensor) -> Tensor:
        """Vectors of ids, of unit root mean square; zeros for -1. With gradient where they learn.

        Args:
            ids: int64, shape (...), on any device.

        Returns:
            float32 of shape (..., H) on the backbone's device.
        """
        flat = ids.reshape(-1).to(self._rows.device)
        rows = self._rows.index_select(0, flat + 1) if self.is_frozen else self._encode(flat)
        return rows.view(*ids.shape, self.hidden_size)

    def vectors(self, ids: np.ndarray) -> np.ndarray:
        """The same as `embed` in NumPy, without gradient."""
        with torch.no_grad():
            found = self.embed(torch.from_numpy(np.asarray(ids, dtype=np.int64)))
        array: np.ndarray = found.cpu().numpy()
        return array

    def _encode(self, ids: Tensor) -> Tensor:
        """Encode each distinct text once, shape (N,) to (N, H).

        In the order of the texts: ids follow the order of meeting them, which a resumed run does
        not share, and the last bits of a batch follow its order.
        """
        distinct, inverse = torch.unique(ids, return_inverse=True)
        known = distinct[distinct >= 0].tolist()
        order = sorted(range(len(known)), key=lambda i: self._texts[known[i]])
        encoded = _unit_rms(self.backbone.encode_tokens([self._tokens[known[i]] for i in order]))
        rows = torch.cat([encoded.new_zeros(1, self.hidden_size), encoded])
        first = len(distinct) - len(known)  # 1 where -1 is among them: it sorts first
        places = torch.zeros(len(distinct), dtype=torch.int64)
        places[torch.tensor(order, dtype=torch.int64) + first] = torch.arange(1, len(known) + 1)
        return rows.index_select(0, places.to(inverse.device)[inverse])

    def _reserve(self, num_texts: int) -> None:
        needed = num_texts + 1
        if needed <= len(self._rows):
            return
        row_bytes = self.hidden_size * 4
        size = max(needed, 2 * len(self._rows))
        if self._max_bytes is not None:
            if needed * row_bytes > self._max_bytes:
                raise MemoryFault(
                    f"{num_texts} texts x {self.hidden_size} numbers take {needed * row_bytes} "
                    f"bytes, the bound is {self._max_bytes}; use fewer rows, a smaller model or a "
                    "higher bound"
                )
            size = min(size, self._max_bytes // row_bytes)
        rows = torch.zeros(size, self.hidden_size, device=self._rows.device)
        rows[: len(self) + 1] = self._rows[: len(self) + 1]
        self._rows = rows


def _unit_rms(vectors: Tensor) -> Tensor:
    """Heads see numbers of one size, whatever the backbone's own scale: (N, H) to (N, H)."""
    return vectors / vectors.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-6)
