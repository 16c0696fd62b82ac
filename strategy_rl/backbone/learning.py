"""Which weights of a network learn. Knows peft, nothing of texts."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from strategy_rl.backbone.settings import BackboneSettings, LoraSettings
from strategy_rl.errors import ModelError


def choose_trainable(
    model: str,
    network: Any,
    settings: BackboneSettings,
    seed: int,
    blocks: nn.ModuleList | None = None,
) -> None:
    """Let exactly the weights learn that the settings name; autograd records nothing below them.

    Args:
        model: Its name, for messages.
        network: Whose weights these are.
        settings: Which of them learn.
        seed: Of the adapters' first weights.
        blocks: What `last_n` counts; None: the network's own list of blocks.
    """
    network.requires_grad_(settings.train == "full")
    if settings.train == "last_n":
        blocks = _blocks(model, network) if blocks is None else blocks
        if settings.last_n > len(blocks):
            raise ModelError(
                f"backbone.last_n is {settings.last_n}, but {model!r} has {len(blocks)} blocks"
            )
        for block in blocks[-settings.last_n :]:
            block.requires_grad_(True)
    if settings.train == "lora":
        count = settings.lora.last_n
        chosen = None
        if count is not None:
            blocks = _blocks(model, network) if blocks is None else blocks
            chosen = list(range(max(len(blocks) - count, 0), len(blocks)))
        _add_adapters(model, network, settings.lora, seed, chosen)
        if chosen is not None and blocks is not None:
            _freeze_outside(network, blocks[chosen[0] :])
    _silence_dropout(network)


def _freeze_outside(network: nn.Module, blocks: nn.ModuleList) -> None:
    """Numbers of blocks mean those of an encoder too; fresh adapters there change nothing."""
    inside = {id(p) for p in blocks.parameters()}
    for parameter in network.parameters():
        if id(parameter) not in inside:
            parameter.requires_grad_(False)


def _silence_dropout(network: nn.Module) -> None:
    """Set every dropout to 0: `eval` alone is undone by the next `train`, of whoever calls it."""
    for name, module in network.named_modules():
        if "lora_dropout" in name:
            continue
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for attribute, value in vars(module).items():
            if "drop" in attribute and isinstance(value, float):
                setattr(module, attribute, 0.0)


def _blocks(model: str, network: nn.Module) -> nn.ModuleList:
    count = network.config.num_hidden_layers  # type: ignore[union-attr]
    for module in network.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ModelError(
        f"backbone.train is last_n, but {model!r} has no list of {count} blocks; use lora or full"
    )


def _add_adapters(
    model: str, network: nn.Module, lora: LoraSettings, seed: int, blocks: list[int] | None
) -> None:
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules) if lora.target_modules else None,
        layers_to_transform=blocks,
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fan_in_fan_out")  # GPT-2's; it is then set right
        torch.manual_seed(seed)
        try:
            inject_adapter_in_model(config, network)
        except ValueError as error:
            linear = {
                n.split(".")[-1] for n, m in network.named_modules() if isinstance(m, nn.Linear)
            }
            raise ModelError(
                f"backbone.lora.target_modules is {lora.target_modules}, which does not suit "
                f"{model!r} ({error}); choose among {', '.join(sorted(linear))}"
            ) from error
    for name, parameter in network.named_parameters():
        parameter.requires_grad_("lora_" in name)
