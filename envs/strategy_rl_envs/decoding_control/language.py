"""The frozen language model: reads prompts, and goes on with many texts at once.

    language = load_language(folder)
    rows = Rows()
    rows.add(language.read(prompts, prefix), room=28)
    logits = language.feed(rows, tokens)               # one forward pass for all

n rows, V tokens of the vocabulary.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from strategy_rl_envs.decoding_control.cache import Layers, Read, Rows
from strategy_rl_envs.decoding_control.observing import Head, head_of
from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.kit.quiet import quiet

Ids = tuple[int, ...]

_PADDED_TOKENS = 256  # read at once: more are not read faster on CPUs, and waste more padding
_LONGEST = 10**6  # models without a limit of their own
_SAME = {torch.float32: 1e-3, torch.bfloat16: 0.1}  # of the largest logit, by two ways


class Language:
    """A causal model and its tokenizer.

    Args:
        network: Of transformers.
        tokenizer: Its own.
        cache_mb: Megabytes of prompts that are kept as they were read.

    Attributes:
        end_ids: Tokens that end a text.
        max_tokens: The most tokens of prompt and text.

    Raises:
        SettingError: The model has no end token, or its texts cannot grow side by side.
    """

    def __init__(self, network: Any, tokenizer: Any, cache_mb: int = 2048) -> None:
        self.network, self.tokenizer = network.eval().requires_grad_(False), tokenizer
        self.end_ids = end_ids_of(network, tokenizer)
        config = network.config.get_text_config()
        self.max_tokens = int(getattr(config, "max_position_embeddings", None) or _LONGEST)
        taken = inspect.signature(network.forward).parameters
        self._takes_positions = "position_ids" in taken
        self._one_place = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}
        self._read: OrderedDict[Ids, Read] = OrderedDict()
        self._room, self._held = cache_mb << 20, 0  # bytes
        self._prefix: Read | None = None
        self._check()

    @cached_property
    def head(self) -> Head:
        """What turns states into logits."""
        return head_of(self.network)

    @torch.no_grad()
    def read(self, prompts: Sequence[Ids], prefix: Ids = ()) -> list[Read]:
        """Read prompts; those that were read lately are known still.

        Args:
            prompts: Token ids, one or more each.
            prefix: Tokens that each of them begins with and goes on after; they are read once.
        """
        missing = list(dict.fromkeys(ids for ids in prompts if ids not in self._read))
        found: dict[Ids, Read] = {}
        for part in _parts(sorted(missing, key=len), len(prefix)):
            for read in self._forward(part, self._begun(prefix)):
                found[read.ids] = read
        for ids in prompts:
            if ids in self._read:
                self._read.move_to_end(ids)
                found[ids] = self._read[ids]
        self._remember({ids: found[ids] for ids in missing})
        return [found[ids] for ids in prompts]

    @torch.no_grad()
    def feed(self, rows: Rows, tokens: Tensor) -> Tensor:
        """Write one token a row and give the logits of the next, float32 (n, V).

        Args:
            rows: Of one cache; it grows.
            tokens: Int64 (n,).
        """
        cache, inputs = rows.write(tokens)
        return self._run(cache, inputs)[: len(rows)]

    def _run(self, cache: Any, inputs: Mapping[str, Tensor]) -> Tensor:
        given = dict(inputs)
        if not self._takes_positions:
            del given["position_ids"]
        out = self.network(**given, **self._one_place, past_key_values=cache, use_cache=True)
        logits: Tensor = out.logits
        return logits[:, -1].float()

    def _begun(self, prefix: Ids) -> Read | None:
        """The prefix as the model has read it; None where there is none."""
        if not prefix:
            return None
        if self._prefix is None or self._prefix.ids != prefix:
            self._prefix = self._forward([prefix], None)[0]
        return self._prefix

    def _forward(self, prompts: Sequence[Ids], prefix: Read | None) -> list[Read]:
        """Read prompts at once, padded on the left, after what they share."""
        shared = 0 if prefix is None else len(prefix.ids)
        rests = [ids[shared:] for ids in prompts]
        width = max(map(len, rests))
        gaps = torch.tensor([width - len(rest) for rest in rests])
        padded = torch.tensor([[rest[0]] * (width - len(rest)) + list(rest) for rest in rests])
        columns = torch.arange(width)
        inputs = {
            "input_ids": padded,
            "attention_mask": torch.cat(
                [
                    torch.ones(len(rests), shared, dtype=torch.int64),
                    (columns >= gaps[:, None]).long(),
                ],
                1,
            ),
            "position_ids": shared + (columns - gaps[:, None]).clamp(min=0),
        }
        cache = _cache_of(prefix, len(prompts))
        logits = self._run(cache, inputs)
        return [
            Read(ids, _own(cache, row, shared + int(gaps[row])), logits[row].clone(), prefix)
            for row, ids in enumerate(prompts)
        ]

    def _remember(self, found: Mapping[Ids, Read]) -> None:
        """Keep them, and forget what was not asked for the longest."""
        for ids, read in found.items():
            self._read[ids] = read
            self._held += read.num_bytes
        while self._held > self._room and self._read:
            self._held -= self._read.popitem(last=False)[1].num_bytes

    @torch.no_grad()
    def _check(self) -> None:
        """Compare two texts that grow side by side with the same read whole."""
        wrong = "its next-token scores differ from those of a plain pass"
        try:
            texts = self._check_texts()
            rows, last = Rows(), torch.tensor([ids[-1] for ids in texts])
            rows.add(self._forward([ids[:-1] for ids in texts], None), 1)
            logits = self.feed(rows, last)
            plain = [self.network(input_ids=torch.tensor([ids])).logits[0, -1] for ids in texts]
            expected = torch.stack(plain).float()
            bound = _SAME[next(self.network.parameters()).dtype] * expected.abs().max()
            same = bool((logits - expected).abs().max() <= bound)
        except (ValueError, RuntimeError, TypeError, AttributeError, IndexError) as error:
            same, wrong = False, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if not same:
            raise SettingError(
                f"model: {self.network.config.model_type} cannot write texts of different lengths "
                f"side by side ({wrong}); expected a decoder whose attention takes a mask, such as "
                "Llama, Qwen, GPT-2 or SmolLM"
            )

    def _check_texts(self) -> list[Ids]:
        count = self.network.get_output_embeddings().weight.shape[0]
        return [tuple((7 * i + 3) % count for i in range(length)) for length in (2, 7)]


@lru_cache(maxsize=4)
def load_language(model: str, dtype: str = "float32", cache_mb: int = 2048) -> Language:
    """Load a model once a process.

    Args:
        model: A folder, or the id of a model in the local Hugging Face cache.
        dtype: Of the weights: `float32` or `bfloat16`.
        cache_mb: See `Language`.

    Raises:
        SettingError: It cannot be loaded or used.
    """
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet():
            tokenizer = transformers.AutoTokenizer.from_pretrained(model, **options)
            network, found = transformers.AutoModelForCausalLM.from_pretrained(
                model, use_safetensors=True, dtype=dtype, output_loading_info=True, **options
            )
    except (OSError, ValueError, RuntimeError, ImportError, KeyError, SafetensorError) as error:
        raise SettingError(
            f"model: {model!r} cannot be loaded: {' '.join(str(error).split())[:300]}; expected a "
            "folder with config.json, safetensors weights and a tokenizer of a causal language "
            "model; a name that begins with `package:` is known to strategy-rl's commands alone"
        ) from error
    if found["missing_keys"]:  # transformers fills them with random numbers
        raise SettingError(
            f"model: {model!r} lacks {len(found['missing_keys'])} of its weights, first "
            f"{min(found['missing_keys'])!r}"
        )
    return Language(network, tokenizer, cache_mb)


@lru_cache(maxsize=4)
def fingerprint(model: str) -> str:
    """SHA-256 over the names and contents of a model folder's files.

    Raises:
        SettingError: It is no folder.
    """
    folder = Path(model)
    if not folder.is_dir():
        raise SettingError(f"model: expected a folder, got {model!r}")
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.name} {content}\n".encode())
    return digest.hexdigest()


def _parts(prompts: Sequence[Ids], shared: int) -> Iterator[list[Ids]]:
    """Prompts that are read together; they come sorted by length."""
    part: list[Ids] = []
    for ids in prompts:
        if part and (len(part) + 1) * (len(ids) - shared) > _PADDED_TOKENS:
            yield part
            part = []
        part.append(ids)
    if part:
        yield part


def _cache_of(prefix: Read | None, rows: int) -> Any:
    """A cache that begins with the prefix in every row."""
    if prefix is None:
        return Cache(layer_class_to_replicate=DynamicLayer)
    layers = []
    for keys, values in prefix.layers:
        layer = DynamicLayer()
        layer.keys, layer.values = (t.expand(rows, -1, -1, -1) for t in (keys, values))
        layer.dtype, layer.device, layer.is_initialized = keys.dtype, keys.device, True
        layers.append(layer)
    return Cache(layers=layers)


def _own(cache: Any, row: int, start: int) -> Layers:
    """One row's keys and values from a column on; copies, so that the others' memory is freed."""
    return [
        (layer.keys[row, :, start:].clone(), layer.values[row, :, start:].clone())
        for layer in cache.layers
    ]


def end_ids_of(network: Any, tokenizer: Any) -> tuple[int, ...]:
    """The end tokens that the model and its tokenizer name."""
    settings = getattr(network, "generation_config", None)
    named = getattr(settings, "eos_token_id", None)
    listed = named if isinstance(named, list | tuple) else [named]
    found = {int(i) for i in (*listed, tokenizer.eos_token_id) if i is not None}
    if not found:
        raise SettingError("model: it names no end token, in its generation settings or tokenizer")
    return tuple(sorted(found))
