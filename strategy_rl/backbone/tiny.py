"""A language model of random weights, for tests and smoke runs without a download."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors


def random_tiny(dtype: torch.dtype) -> tuple[Any, Any]:
    """A BERT of 0.2 M random weights, the same everywhere, that reads UTF-8 bytes."""
    control = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    symbols = control + sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {symbol: i for i, symbol in enumerate(symbols)}
    backend = Tokenizer(models.BPE(vocab=ids, merges=[]))
    backend.add_special_tokens(control)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, ids[name]) for name in control[2:]]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), control, strict=True)),
    )
    config = transformers.BertConfig(
        vocab_size=len(symbols),
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
