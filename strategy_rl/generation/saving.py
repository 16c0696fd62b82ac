"""A policy that writes as a folder: `config.json`, `model.safetensors`, tokenizer, model card.

The weights that were trained are in it; the others are named with their digest, not copied, unless
that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors

from strategy_rl import files
from strategy_rl.backbone import load_language_model
from strategy_rl.errors import ModelError
from strategy_rl.generation.policy import TextPolicy, TextPolicySpec
from strategy_rl.generation.prompts import PromptFormat
from strategy_rl.generation.sampling import Sampling
from strategy_rl.models import resolve_model
from strategy_rl.policy import Policy
from strategy_rl.policy.saving import (
    BACKBONE,
    CARD,
    CONFIG,
    FORMAT,
    WEIGHTS,
    frozen,
    read_config,
    source_of,
)

KIND = "text"


def save(
    policy: TextPolicy,
    directory: Path,
    *,
    card: str,
    include_backbone: bool,
    task: Mapping[str, Any] | None,
) -> None:
    """Write a policy to a folder, file by file, each whole or not at all.

    Args:
        policy: What to write.
        directory: Made where it is missing; files of the same names are replaced.
        card: Text of README.md.
        include_backbone: Copy the pretrained weights too, so that the folder needs nothing else.
        task: `id` and `settings` of what it was trained for, as data; None: not told.
    """
    files.make_folder(directory)
    state = {name: tensor.cpu().contiguous() for name, tensor in policy.state().items()}
    files.write_bytes(directory / WEIGHTS, save_tensors(state))
    policy.model.save_tokenizer(directory / "tokenizer")
    if include_backbone:
        policy.model.save_full(directory / BACKBONE)
    backbone = {
        **asdict(policy.source),
        "digest": policy.model.base_digest,
        "included": include_backbone,
    }
    spec = asdict(policy.spec)
    config = {"format": FORMAT, "kind": KIND, "spec": spec, "backbone": backbone, "task": task}
    files.write_json(directory / CONFIG, config)
    files.write_text(directory / CARD, card or "# A policy of strategy_rl\n")


def load(directory: Path, device: torch.device | str) -> TextPolicy:
    """Load a policy from a folder; nothing named in it is executed.

    Raises:
        ModelError: The folder is incomplete, of another kind, or its model has changed.
    """
    config = read_config(directory)
    if config.get("kind") != KIND:
        raise ModelError(f"{directory}: a policy that picks, not one that writes; use `Policy`")
    try:
        spec, saved = _spec(config["spec"]), config["backbone"]
        source, is_included = source_of(saved), saved["included"]
        expected = saved["digest"]
        state = load_file(directory / WEIGHTS, device=str(device))
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        raise ModelError(f"{directory}: damaged: {type(error).__name__}: {error}") from error
    folder = directory / BACKBONE
    name = str(folder) if is_included else str(resolve_model(source.model))
    model = load_language_model(name, source.settings, revision=source.revision, device=device)
    if model.base_digest != expected:
        raise ModelError(
            f"{directory}: its model {source.model!r} is not the one it was trained with "
            f"(digest {model.base_digest[:12]}, expected {expected[:12]})"
        )
    policy = TextPolicy(spec, model, source)
    try:
        policy.load_state(state)
    except (RuntimeError, KeyError) as error:
        raise ModelError(f"{directory / WEIGHTS} does not fit {CONFIG}: {error}") from error
    return policy


def load_policy(
    directory: Path, device: torch.device | str = "cpu", **cache: Any
) -> Policy | TextPolicy:
    """Load a policy of either kind; `cache` as `Policy.from_pretrained` takes it."""
    if read_config(directory).get("kind") == KIND:
        return load(directory, device)
    return Policy.from_pretrained(directory, device, **cache)


def _spec(saved: dict[str, Any]) -> TextPolicySpec:
    fields = frozen(saved)
    return TextPolicySpec(
        **{
            **fields,
            "prompt": PromptFormat(**fields["prompt"]),
            "sampling": Sampling(**fields["sampling"]),
        }
    )
