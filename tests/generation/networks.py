"""Tiny networks of every kind that writes, with random weights that are far from alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers

from strategy_rl.backbone import BackboneSettings, LanguageModel
from strategy_rl.backbone.boundary import blocks_of, halve_frozen, split_of
from strategy_rl.backbone.learning import choose_trainable
from tests.generation.writers import END, PAD, gpt2, letters_tokenizer, llama

LETTERS = "abcdefghijklmnopqrst"
SIZE = len(LETTERS) + 2
ENDS = {"pad_token_id": PAD, "bos_token_id": None, "eos_token_id": END}


def qwen2(windows: bool = False) -> Any:
    """With `windows`, all blocks but the last see six tokens back alone."""
    local = {
        "use_sliding_window": True,
        "sliding_window": 6,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    }
    torch.manual_seed(0)
    return transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            vocab_size=SIZE,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=64,
            max_position_embeddings=128,
            **ENDS,
            **(local if windows else {}),
        )
    )


def opt() -> Any:
    torch.manual_seed(0)
    return transformers.OPTForCausalLM(
        transformers.OPTConfig(
            vocab_size=SIZE,
            hidden_size=32,
            word_embed_proj_dim=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            ffn_dim=64,
            max_position_embeddings=128,
            **ENDS,
        )
    )


def gpt_neox() -> Any:
    torch.manual_seed(0)
    return transformers.GPTNeoXForCausalLM(
        transformers.GPTNeoXConfig(
            vocab_size=SIZE,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=128,
            **ENDS,
        )
    )


def t5(vocabulary: int = SIZE, **options: Any) -> Any:
    torch.manual_seed(0)
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            **{
                "vocab_size": vocabulary,
                "d_model": 32,
                "d_kv": 16,
                "d_ff": 64,
                "num_layers": 2,
                "num_decoder_layers": 3,
                "num_heads": 2,
                "decoder_start_token_id": PAD,
                **ENDS,
                **options,
            }
        )
    )


def bart(vocabulary: int = SIZE, encoder_layers: int = 2) -> Any:
    torch.manual_seed(0)
    return transformers.BartForConditionalGeneration(
        transformers.BartConfig(
            vocab_size=vocabulary,
            d_model=32,
            encoder_layers=encoder_layers,
            decoder_layers=3,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_position_embeddings=128,
            decoder_start_token_id=END,
            forced_eos_token_id=None,
            **ENDS,
        )
    )


DECODERS: dict[str, Callable[[], Any]] = {
    "llama": lambda: llama(SIZE),
    "qwen2": qwen2,
    "qwen2-windows": lambda: qwen2(windows=True),
    "gpt2": lambda: gpt2(SIZE),
    "opt": opt,
    "gpt-neox": gpt_neox,
}
NETWORKS = {**DECODERS, "t5": t5, "bart": bart}


@torch.no_grad()
def stirred(network: Any) -> Any:
    """Every weight moved: fresh biases are 0 and fresh scores nearly alike, which hides faults."""
    draw = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=draw)
    return network


def network_of(kind: str) -> Any:
    """A stirred network of a kind."""
    return stirred(NETWORKS[kind]())


def writer(
    network: Any,
    settings: BackboneSettings | None = None,
    *,
    half: bool = False,
    letters: str = LETTERS,
) -> LanguageModel:
    """A network as a language model; `half`: as the loader does it in bfloat16."""
    settings = settings or BackboneSettings(train="full")
    decoder = network.get_decoder()
    blocks = blocks_of(decoder)
    assert blocks is not None
    choose_trainable("tiny", network, settings, 0, blocks)
    if half and settings.train != "full":
        first = split_of(decoder, blocks) if settings.train == "last_n" else None
        halve_frozen(network, decoder, blocks, first)
    return LanguageModel(
        network, letters_tokenizer(letters), settings, half=half and settings.train == "full"
    )
