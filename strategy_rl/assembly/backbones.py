"""The pretrained model of an experiment and the table of texts that it makes vectors of.

Knows the section `backbone` and the machine's devices; nothing of tasks but whether texts are read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from strategy_rl.backbone import BackboneSettings, LoraSettings, load_backbone
from strategy_rl.config import BackboneConfig
from strategy_rl.env import EnvSlots
from strategy_rl.features import FeatureCache, TextTable
from strategy_rl.models import cache_root, resolve_model
from strategy_rl.policy import BackboneSource
from strategy_rl.policy.spaces import is_text
from strategy_rl.seeding import derive_seed


def needs_table(slots: EnvSlots) -> bool:
    """Whether the policy reads texts as vectors; one that writes reads tokens."""
    return not is_text(slots.action_space)


def make_table(config: BackboneConfig, seed: int) -> TextTable | None:
    """Load the backbone and its table of texts; None where the experiment names no model."""
    if config.model is None:
        return None
    device = resolve_device(config.device)
    backbone = load_backbone(
        str(resolve_model(config.model)),
        backbone_settings(config),
        revision=config.revision,
        device=device,
        seed=derive_seed(seed, "adapters"),
    )
    if not backbone.is_frozen:
        return TextTable(backbone)
    size = config.cache_max_mb << 20
    cache = FeatureCache(backbone, feature_folder(config), size, memory_bytes=0)
    return TextTable(backbone, cache)


def feature_folder(config: BackboneConfig) -> Path:
    """Where encoded texts outlive the process."""
    return Path(config.cache_dir) if config.cache_dir else cache_root() / "features"


def backbone_settings(config: BackboneConfig) -> BackboneSettings:
    """The section as plain settings of the backbone."""
    lora = LoraSettings(**config.lora.model_dump())
    names = ("train", "last_n", "pooling", "prefix", "max_tokens", "dtype")
    return BackboneSettings(**{name: getattr(config, name) for name in names}, lora=lora)


def backbone_source(config: BackboneConfig, table: TextTable) -> BackboneSource:
    """Where the backbone came from, with the number format that `auto` became."""
    assert config.model is not None
    settings = table.backbone.settings
    weights = next(table.backbone.network.parameters())
    half = weights.dtype is torch.bfloat16
    dtype: Literal["bfloat16", "float32"] = "bfloat16" if half else "float32"
    return BackboneSource(config.model, config.revision, replace(settings, dtype=dtype))


def resolve_device(name: str) -> torch.device:
    """`auto` is a GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
