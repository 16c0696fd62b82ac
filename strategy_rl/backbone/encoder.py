"""A pretrained language model as an encoder: texts in, one vector a text out.

Shapes: N texts, L tokens, H hidden size. Padding is on the right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from strategy_rl.backbone.pretrained import Pretrained, filler_id
from strategy_rl.backbone.settings import BackboneSettings

_CHUNK_TOKENS = 4096  # padded tokens of one forward pass: bounds memory, fills the cores


class Backbone(Pretrained):
    """A transformer with its tokenizer; gives float32 vectors, with gradient where it learns.

    Attributes:
        num_truncated: How many texts `tokenize` has cut so far.
    """

    def __init__(self, network: nn.Module, tokenizer: Any, settings: BackboneSettings) -> None:
        super().__init__(network, tokenizer, settings)
        self.num_truncated = 0
        self._pad_id = filler_id(tokenizer)
        self._blank = _blank_text(tokenizer)
        self.eval()

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, prefix included, at most `max_tokens` and at least one.

        What looks like a control token inside a text stays text.
        """
        if not texts:
            return []
        encoded = self.tokenizer(
            [self.settings.prefix + text for text in texts],
            truncation=True,
            max_length=self.settings.max_tokens,
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        self.num_truncated += sum(1 for encoding in encoded.encodings if encoding.overflowing)
        return [ids or list(self._blank) for ids in encoded["input_ids"]]

    def encode_tokens(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """Pooled vectors of tokenised texts, in the order given.

        Texts of like length share a forward pass, so their last bits depend on each other;
        `encode_block` is free of that.

        Returns:
            float32 of shape (N, H) on the backbone's device, with gradient where it learns.
        """
        if not tokens:
            return torch.empty(0, self.hidden_size, device=self.device)
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        chunks = [
            self.encode_block([tokens[i] for i in chunk], len(tokens[chunk[-1]]), len(chunk))
            for chunk in _chunks(order, [len(t) for t in tokens])
        ]
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(chunks).index_select(0, back.to(self.device))

    def encode_block(self, tokens: Sequence[Sequence[int]], width: int, num_rows: int) -> Tensor:
        """One forward pass of exactly `num_rows` rows of `width` tokens; rows short are filled up.

        Returns:
            float32 of shape (N, H), as `encode_tokens`.
        """
        ids = np.full((num_rows, width), self._pad_id, dtype=np.int64)
        ids[len(tokens) :, 0] = self._blank[0]
        lengths = np.ones(num_rows, dtype=np.int64)  # a filler row attends to its one token
        for row, text in enumerate(tokens):
            ids[row, : len(text)] = text
            lengths[row] = len(text)
        mask = torch.from_numpy(np.arange(width) < lengths[:, None]).to(self.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_frozen):
            hidden = self.network(
                input_ids=torch.from_numpy(ids).to(self.device), attention_mask=mask.long()
            ).last_hidden_state
            pooled = pool(hidden.float(), mask, self.settings.pooling)
        return pooled[: len(tokens)]

    @property
    def _place(self) -> str:
        config = self.network.config
        return "encoder." if config.is_encoder_decoder else ""  # type: ignore[union-attr]


def pool(hidden: Tensor, mask: Tensor, how: Literal["mean", "cls", "last"]) -> Tensor:
    """One vector a row from its token vectors; padding is on the right.

    Args:
        hidden: Shape (N, L, H).
        mask: bool, shape (N, L), at least one True a row.
        how: Mean of the tokens, the first, or the last.

    Returns:
        Shape (N, H).
    """
    if how == "cls":
        return hidden[:, 0]
    lengths = mask.sum(1)
    if how == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]
    return hidden.masked_fill(~mask[..., None], 0.0).sum(1) / lengths[:, None]


def _chunks(order: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Cut indices, sorted by length, where the padded size would pass `_CHUNK_TOKENS`."""
    chunk: list[int] = []
    for index in order:
        if chunk and (len(chunk) + 1) * lengths[index] > _CHUNK_TOKENS:
            yield chunk
            chunk = []
        chunk.append(index)
    yield chunk


def _blank_text(tokenizer: Any) -> list[int]:
    """What stands for a text without tokens."""
    known = (tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id)
    return [next((i for i in known if i is not None), filler_id(tokenizer))]
