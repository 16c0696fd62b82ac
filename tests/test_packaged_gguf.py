from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize
from tokenizers import pre_tokenizers

from strategy_rl import models
from strategy_rl.backbone.gguf import convert
from strategy_rl.backbone.tiny import random_tiny_writer
from strategy_rl.errors import ModelError
from strategy_rl.files import read_json, sha256_of
from strategy_rl.models import PackagedModel, list_models, resolve_model

FILE = "tiny.gguf"
SPECIAL = ["<|start|>", "<|end|>"]
TEMPLATE = "{% for m in messages %}<|start|>{{ m['content'] }}<|end|>{% endfor %}"
IDS = torch.tensor([[5, 100, 42, 1, 7]])
LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}


def tiny_llama() -> Any:
    return random_tiny_writer()[0]


def paired(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows as the format keeps them: the halves that turn together, (h, 2, d/2), side by side."""
    halves = weight.reshape(heads, 2, -1, weight.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def write_words(writer: GGUFWriter, end: bool) -> None:
    words = SPECIAL + sorted(pre_tokenizers.ByteLevel.alphabet())
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*words, "ab"])
    kinds = [TokenType.CONTROL] * len(SPECIAL) + [TokenType.NORMAL] * (
        len(words) + 1 - len(SPECIAL)
    )
    writer.add_token_types(kinds)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    if end:
        writer.add_eos_token_id(1)
        writer.add_pad_token_id(1)
    writer.add_chat_template(TEMPLATE)


def write_gguf(path: Path, network: Any, end: bool = True) -> None:
    """A file as other tools write them; the matrices `ffn_down` have 4 bits a weight."""
    config = network.config
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    write_words(writer, end)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    writer.add_tensor("token_embd.weight", weights["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", weights["model.norm.weight"])
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for layer in range(config.num_hidden_layers):
        for short, long in LAYER.items():
            weight = weights[f"model.layers.{layer}.{long}.weight"]
            kind = None
            if short in heads:
                weight = paired(weight, heads[short])
            if short == "ffn_down":
                kind = GGMLQuantizationType.Q4_1
                weight = quantize(weight, kind)
            writer.add_tensor(f"blk.{layer}.{short}.weight", weight, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    write_gguf(tmp_path / FILE, tiny_llama())
    folder = tmp_path / "converted"
    folder.mkdir()
    convert(tmp_path / FILE, folder)
    return folder


def load(folder: Path) -> tuple[Any, Any]:
    network, found = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True
    )
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    return network, transformers.AutoTokenizer.from_pretrained(folder)


def test_a_converted_model_computes_what_its_origin_computed(converted: Path) -> None:
    network, _ = load(converted)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    origin, weights = tiny_llama(), network.state_dict()
    origin.load_state_dict({name: weights[name] for name in weights if "down_proj" in name}, False)
    assert torch.allclose(network(IDS).logits, origin(IDS).logits, atol=1e-6)


def test_four_bits_keep_each_weight_to_half_a_step_of_its_block(converted: Path) -> None:
    name = "model.layers.0.mlp.down_proj.weight"
    found = load(converted)[0].state_dict()[name].reshape(-1, 32)
    given = tiny_llama().state_dict()[name].reshape(-1, 32)
    step = (given.amax(1) - given.amin(1)) / 15
    assert ((found - given).abs() <= 0.51 * step[:, None] + 1e-4).all()
    assert all(len(block.unique()) <= 16 for block in found)


def test_a_converted_model_can_learn_and_be_saved_again(converted: Path, tmp_path: Path) -> None:
    network, _ = load(converted)
    network(IDS, labels=IDS).loss.backward()
    assert all(p.grad is not None for p in network.parameters())
    network.save_pretrained(tmp_path / "again")
    assert load_again(tmp_path / "again").equal(network.lm_head.weight)


def load_again(folder: Path) -> torch.Tensor:
    network = transformers.AutoModelForCausalLM.from_pretrained(folder)
    weight: torch.Tensor = network.lm_head.weight
    return weight


def test_the_end_token_the_template_and_the_longest_text_come_along(converted: Path) -> None:
    network, tokenizer = load(converted)
    for settings in (network.config, network.generation_config, tokenizer):
        assert (settings.eos_token_id, settings.pad_token_id) == (1, 1)
    assert tokenizer.model_max_length == network.config.max_position_embeddings == 1024
    messages = [{"role": "user", "content": "ab 1"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False) == "<|start|>ab 1<|end|>"
    ids = tokenizer("<|start|>ab 1<|end|>")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<|start|>", "ab", "Ġ", "1", "<|end|>"]


def test_the_weights_can_be_read_by_whom_the_other_files_can(converted: Path) -> None:
    modes = {path.stat().st_mode for path in converted.iterdir()}
    assert len(modes) == 1


def test_a_damaged_file_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelError, match=r"tiny\.gguf cannot be unpacked") as caught:
        convert(tmp_path / FILE, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_model_without_an_end_token_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / FILE, tiny_llama(), end=False)
    with pytest.raises(ModelError, match="names no end token"):
        convert(tmp_path / FILE, tmp_path)


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """A tiny GGUF file in a wheel; instead of the index, pip copies it."""
    wheel = tmp_path / "tiny_gguf_for_tests-1.0-py3-none-any.whl"
    write_gguf(tmp_path / FILE, tiny_llama())
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tmp_path / FILE, f"tiny_gguf_for_tests/{FILE}")
    model = PackagedModel(
        name="tiny",
        package="tiny-gguf-for-tests",
        version="1.0",
        folder="tiny_gguf_for_tests",
        wheel_sha256=sha256_of(wheel),
        files={FILE: sha256_of(tmp_path / FILE)},
        licence="CC0-1.0",
        languages="none",
        megabytes=1,
        converter=models.PACKAGED_MODELS["smollm2-135m-instruct"].converter,
    )

    def copy(model: PackagedModel, folder: str) -> None:
        (Path(folder) / wheel.name).write_bytes(wheel.read_bytes())

    monkeypatch.setattr(models, "_pip_download", copy)
    monkeypatch.setattr(models, "PACKAGED_MODELS", {"tiny": model})
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path / "cache"))
    return model


def test_a_packaged_gguf_is_converted_once_by_a_program_of_its_own(
    packaged: PackagedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = resolve_model("package:tiny")
    assert isinstance(folder, Path)
    source = read_json(folder / "source.json")
    assert source["files"] == packaged.files
    assert source["converted"] == {
        path.name: sha256_of(path) for path in folder.iterdir() if path.name != "source.json"
    }
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(source["converted"])
    assert FILE not in source["converted"]
    assert load(folder)[0].config.model_type == "llama"
    assert list_models() == [(packaged, folder)]

    monkeypatch.setattr(models, "_run", lambda *_: pytest.fail("converted again"))
    assert resolve_model("package:tiny") == folder


def test_what_the_converter_says_is_told_and_nothing_stays(
    packaged: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(command: list[str], seconds: int) -> None:
        assert command[:3] == [sys.executable, "-m", "strategy_rl.backbone.gguf"]
        assert Path(command[3]).name == FILE
        raise subprocess.CalledProcessError(1, command, stderr="a warning\nno such type\n")

    monkeypatch.setattr(models, "_run", fail)
    with pytest.raises(ModelError, match=r"^package:tiny: no such type$"):
        resolve_model("package:tiny")
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


def test_without_the_package_that_unpacks_the_extra_is_named_before_anything_is_fetched(
    packaged: PackagedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert packaged.converter is not None
    missing = packaged.converter._replace(needs="no_such_package")
    monkeypatch.setattr(models, "PACKAGED_MODELS", {"tiny": replace(packaged, converter=missing)})
    monkeypatch.setattr(models, "_pip_download", lambda *_: pytest.fail("pip was called"))
    with pytest.raises(ModelError, match=r"needs the package 'no_such_package'.*\[text\]"):
        resolve_model("package:tiny")
