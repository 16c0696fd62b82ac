"""Texts of different lengths in one key-value cache, so that one forward pass serves them all.

Row i holds `lengths[i]` tokens from column 0 on; what lies behind is masked. A text that ends gives
its row to the last one, so that the rows in use are always the first ones. n rows, V tokens of the
vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.cache_utils import Cache, DynamicLayer

Layers = list[tuple[Tensor, Tensor]]  # keys and values of each layer

_COLUMNS = 32  # columns are added by so many at least
_FEW, _LANES = 6, 16


@dataclass(frozen=True)
class Read:
    """A prompt as the model has read it.

    Attributes:
        ids: Its tokens.
        layers: Keys and values by layer, each (heads, tokens, size), of what follows the prefix.
        logits: Float32 (V,) of the token after it.
        prefix: What it begins with, as read for many prompts; None: `layers` hold all.
    """

    ids: tuple[int, ...]
    layers: Layers
    logits: Tensor
    prefix: Read | None = None

    @property
    def num_bytes(self) -> int:
        """Memory that it holds, but for the prefix."""
        held = [self.logits, *(tensor for pair in self.layers for tensor in pair)]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)


class Rows:
    """The rows of a cache, and the tokens that they hold.

    Attributes:
        lengths: Int64 (n,): tokens of each row.
    """

    def __init__(self) -> None:
        self.lengths = torch.empty(0, dtype=torch.int64)
        self._ids = torch.empty(0, 0, dtype=torch.int64)
        self._layers: Layers = []

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def ids(self) -> Tensor:
        """Int64 (n, most tokens of a row); shorter rows repeat their first token."""
        return self._ids[: len(self), : int(self.lengths.max())]

    def add(self, reads: Sequence[Read], room: int) -> None:
        """Begin rows behind the others.

        Args:
            reads: Their prompts, one at least.
            room: How many tokens may be written after each.
        """
        lengths = [len(read.ids) for read in reads]
        self._reserve(len(self) + len(reads), max(lengths) + room, reads[0])
        for place, read in enumerate(reads, start=len(self)):
            count = len(read.ids)
            self._ids[place] = read.ids[0]
            self._ids[place, :count] = torch.tensor(read.ids)
            shared = 0 if read.prefix is None else len(read.prefix.ids)
            self._fill(place, slice(shared, count), read)
            if read.prefix is not None:
                self._fill(place, slice(0, shared), read.prefix)
        self.lengths = torch.cat([self.lengths, torch.tensor(lengths)])

    def _fill(self, place: int, columns: slice, read: Read) -> None:
        for pair, own in zip(self._layers, read.layers, strict=True):
            for tensor, part in zip(pair, own, strict=True):
                tensor[place, :, columns] = part

    def keep(self, order: Sequence[int]) -> None:
        """Go on with these rows alone, in this order, as `without` gives it."""
        for place, source in enumerate(order):
            if place != source:
                count = int(self.lengths[source])
                self._ids[place] = self._ids[source]
                for pair in self._layers:
                    for tensor in pair:
                        tensor[place, :, :count] = tensor[source, :, :count]
        self.lengths = self.lengths[list(order)]
        if not order:  # so many may never be needed again
            self._layers, self._ids = [], self._ids[:0, :0]

    def write(self, tokens: Tensor) -> tuple[Any, dict[str, Tensor]]:
        """Make room for one token a row, (n,).

        Returns:
            A cache for one forward pass, which fills it, and the inputs that go with it: of n rows,
            and perhaps of some more behind them that mean nothing.
        """
        gap = _width(len(self)) - len(self)
        lengths, tokens = pad(self.lengths, (0, gap)), pad(tokens, (0, gap))
        places = torch.arange(len(lengths))
        self._ids[places, lengths] = tokens
        columns = int(lengths.max()) + 1
        layers = [_Layer(pair, places, lengths, columns) for pair in self._layers]
        mask = torch.arange(columns) <= lengths[:, None]
        inputs = {
            "input_ids": tokens[:, None],
            "attention_mask": mask.long(),
            "position_ids": lengths[:, None],
        }
        self.lengths = self.lengths + 1
        return Cache(layers=layers), inputs

    def _reserve(self, rows: int, columns: int, like: Read) -> None:
        """Have at least so many rows and columns, for layers like a prompt's."""
        had_rows, had_columns = self._ids.shape
        rows = _width(rows)
        if rows <= had_rows and columns <= had_columns:
            return
        if rows > had_rows:
            rows = max(rows, 2 * had_rows)
        rows = max(rows, had_rows)
        columns = max(had_columns, -(-columns // _COLUMNS) * _COLUMNS)
        grown = [
            tuple(tensor.new_zeros(rows, len(tensor), columns, tensor.shape[2]) for tensor in pair)
            for pair in like.layers
        ]
        for old, new in zip(self._layers, grown, strict=False):
            for was, tensor in zip(old, new, strict=True):
                tensor[:had_rows, :, :had_columns] = was
        # Zeros: what is masked counts zero times, and only numbers do not spoil that.
        self._layers = [(keys, values) for keys, values in grown]
        ids = torch.zeros(rows, columns, dtype=torch.int64)
        if had_columns:
            ids[:had_rows] = self._ids[:, :1]
            ids[:had_rows, :had_columns] = self._ids
        self._ids = ids


def _width(count: int) -> int:
    """How many rows a forward pass has.

    On CPUs 16 take as long as 6, and 15 half as long again: they are multiplied in lanes of 16.
    """
    return _LANES if _FEW <= count < _LANES else count


def without(count: int, ended: Sequence[int]) -> list[int]:
    """Which row each place holds after some have ended: the last ones move into the gaps."""
    order = list(range(count))
    for place in sorted(ended, reverse=True):
        last = order.pop()
        if place < len(order):
            order[place] = last
    return order


class _Layer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """One layer for one forward pass: every row writes behind its own tokens."""

    def __init__(
        self, pair: tuple[Tensor, Tensor], places: Tensor, lengths: Tensor, columns: int
    ) -> None:
        super().__init__()
        self.keys, self.values = pair
        self._places, self._lengths, self._columns = places, lengths, columns
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        self.keys[self._places, :, self._lengths] = key_states[:, :, 0]
        self.values[self._places, :, self._lengths] = value_states[:, :, 0]
        count = len(self._places)
        return self.keys[:count, :, : self._columns], self.values[:count, :, : self._columns]

    def get_seq_length(self) -> int:
        return self._columns - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._columns, 0
