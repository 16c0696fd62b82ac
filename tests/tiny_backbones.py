"""Small Hugging Face folders with random weights, written without a network."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

SENTENCE = "the cat sat on a mat and saw two dogs run by my old red barn"
_SPECIALS = {
    "encoder": {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
    },
    "roberta": {
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "eos_token": "</s>",
    },
    "decoder": {
        "unk_token": "<unk>",
        "eos_token": "<eos>",
    },  # as many decoders: nothing to pad with
    "encoder-decoder": {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
}
_TEMPLATES = {
    "encoder": "[CLS] $A [SEP]",
    "roberta": "<s> $A </s>",
    "encoder-decoder": "$A </s>",
}


def make_tiny_backbone(
    directory: Path,
    kind: str = "encoder",
    texts: Sequence[str] = (SENTENCE,),
    *,
    hidden_size: int = 32,
    layers: int = 2,
    positions: int = 64,
    seed: int = 0,
) -> Path:
    """Write config.json, model.safetensors and a tokenizer that knows the words of `texts`."""
    specials = _SPECIALS[kind]
    words = sorted({word for text in texts for word in text.split()})
    ids = {token: i for i, token in enumerate([*specials.values(), *words])}
    backend = Tokenizer(models.WordLevel(vocab=ids, unk_token=specials["unk_token"]))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if kind in _TEMPLATES:
        used = [token for token in specials.values() if token in _TEMPLATES[kind].split()]
        backend.post_processor = processors.TemplateProcessing(
            single=_TEMPLATES[kind], special_tokens=[(token, ids[token]) for token in used]
        )
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **specials)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _network(kind, len(ids), hidden_size, layers, positions)
    network.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def _network(kind: str, vocabulary: int, hidden: int, layers: int, positions: int) -> Any:
    common = {"vocab_size": vocabulary, "hidden_size": hidden, "num_hidden_layers": layers}
    bert = {
        "num_attention_heads": 2,
        "intermediate_size": 2 * hidden,
        "max_position_embeddings": positions,
        **common,
    }
    if kind == "encoder":
        return transformers.BertModel(transformers.BertConfig(**bert))
    if kind == "roberta":
        return transformers.RobertaModel(transformers.RobertaConfig(pad_token_id=1, **bert))
    if kind == "decoder":
        config = transformers.LlamaConfig(
            num_key_value_heads=1, bos_token_id=None, eos_token_id=1, **bert
        )
        return transformers.LlamaForCausalLM(config)
    config = transformers.T5Config(
        vocab_size=vocabulary,
        d_model=hidden,
        d_kv=8,
        d_ff=64,
        num_layers=layers,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=1,
    )
    return transformers.T5ForConditionalGeneration(config)


def edit_config(directory: Path, **changes: Any) -> None:
    """Change fields of a written config.json."""
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
