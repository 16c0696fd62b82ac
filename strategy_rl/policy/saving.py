"""A policy as a folder: `config.json`, `model.safetensors`, tokenizer and model card. No pickle.

A frozen backbone is named with its digest, not copied, unless it is asked for; one that was
trained has its trained weights in the folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors

from strategy_rl import files
from strategy_rl.backbone import BackboneSettings, LoraSettings, load_backbone
from strategy_rl.errors import InputError, ModelError
from strategy_rl.features import FeatureCache, TextTable
from strategy_rl.models import resolve_model

if TYPE_CHECKING:
    import torch

    from strategy_rl.policy.policy import BackboneSource, Policy

FORMAT = 1
CONFIG, WEIGHTS, CARD, BACKBONE = "config.json", "model.safetensors", "README.md", "backbone"


def save(
    policy: Policy,
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
    backbone: dict[str, Any] | None = None
    if policy.table is not None and policy.source is not None:
        tokenizer_folder = directory / "tokenizer"
        policy.table.backbone.save_tokenizer(tokenizer_folder)
        backbone = {
            **asdict(policy.source),
            "digest": policy.table.backbone.base_digest,
            "included": include_backbone,
        }
        if include_backbone:
            policy.table.backbone.save_full(directory / BACKBONE)
    spec = asdict(policy.spec)
    config = {"format": FORMAT, "spec": spec, "backbone": backbone, "task": task}
    files.write_json(directory / CONFIG, config)
    files.write_text(directory / CARD, card or "# A policy of strategy_rl\n")


def load(
    directory: Path,
    device: torch.device | str,
    *,
    cache_dir: str | Path | None = None,
    cache_max_mb: int = 2048,
) -> Policy:
    """Load a policy from a folder; nothing named in it is executed.

    Args:
        directory: What `save` wrote.
        device: Where it is to run.
        cache_dir: Where features of a frozen backbone outlive the process; None: nowhere.
        cache_max_mb: Size at which the oldest of them are dropped, in MiB.

    Raises:
        ModelError: The folder is incomplete, of another format, or its backbone has changed.
    """
    from strategy_rl.policy.policy import Policy

    config = read_config(directory)
    if "kind" in config:
        raise ModelError(f"{directory}: a policy that writes texts; use `TextPolicy`")
    try:
        spec, saved = _spec(config["spec"]), config["backbone"]
        source = None if saved is None else source_of(saved)
        state = load_file(directory / WEIGHTS, device=str(device))
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        raise ModelError(f"{directory}: damaged: {type(error).__name__}: {error}") from error
    if source is None:
        policy = Policy(spec, None, device=device)
    else:
        included = directory / BACKBONE
        model = str(included) if saved["included"] else str(resolve_model(source.model))
        backbone = load_backbone(model, source.settings, revision=source.revision, device=device)
        if backbone.base_digest != saved["digest"]:
            raise ModelError(
                f"{directory}: its backbone {source.model!r} is not the one it was trained with "
                f"(digest {backbone.base_digest[:12]}, expected {saved['digest'][:12]})"
            )
        cache = None
        if cache_dir is not None and backbone.is_frozen:
            folder, size = Path(cache_dir), cache_max_mb << 20
            cache = FeatureCache(backbone, folder, size, memory_bytes=0)  # the table keeps them
        policy = Policy(spec, TextTable(backbone, cache), source, device)
    try:
        policy.load_state(state)
    except (RuntimeError, KeyError) as error:
        raise ModelError(f"{directory / WEIGHTS} does not fit {CONFIG}: {error}") from error
    return policy


def read_config(directory: Path) -> Any:
    """The `config.json` of a policy's folder.

    Raises:
        ModelError: It is missing, damaged or of another format.
    """
    if not (directory / CONFIG).is_file():
        raise ModelError(f"{directory} holds no {CONFIG}; expected a folder of save_pretrained")
    try:
        config = files.read_json(directory / CONFIG)
        found = config["format"]
    except (InputError, KeyError, TypeError) as error:
        raise ModelError(f"{directory}: damaged: {type(error).__name__}: {error}") from error
    if found != FORMAT:
        raise ModelError(f"{directory / CONFIG}: format {found}, this version reads {FORMAT}")
    return config


def source_of(saved: dict[str, Any]) -> BackboneSource:
    """Where a saved policy's backbone came from."""
    from strategy_rl.policy.policy import BackboneSource

    settings = dict(saved["settings"])
    lora = LoraSettings(**frozen(settings.pop("lora")))
    return BackboneSource(
        saved["model"], saved["revision"], BackboneSettings(**settings, lora=lora)
    )


def _spec(saved: dict[str, Any]) -> Any:
    from strategy_rl.policy.distributions import ActionSpec
    from strategy_rl.policy.network import NetworkSizes
    from strategy_rl.policy.policy import PolicySpec
    from strategy_rl.policy.spaces import ObservationSpec

    observation = ObservationSpec(**frozen(saved["observation"]))
    return PolicySpec(
        observation=observation,
        action=ActionSpec(**frozen(saved["action"])),
        sizes=NetworkSizes(**frozen(saved["sizes"])),
        special_actions=tuple(saved["special_actions"]),
        pair_features=saved["pair_features"],
    )


def frozen(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of a JSON file as dataclasses have them: tuples in place of lists."""

    def tuples(value: Any) -> Any:
        return tuple(tuples(v) for v in value) if isinstance(value, list) else value

    return {name: tuples(value) for name, value in fields.items()}
