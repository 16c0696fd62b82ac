"""What every pretrained network of this project can do: learn in part, be saved, be recognised."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from strategy_rl.backbone.quiet import some
from strategy_rl.backbone.settings import BackboneSettings
from strategy_rl.errors import ModelError
from strategy_rl.files import storage_errors, write_bytes

_VOLATILE = ("_name_or_path", "transformers_version", "dtype", "architectures", "use_cache")
_READING = ("pooling", "prefix", "max_tokens")


class Pretrained(nn.Module):
    """A network with its tokenizer, of which some weights learn.

    Dropout inside the pretrained network is always off: PPO's ratio must not depend on it.

    Attributes:
        hidden_size: Length of its vectors.
    """

    def __init__(self, network: nn.Module, tokenizer: Any, settings: BackboneSettings) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        self.settings = settings
        self.hidden_size: int = network.config.hidden_size  # type: ignore[union-attr,assignment]
        self._frozen_digest: str | None = None

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
        """The same of what does not learn: two of one base agree before and after."""
        learning = {p.data_ptr() for p in self.trainable_parameters()}
        tensors = self.network.state_dict().items()  # a tied weight has more names than one
        return _digest(self, frozenset(n for n, t in tensors if t.data_ptr() in learning))

    def train(self, mode: bool = True) -> Pretrained:
        """Set the mode; of the pretrained network only the adapters' dropout follows it."""
        super().train(mode)
        self.network.eval()
        for name, module in self.network.named_modules():
            if "lora_dropout" in name:
                module.train(mode)
        return self

    def trainable(self) -> dict[str, nn.Parameter]:
        """The weights that learn, by name, in a fixed order."""
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The weights that learn, in a fixed order."""
        return list(self.trainable().values())

    def save_trainable(self) -> dict[str, Tensor]:
        """A copy of the weights that learn and of nothing else, by name, on the CPU."""
        return {name: p.detach().cpu().clone() for name, p in self.trainable().items()}

    def load_trainable(self, state: Mapping[str, Tensor]) -> None:
        """Take over weights that `save_trainable` gave.

        Raises:
            ModelError: Names or shapes differ.
        """
        own = {name: tuple(p.shape) for name, p in self.trainable().items()}
        given = {name: tuple(tensor.shape) for name, tensor in state.items()}
        wrong = sorted(k for k in own.keys() | given.keys() if own.get(k) != given.get(k))
        if wrong:
            raise ModelError(
                f"the saved weights do not fit a backbone with train={self.settings.train}: "
                f"{some(wrong)}; load them with the settings and the model they were saved with"
            )
        with torch.no_grad():
            for name, parameter in self.trainable().items():
                parameter.copy_(state[name])

    def save_full(self, directory: Path) -> None:
        """Write the model and its tokenizer as a Hugging Face folder, adapters left out.

        With adapters, `save_trainable` holds the rest; both together restore every bit.
        """
        config = self.network.config
        state = {
            self._place + name.replace(".base_layer", ""): tensor.contiguous()
            for name, tensor in self._distinct_tensors().items()
            if "lora_" not in name
        }
        directory.mkdir(parents=True, exist_ok=True)
        write_bytes(directory / "model.safetensors", save(state, metadata={"format": "pt"}))
        config.save_pretrained(directory)  # type: ignore[union-attr,operator]
        self.save_tokenizer(directory)

    @property
    def _place(self) -> str:
        """What stands before the names of the network's weights in a Hugging Face folder."""
        return ""

    def _distinct_tensors(self) -> dict[str, Tensor]:
        """The network's tensors; those that are tied stand under their first name alone."""
        found: dict[int, tuple[str, Tensor]] = {}
        for name, tensor in self.network.state_dict().items():
            found.setdefault(tensor.data_ptr() if tensor.numel() else id(tensor), (name, tensor))
        return dict(found.values())

    def save_tokenizer(self, directory: Path) -> None:
        """Write the tokenizer alone, without the traces of how it was last called."""
        self.tokenizer.backend_tokenizer.no_truncation()
        self.tokenizer.backend_tokenizer.no_padding()
        with storage_errors(directory), _plain_os_errors():
            self.tokenizer.save_pretrained(directory)


def filler_id(tokenizer: Any) -> int:
    """The pad token, or an id of no special meaning; masks come from lengths, so any will do."""
    pad: int | None = tokenizer.pad_token_id
    if pad is not None and pad != tokenizer.eos_token_id:
        return pad
    return ordinary_id(tokenizer)


def ordinary_id(tokenizer: Any) -> int:
    """The first token of no special meaning."""
    return next(i for i in range(len(tokenizer)) if i not in tokenizer.all_special_ids)


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


def _digest(pretrained: Pretrained, skip: frozenset[str] = frozenset()) -> str:
    settings = asdict(pretrained.settings)
    reading = {name: settings[name] for name in _READING}
    tokenizer = json.loads(pretrained.tokenizer.backend_tokenizer.to_str())
    for name in ("truncation", "padding"):  # the last call's, not the tokenizer's own
        tokenizer.pop(name, None)
    config = pretrained.network.config.to_diff_dict()  # type: ignore[union-attr,operator]
    kept = {name: value for name, value in config.items() if name not in _VOLATILE}
    digest = hashlib.sha256(
        json.dumps([reading, tokenizer, kept], sort_keys=True, default=str).encode()
    )
    tensors = pretrained.network.state_dict()
    for name, tensor in sorted((n, t) for n, t in tensors.items() if n not in skip):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()
