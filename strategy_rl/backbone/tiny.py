"""A language model of random weights, for tests and smoke runs without a download."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors


def _byte_tokenizer(control: list[str]) -> tuple[Tokenizer, dict[str, int]]:
    """One token a byte, after the control tokens."""
    symbols = control + sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {symbol: i for i, symbol in enumerate(symbols)}
    backend = Tokenizer(models.BPE(vocab=ids, merges=[]))
    backend.add_special_tokens(control)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend, ids


def random_tiny(dtype: torch.dtype) -> tuple[Any, Any]:
    """A BERT of 0.2 M random weights, the same everywhere, that reads UTF-8 bytes."""
    control = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    backend, ids = _byte_tokenizer(control)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, ids[name]) for name in control[2:]]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), control, strict=True)),
    )
    config = transformers.BertConfig(
        vocab_size=len(ids),
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=512,
        attn_implementation="eager",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = transformers.BertModel(config, add_pooling_layer=False)
    return network.to(dtype), tokenizer


def random_tiny_writer() -> tuple[Any, Any]:
    """A Llama of 0.1 M random weights, the same everywhere, that writes UTF-8 bytes."""
    backend, ids = _byte_tokenizer(["<pad>", "<s>", "</s>"])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    config = transformers.LlamaConfig(
        vocab_size=len(ids),
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=128,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.12,  # small scores could never say anything clearly
        pad_token_id=ids["<pad>"],
        bos_token_id=ids["<s>"],
        eos_token_id=ids["</s>"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = transformers.LlamaForCausalLM(config)
    return network, tokenizer
