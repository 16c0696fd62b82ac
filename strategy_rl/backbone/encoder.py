"""A pretrained language model as an encoder: texts in, one vector a text out.

Shapes: N texts, L tokens, H hidden size. Padding is on the right.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from strategy_rl.backbone.quiet import some
from strategy_rl.backbone.settings import BackboneSettings
from strategy_rl.errors import ModelError
from strategy_rl.files import storage_errors, write_bytes

_CHUNK_TOKENS = 4096  # padded tokens of one forward pass: bounds memory, fills the cores
_VOLATILE = ("_name_or_path", "transformers_version", "dtype", "architectures", "use_cache")


class Backbone(nn.Module):
    """A transformer with its tokenizer; gives float32 vectors, with gradient where it learns.

    Dropout inside the pretrained network is always off: PPO's ratio must not depend on it.

    Attributes:
        hidden_size: Length of a text's vector.
        num_truncated: How many texts `tokenize` has cut so far.
    """

    def __init__(self, network: nn.Module, tokenizer: Any, settings: BackboneSettings) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.settings = settings
        self.hidden_size: int = network.config.hidden_size  # type: ignore[union-attr,assignment]
        self.num_truncated = 0
        self._pad_id = _pad_id(tokenizer)
        self._blank = _blank_text(tokenizer)
        self._frozen_digest: str | None = None
        self.eval()

    @property
    def is_frozen(self) -> bool:
        """Whether no weight learns."""
        return self.settings.train == "frozen"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides the features: weights, tokenizer and settings."""
        if self._frozen_digest is None or not self.is_frozen:
            self._frozen_digest = _digest(self)
        return self._frozen_digest

    @property
    def base_digest(self) -> str:
        """The same of what does not learn: two backbones of one base agree before and after."""
        return _digest(self, skip=frozenset(self._trainable()))

    def train(self, mode: bool = True) -> Backbone:
        """Set the mode; of the pretrained network only the adapters' dropout follows it."""
        super().train(mode)
        self.network.eval()
        for name, module in self.network.named_modules():
            if "lora_dropout" in name:
                module.train(mode)
        return self

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

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The weights that learn, in a fixed order."""
        return [p for p in self.network.parameters() if p.requires_grad]

    def save_trainable(self) -> dict[str, Tensor]:
        """A copy of the weights that learn and of nothing else, by name, on the CPU."""
        return {name: p.detach().cpu().clone() for name, p in self._trainable().items()}

    def load_trainable(self, state: Mapping[str, Tensor]) -> None:
        """Take over weights that `save_trainable` gave.

        Raises:
            ModelError: Names or shapes differ.
        """
        own = {name: tuple(p.shape) for name, p in self._trainable().items()}
        given = {name: tuple(tensor.shape) for name, tensor in state.items()}
        wrong = sorted(k for k in own.keys() | given.keys() if own.get(k) != given.get(k))
        if wrong:
            raise ModelError(
                f"the saved weights do not fit a backbone with train={self.settings.train}: "
                f"{some(wrong)}; load them with the settings and the model they were saved with"
            )
        with torch.no_grad():
            for name, parameter in self._trainable().items():
                parameter.copy_(state[name])

    def save_full(self, directory: Path) -> None:
        """Write the model and its tokenizer as a Hugging Face folder, adapters left out.

        With adapters, `save_trainable` holds the rest; both together restore every bit.
        """
        config = self.network.config
        place = "encoder." if config.is_encoder_decoder else ""  # type: ignore[union-attr]
        state = {
            place + name.replace(".base_layer", ""): tensor.contiguous()
            for name, tensor in self.network.state_dict().items()
            if "lora_" not in name
        }
        directory.mkdir(parents=True, exist_ok=True)
        write_bytes(directory / "model.safetensors", save(state, metadata={"format": "pt"}))
        config.save_pretrained(directory)  # type: ignore[union-attr,operator]
        self.save_tokenizer(directory)

    def save_tokenizer(self, directory: Path) -> None:
        """Write the tokenizer alone, without the traces of how it was last called."""
        self.tokenizer.backend_tokenizer.no_truncation()
        self.tokenizer.backend_tokenizer.no_padding()
        with storage_errors(directory), _plain_os_errors():
            self.tokenizer.save_pretrained(directory)

    def _trainable(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}


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


@contextmanager
def _plain_os_errors() -> Iterator[None]:
    """Undo what the tokenizers library does with an OSError: it becomes text."""
    try:
        yield
    except Exception as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error


def _pad_id(tokenizer: Any) -> int:
    """The pad token, or an id of no special meaning; masks come from lengths, so any will do."""
    pad: int | None = tokenizer.pad_token_id
    if pad is not None and pad != tokenizer.eos_token_id:
        return pad
    return next(i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids)


def _blank_text(tokenizer: Any) -> list[int]:
    """What stands for a text without tokens."""
    known = (tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id)
    return [next((i for i in known if i is not None), _pad_id(tokenizer))]


def _digest(backbone: Backbone, skip: frozenset[str] = frozenset()) -> str:
    settings = asdict(backbone.settings)
    reading = {name: settings[name] for name in ("pooling", "prefix", "max_tokens")}
    tokenizer = json.loads(backbone.tokenizer.backend_tokenizer.to_str())
    for name in ("truncation", "padding"):  # the last call's, not the tokenizer's own
        tokenizer.pop(name, None)
    config = backbone.network.config.to_diff_dict()  # type: ignore[union-attr,operator]
    kept = {name: value for name, value in config.items() if name not in _VOLATILE}
    digest = hashlib.sha256(
        json.dumps([reading, tokenizer, kept], sort_keys=True, default=str).encode()
    )
    tensors = backbone.network.state_dict()
    for name, tensor in sorted((n, t) for n, t in tensors.items() if n not in skip):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()
