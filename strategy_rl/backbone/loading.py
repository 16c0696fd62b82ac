"""From a name to a backbone: finding, strict loading, checks. Runs no code that a model brings."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import constants
from safetensors import SafetensorError

from strategy_rl.backbone.boundary import (
    blocks_of,
    halve_frozen,
    recompute_in_backward,
    split_of,
)
from strategy_rl.backbone.encoder import Backbone
from strategy_rl.backbone.language_model import LanguageModel
from strategy_rl.backbone.learning import choose_trainable
from strategy_rl.backbone.quiet import quiet, some
from strategy_rl.backbone.settings import BackboneSettings
from strategy_rl.backbone.tiny import random_tiny, random_tiny_writer
from strategy_rl.errors import ModelError
from strategy_rl.models import RANDOM_TINY

_FEWEST_TOKENS = 5  # transformers makes up an empty tokenizer where there is none


def load_backbone(
    model: str | Path,
    settings: BackboneSettings | None = None,
    *,
    revision: str | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Backbone:
    """Load a pretrained model as a backbone.

    Args:
        model: A folder, a Hugging Face id (the local cache first, then the hub) or `random:tiny`,
            a small BERT with random weights that reads bytes.
        settings: How it reads and what learns; None: frozen, mean of the tokens.
        revision: Branch, tag or commit on the hub.
        device: Where it runs.
        seed: Of the adapters' first weights.

    Raises:
        ModelError: It cannot be found, is not complete, or does not fit the settings.
    """
    settings = settings or BackboneSettings()
    model, target = str(model), torch.device(device)
    dtype = _resolve_dtype(settings, target)
    if model == RANDOM_TINY:
        network, tokenizer = random_tiny(dtype)
    else:
        # A mask that hides nothing is dropped by the fused kernels, and the last bits move.
        attention = "eager" if settings.train == "frozen" else None
        network, tokenizer = _load(model, revision, dtype, attention)
    _check_fit(model, network, tokenizer, settings)
    network.config.use_cache = False
    choose_trainable(model, network, settings, seed)
    return Backbone(network.to(target), tokenizer, settings)


def load_language_model(
    model: str | Path,
    settings: BackboneSettings,
    *,
    revision: str | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
    gradient_checkpointing: bool = False,
) -> LanguageModel:
    """Load a pretrained model that writes texts.

    Args:
        model: As in `load_backbone`; `random:tiny` is a small Llama that writes bytes.
        settings: What learns, and in which number format.
        revision: Branch, tag or commit on the hub.
        device: Where it runs.
        seed: Of the adapters' first weights.
        gradient_checkpointing: Keep less of the forward pass and compute it again: slower, smaller.

    Raises:
        ModelError: It cannot be found, is not complete, writes nothing, or does not fit the
            settings.
    """
    model, target = str(model), torch.device(device)
    wanted = settings.dtype == "bfloat16"
    half = wanted or (settings.dtype == "auto" and _has_fast_bfloat16(target))
    if model == RANDOM_TINY:
        network, tokenizer = random_tiny_writer()
    else:
        network, tokenizer = _load(model, revision, torch.float32, None, writes=True)
    _check_vocabulary(model, network, tokenizer)
    network.config.use_cache = False
    decoder = network.get_decoder()
    blocks = blocks_of(decoder)
    choose_trainable(model, network, settings, seed, blocks)
    if half and (
        settings.train == "lora"
        or (settings.train == "last_n" and not network.config.is_encoder_decoder)
    ):
        first = 0 if blocks is None else split_of(decoder, blocks)
        halve_frozen(network, decoder, blocks, first if settings.train == "last_n" else None)
    if gradient_checkpointing:
        encoders = [network.get_encoder()] if network.config.is_encoder_decoder else []
        for part in (decoder, *encoders):
            recompute_in_backward(blocks_of(part) or [])
    autocast = half and settings.train == "full"
    try:
        return LanguageModel(network.to(target), tokenizer, settings, half=autocast)
    except RuntimeError as error:
        if not half:
            raise
        raise ModelError(
            f"backbone.model {model!r} does not run in bfloat16 with train={settings.train} "
            f"({' '.join(str(error).split())[:200]}); set backbone.dtype to float32"
        ) from error


def _resolve_dtype(settings: BackboneSettings, device: torch.device) -> torch.dtype:
    if settings.dtype == "float32":
        return torch.float32
    if settings.dtype == "bfloat16":
        if settings.train != "frozen":
            raise ModelError(
                f"backbone.dtype is bfloat16 with train={settings.train}, but small updates are "
                "lost in bfloat16; use auto or float32"
            )
        return torch.bfloat16
    fast = settings.train == "frozen" and _has_fast_bfloat16(device)
    return torch.bfloat16 if fast else torch.float32


def _has_fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if device.type != "cpu" or capabilities is None:
        return False
    return any(capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))


def _load(
    model: str,
    revision: str | None,
    dtype: torch.dtype,
    attention: str | None,
    *,
    writes: bool = False,
) -> tuple[Any, Any]:
    """The network and the tokenizer; one that only reads is the encoder, where there are two."""
    is_folder = Path(model).is_dir()
    if not is_folder and (model.startswith((".", "/", "~")) or model.count("/") > 1):
        raise ModelError(f"backbone.model is {model!r}, but there is no such folder")
    options = {"revision": revision, "trust_remote_code": False}
    read = _read_writer if writes else _read
    try:
        return read(model, dtype, attention, options | {"local_files_only": True})
    except OSError as error:
        if is_folder:
            raise _unusable(model, error) from error
        _ask_hub(model, error)
    except (ValueError, RuntimeError, ImportError, KeyError, SafetensorError) as error:
        raise _unusable(model, error) from error
    try:
        return read(model, dtype, attention, options)
    except (OSError, ValueError, RuntimeError, ImportError, KeyError, SafetensorError) as error:
        raise _unusable(model, error) from error


def _ask_hub(model: str, cause: OSError) -> None:
    """Refuse at once where the hub cannot be reached, instead of after many retries."""
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError:
        return  # it answers
    except OSError as error:
        raise ModelError(
            f"backbone.model is {model!r}: no folder of that name, not in the local cache, and "
            f"the hub cannot be reached ({error}); give a folder, a `package:` name (see "
            "`strategy-rl models`), or fetch the model once while connected"
        ) from cause


def _unusable(model: str, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:500]
    return ModelError(
        f"backbone.model {model!r} cannot be loaded: {type(error).__name__}: {reason}; expected a "
        "Hugging Face folder or id with config.json, safetensors weights and a tokenizer.json, "
        "of a model type that transformers itself knows"
    )


def _read_writer(
    model: str, dtype: torch.dtype, attention: str | None, options: dict[str, Any]
) -> tuple[Any, Any]:
    config = transformers.AutoConfig.from_pretrained(model, **options)
    kind = "Seq2SeqLM" if config.is_encoder_decoder else "CausalLM"
    network, tokenizer, found = _weights(f"AutoModelFor{kind}", model, dtype, attention, options)
    missing = sorted(found["missing_keys"])
    if missing:
        raise ValueError(
            f"the weights do not fit {type(network).__name__}: missing {some(missing)}"
        )
    return network, tokenizer


def _weights(
    kind: str, model: str, dtype: torch.dtype, attention: str | None, options: dict[str, Any]
) -> tuple[Any, Any, Mapping[str, Any]]:
    """Network, tokenizer and what transformers says of names that did not fit."""
    with quiet():
        tokenizer = transformers.AutoTokenizer.from_pretrained(model, **options)
        network, found = getattr(transformers, kind).from_pretrained(
            model,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            attn_implementation=attention,
            **options,
        )
    if not tokenizer.is_fast:
        raise ValueError("its tokenizer has no tokenizer.json")
    if len(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids)) < _FEWEST_TOKENS:
        raise ValueError("its tokenizer has no vocabulary; the tokenizer's files are missing")
    return network, tokenizer, found


def _read(
    model: str, dtype: torch.dtype, attention: str | None, options: dict[str, Any]
) -> tuple[Any, Any]:
    network, tokenizer, found = _weights("AutoModel", model, dtype, attention, options)
    has_decoder = network.config.is_encoder_decoder
    _refuse_gaps(network, found, ignored="decoder" if has_decoder else "pooler")
    if has_decoder:
        network = network.get_encoder()
    if getattr(network, "pooler", None) is not None:
        network.pooler = None  # its output is not used, and not all models carry its weights
    return network, tokenizer


def _refuse_gaps(network: Any, found: Mapping[str, Any], ignored: str) -> None:
    """Refuse weights that are missing, or left over inside the network.

    Left-over weights outside of it are the head of another task (`lm_head`, `cls.predictions`).
    """
    inside = {name for name, _ in network.named_children()} | {network.base_model_prefix}
    missing = [k for k in found["missing_keys"] if ignored not in k.split(".")]
    extra = [
        key
        for key in found["unexpected_keys"]
        if ignored not in key.split(".") and key.split(".")[0] in inside
    ]
    if missing or extra:
        raise ValueError(
            f"the weights do not fit {type(network).__name__}: missing {some(missing)}, "
            f"unexpected {some(extra)}"
        )


def _check_vocabulary(model: str, network: Any, tokenizer: Any) -> None:
    rows = network.get_input_embeddings().num_embeddings
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows:
        raise ModelError(
            f"backbone.model {model!r}: the tokenizer gives ids up to {highest}, the model knows "
            f"{rows} tokens; use the tokenizer that belongs to the model"
        )


def _check_fit(model: str, network: Any, tokenizer: Any, settings: BackboneSettings) -> None:
    _check_vocabulary(model, network, tokenizer)
    least = tokenizer.num_special_tokens_to_add() + 1
    most = _num_positions(network)
    if settings.max_tokens < least or (most is not None and settings.max_tokens > most):
        raise ModelError(
            f"backbone.max_tokens is {settings.max_tokens}, but {model!r} reads {least} to "
            f"{most if most is not None else 'any number of'} tokens; choose a number in between"
        )


def _num_positions(network: Any) -> int | None:
    """Longest text in tokens; RoBERTa and its kin count positions from the pad id on."""
    most: int | None = getattr(network.config, "max_position_embeddings", None)
    for name, module in network.named_modules():
        if (
            name.endswith("position_embeddings")
            and getattr(module, "padding_idx", None) is not None
        ):
            return int(module.num_embeddings - module.padding_idx - 1)
    return most
