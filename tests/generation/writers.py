"""Tiny writing models over a few letters, and tasks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from strategy_rl.backbone import BackboneSettings, LanguageModel
from strategy_rl.backbone.boundary import blocks_of, halve_frozen, split_of
from strategy_rl.backbone.learning import choose_trainable
from strategy_rl.generation import TextPolicy, TextPolicySpec
from strategy_rl.generation.prompts import PromptFormat
from strategy_rl.generation.sampling import Sampling
from strategy_rl.policy import BackboneSource
from strategy_rl_envs.kit.text import UnicodeText

PAD, END = 0, 1


def letters_tokenizer(letters: str) -> Any:
    """One token a letter, after `<pad>` and the end token."""
    vocabulary = {token: i for i, token in enumerate(["<pad>", "</s>", *letters])}
    backend = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<pad>"
    )


def llama(vocabulary: int, seed: int = 0, **options: Any) -> Any:
    config = transformers.LlamaConfig(
        **{
            "vocab_size": vocabulary,
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "intermediate_size": 64,
            "max_position_embeddings": 128,
            "tie_word_embeddings": True,
            "pad_token_id": PAD,
            "bos_token_id": None,
            "eos_token_id": END,
            **options,
        }
    )
    torch.manual_seed(seed)
    return transformers.LlamaForCausalLM(config)


def gpt2(vocabulary: int, seed: int = 0) -> Any:
    """With places of its own for tokens, so that it tells `a` from `aa` (a Llama does not)."""
    config = transformers.GPT2Config(
        vocab_size=vocabulary,
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=64,
        pad_token_id=PAD,
        bos_token_id=END,
        eos_token_id=END,
    )
    torch.manual_seed(seed)
    return transformers.GPT2LMHeadModel(config)


def writer_of(
    network: Any, letters: str, train: str = "full", *, half: bool = False, last_n: int = 1
) -> LanguageModel:
    """A network as a language model of which a part learns."""
    settings = BackboneSettings(train=train, last_n=last_n)  # type: ignore[arg-type]
    decoder = network.get_decoder()
    blocks = blocks_of(decoder)
    choose_trainable("tiny", network, settings, 0, blocks)
    if half and train != "full":
        first = split_of(decoder, blocks) if train == "last_n" else None
        halve_frozen(network, decoder, blocks, first)
    return LanguageModel(network, letters_tokenizer(letters), settings, half=half)


def text_policy(
    letters: str = "abcdefgh",
    train: str = "full",
    *,
    max_new_tokens: int = 5,
    sampling: Sampling | None = None,
    network: Any = None,
    seed: int = 0,
    half: bool = False,
) -> TextPolicy:
    """A policy over a few letters with random weights."""
    network = network or llama(len(letters) + 2, seed)
    model = writer_of(network, letters, train, half=half)
    spec = TextPolicySpec(
        prompt=PromptFormat("plain"),
        sampling=sampling or Sampling(),
        max_new_tokens=max_new_tokens,
        hidden_sizes=(16,),
    )
    torch.manual_seed(seed)
    return TextPolicy(spec, model, BackboneSource("tiny"))


class Writing(gym.Env[str, str]):
    """One response a prompt, paid by a function of both."""

    num_rows = 8

    def __init__(
        self,
        pay: Callable[[str, str], float] = lambda prompt, text: float(text.count("a")),
        prompts: Sequence[str] = ("a", "ab", "abcd", "cc", "dead", "fab", "gh", "bead"),
    ) -> None:
        self.pay, self.prompts = pay, prompts
        self.observation_space = UnicodeText(50)
        self.action_space = UnicodeText(50)

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self.row = (options or {}).get("row", 0)
        return self.prompts[self.row % len(self.prompts)], {"row": self.row, "expert_action": "aab"}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        reward = self.pay(self.prompts[self.row % len(self.prompts)], action)
        return "", reward, True, False, {"row": self.row}
