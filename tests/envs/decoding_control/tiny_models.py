"""Language models of a few random weights in folders, and rows for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

CONTROL = ["<pad>", "<s>", "</s>"]
CHAT = (
    "{{ '<s>system: be brief.\n' }}{% for m in messages %}"
    "{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}{{ 'assistant: ' }}"
)
PROMPTS = [
    "What is this package? A tool that reads mail.",
    "Name a colour.",
    "Go on: one, two, three, four, five, six, seven, eight, nine, ten, eleven,",
    "你好，世界",
    "Say a word. It should be long and beautiful!",
]


def byte_tokenizer(chat_template: str | None = None) -> Any:
    """One token a byte, after the control tokens."""
    symbols = CONTROL + sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={s: i for i, s in enumerate(symbols)}, merges=[]))
    backend.add_special_tokens(CONTROL)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **dict(zip(("pad_token", "bos_token", "eos_token"), CONTROL, strict=True)),
        **({"chat_template": chat_template} if chat_template else {}),
    )


def tiny_llama(seed: int = 0, **options: Any) -> Any:
    """With weights large enough to be of two minds about the next byte, not of 259."""
    config = transformers.LlamaConfig(
        **{
            "vocab_size": 259,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 64,
            "max_position_embeddings": 256,
            "tie_word_embeddings": True,
            "initializer_range": 0.3,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            **options,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.LlamaForCausalLM(config).eval()


def save_model(folder: Path, network: Any = None, chat_template: str | None = None) -> str:
    """Save a model and its tokenizer; gives the folder."""
    (network or tiny_llama()).save_pretrained(folder)
    byte_tokenizer(chat_template).save_pretrained(folder)
    return str(folder)


def save_rows(
    folder: Path,
    prompts: list[str] | None = None,
    each: list[dict[str, Any]] | None = None,
    **fields: Any,
) -> str:
    """The same rows in every split, with fields of all and of each; gives the folder."""
    folder.mkdir(exist_ok=True)
    lines = [
        json.dumps(
            {"id": f"r{i}", "prompt": prompt, "kind": "odd" if i % 2 else "even"}
            | {"references": ["a tool for mail"]}
            | fields
            | (each[i] if each else {})
        )
        for i, prompt in enumerate(PROMPTS if prompts is None else prompts)
    ]
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder)


def comparable(info: dict[str, Any]) -> dict[str, Any]:
    """An info whose surprisal may differ in the last bits, as logits do from batch to batch."""
    inputs = info.get("reward_inputs")
    if inputs is None:
        return info
    nats = pytest.approx(inputs["surprisal"], rel=1e-3, abs=1e-4)
    return {**info, "reward_inputs": {**inputs, "surprisal": nats}}
