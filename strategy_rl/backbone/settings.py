"""How a backbone reads texts and learns. Knows no library; plain, so that it can be a JSON file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters (arXiv 2106.09685): the update of a matrix is `alpha / rank * B A`."""

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    """Acts in training mode alone."""
    target_modules: tuple[str, ...] | None = None
    """Names of the layers to adapt; None: peft's choice for the model type."""
    last_n: int | None = None
    """Adapt this many last blocks alone; None: all."""


@dataclass(frozen=True)
class BackboneSettings:
    """How a model reads texts and which of its weights learn."""

    train: Literal["frozen", "lora", "last_n", "full"] = "frozen"
    last_n: int = 2
    """How many last blocks learn where `train` is `last_n`."""
    lora: LoraSettings = LoraSettings()
    pooling: Literal["mean", "cls", "last"] = "mean"
    """Mean of a text's tokens, its first, or its last."""
    prefix: str = ""
    """Put before every text; e5 models ask for `query: `."""
    max_tokens: int = 128
    """The end of a longer text is cut off."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of frozen weights; weights that learn are float32, for bfloat16 loses small updates."""
