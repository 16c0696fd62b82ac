"""Pretrained models for rewards: loaded once, run on batches of texts. Knows no reward.

torch and transformers are imported on first use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.kit.quiet import quiet

_LONGEST = 10**6  # tokenizers without a limit of their own say 1e30


class Loaded(NamedTuple):
    """A network in evaluation mode, its tokenizer and the most tokens that both take."""

    network: Any
    tokenizer: Any
    max_tokens: int


@lru_cache(maxsize=8)
def load(kind: str, model: str, device: str, download: bool) -> Loaded:
    """Load a model once a process.

    Args:
        kind: Name of an `AutoModel` class of transformers.
        model: Hugging Face id or folder.
        device: As torch names it.
        download: Whether the hub may be asked for it.

    Raises:
        SettingError: No model is named, or it cannot be loaded as that kind.
    """
    if not model:
        raise SettingError("model: none given; name a Hugging Face id or a folder in settings")
    import transformers
    from safetensors import SafetensorError

    options: dict[str, Any] = {"local_files_only": not download, "trust_remote_code": False}
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(model, **options)
            network, found = getattr(transformers, kind).from_pretrained(
                model, use_safetensors=True, dtype="float32", output_loading_info=True, **options
            )
        _refuse_gaps(found["missing_keys"], ignored="pooler" if kind == "AutoModel" else None)
    except (OSError, ValueError, RuntimeError, ImportError, KeyError, SafetensorError) as error:
        raise SettingError(
            f"model: {model!r} cannot be loaded as {kind}: {' '.join(str(error).split())[:300]}; "
            "expected a folder or an id in the local cache with config.json, safetensors weights "
            "and a tokenizer; download: true asks the hub"
        ) from error
    network = network.to(device).eval().requires_grad_(False)
    positions = getattr(network.config, "max_position_embeddings", None) or _LONGEST
    # RoBERTa's positions begin after its padding id
    offset = (network.config.pad_token_id or 0) + 1 if "roberta" in network.config.model_type else 0
    return Loaded(network, tokenizer, min(tokenizer.model_max_length, positions - offset, _LONGEST))


def _refuse_gaps(missing: Iterable[str], ignored: str | None) -> None:
    """Transformers would fill weights that the folder lacks with random numbers."""
    gaps = sorted(name for name in missing if ignored is None or ignored not in name)
    if gaps:
        raise ValueError(f"{len(gaps)} weights are missing, first {gaps[0]!r}")


def run(loaded: Loaded, batch: Mapping[str, Any]) -> Any:
    """The network's answer to a batch, without gradients."""
    import torch

    with torch.inference_mode():
        return loaded.network(**batch)


def batches(
    loaded: Loaded,
    texts: Sequence[tuple[str, ...]],
    start: Sequence[int] = (),
    *,
    size: int = 32,
) -> Iterator[dict[str, Any]]:
    """Texts, or pairs of them, as padded tensors of shape (texts, tokens), in order.

    Padded here since many decoders have nothing to pad with; `start` stands before each text.
    """
    room = loaded.max_tokens - len(start)
    for begin in range(0, len(texts), size):
        rows = [tuple(map(_encodable, row)) for row in texts[begin : begin + size]]
        columns = [list(column) for column in zip(*rows, strict=True)]
        encoded = loaded.tokenizer(*columns, truncation=True, max_length=room)
        yield _padded(loaded, encoded, start)


def _encodable(text: str) -> str:
    """Tokenizers refuse lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def _padded(loaded: Loaded, encoded: Mapping[str, Any], start: Sequence[int]) -> dict[str, Any]:
    import torch

    rows = [[*start, *ids] for ids in encoded["input_ids"]]
    width = max(1, *map(len, rows))
    fillings = {"input_ids": loaded.tokenizer.pad_token_id or 0, "token_type_ids": 0}
    columns = {"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]}
    if "token_type_ids" in encoded and not start:
        columns["token_type_ids"] = encoded["token_type_ids"]
    return {
        name: torch.tensor(
            [row + [fillings.get(name, 0)] * (width - len(row)) for row in column],
            device=loaded.network.device,
        )
        for name, column in columns.items()
    }


def start_token(tokenizer: Any) -> list[int]:
    """The token that a text begins with, unless the tokenizer puts one there itself."""
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    own = tokenizer("a")["input_ids"][:1]
    return [] if begin is None or own == [begin] else [begin]
