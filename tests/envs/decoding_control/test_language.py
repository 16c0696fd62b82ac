"""Texts of different lengths in one cache, beside a plain forward pass."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from tiny_models import CHAT, byte_tokenizer, save_model, tiny_llama

from strategy_rl_envs.decoding_control.cache import Rows, without
from strategy_rl_envs.decoding_control.language import Language, fingerprint, load_language
from strategy_rl_envs.decoding_control.reading import Reader
from strategy_rl_envs.kit.errors import SettingError

SIZES = {"vocab_size": 259, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
OTHERS = {
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=64, **SIZES)
    ),
    "bloom": lambda: transformers.BloomForCausalLM(
        transformers.BloomConfig(hidden_size=32, n_layer=2, n_head=2, **SIZES)
    ),
    "qwen2": lambda: transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=64,
            **SIZES,
        )
    ),
}


def plain(language: Language, ids: tuple[int, ...]) -> torch.Tensor:
    with torch.no_grad():
        return language.network(input_ids=torch.tensor([ids])).logits[0, -1].float()


def drawn(length: int, seed: int) -> tuple[int, ...]:
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(3, 259, (length,), generator=draw).tolist())


@pytest.mark.parametrize("most", [3, 9])  # 9 are padded to 16
@pytest.mark.parametrize("kind", ["llama", *OTHERS])
def test_rows_of_all_ages_have_the_logits_of_a_plain_pass_over_refills(kind, most):
    torch.manual_seed(0)
    network = tiny_llama() if kind == "llama" else OTHERS[kind]()
    language = Language(network, byte_tokenizer())
    prompts = [drawn(length, seed) for seed, length in enumerate((3, 40, 1, 17, 8, 25) * 3)]
    rows, texts = Rows(), []
    waiting = list(prompts)
    step = widest = 0
    while texts or waiting:
        step, widest = step + 1, max(widest, len(texts))
        if len(texts) < most and waiting:
            ids = waiting.pop(0)
            rows.add(language.read([ids]), room=10)
            texts.append(ids)
            if len(waiting) % 3:
                continue  # more than one is begun at a time
        tokens = torch.tensor([(31 * step + 7 * row) % 250 + 3 for row in range(len(texts))])
        logits = language.feed(rows, tokens)
        texts = [(*ids, int(token)) for ids, token in zip(texts, tokens, strict=True)]
        for row, ids in enumerate(texts):
            torch.testing.assert_close(logits[row], plain(language, ids), atol=1e-4, rtol=1e-4)
            assert rows.ids[row, : len(ids)].tolist() == list(ids)
            assert set(rows.ids[row, len(ids) :].tolist()) <= {ids[0]}
        ended = [row for row, ids in enumerate(texts) if len(ids) % 5 == 0]
        order = without(len(texts), ended)
        rows.keep(order)
        texts = [texts[row] for row in order]
        assert len(rows) == len(texts)
    assert step > 10
    assert widest >= min(most, 6)


def test_prompts_read_together_after_what_they_share_are_read_as_alone(language):
    shared = drawn(6, 9)
    prompts = [shared + drawn(length, length) for length in (1, 9, 4, 30)]
    for ids, read in zip(prompts, language.read(prompts, shared), strict=True):
        assert read.ids == ids
        torch.testing.assert_close(read.logits, plain(language, ids), atol=1e-4, rtol=1e-4)
        with torch.no_grad():
            cache = language.network(input_ids=torch.tensor([ids])).past_key_values
        for (keys, values), layer in zip(read.layers, cache.layers, strict=True):
            torch.testing.assert_close(keys, layer.keys[0, :, 6:], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(values, layer.values[0, :, 6:], atol=1e-4, rtol=1e-4)
        rows = Rows()
        rows.add([read], room=1)
        logits = language.feed(rows, torch.tensor([5]))
        torch.testing.assert_close(logits[0], plain(language, (*ids, 5)), atol=1e-4, rtol=1e-4)


def test_a_prompt_is_read_once_while_there_is_room_and_the_oldest_goes_first():
    language = Language(tiny_llama(), byte_tokenizer(), cache_mb=1)
    counted = []
    language.network.register_forward_pre_hook(lambda *_: counted.append(1))
    one = language.read([drawn(20, 0)])[0]
    assert language.read([drawn(20, 0), drawn(20, 0)]) == [one, one]
    assert len(counted) == 1
    room = (1 << 20) // one.num_bytes
    for seed in range(1, room):
        language.read([drawn(20, seed)])
    language.read([drawn(20, 0)])  # asked for again, so another goes first
    language.read([drawn(20, room)])
    before = len(counted)
    language.read([drawn(20, 0)])
    assert len(counted) == before
    language.read([drawn(20, 1)])
    assert len(counted) == before + 1


def test_without_a_cache_every_prompt_is_read_again():
    language = Language(tiny_llama(), byte_tokenizer(), cache_mb=0)
    assert language.read([drawn(5, 0)])[0] is not language.read([drawn(5, 0)])[0]


@pytest.mark.parametrize(
    ("ended", "order"),
    [([], [0, 1, 2, 3]), ([0], [3, 1, 2]), ([3], [0, 1, 2]), ([0, 1], [2, 3]), ([1, 3], [0, 2])],
)
def test_the_last_rows_move_into_the_gaps(ended, order):
    assert sorted(without(4, ended)) == sorted(order)
    assert len(without(4, ended)) == len(order)
    moved = [(place, row) for place, row in enumerate(without(4, ended)) if place != row]
    assert all(row >= len(order) for _, row in moved)  # nothing is overwritten that is still needed


def test_end_tokens_are_those_of_the_model_and_of_the_tokenizer():
    network = tiny_llama()
    network.generation_config.eos_token_id = [7, 9]
    assert Language(network, byte_tokenizer()).end_ids == (2, 7, 9)


def test_a_model_without_an_end_token_is_refused():
    network = tiny_llama(eos_token_id=None)
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(SettingError, match="names no end token"):
        Language(network, tokenizer)


def test_a_model_whose_texts_cannot_grow_side_by_side_is_refused():
    config = transformers.MambaConfig(hidden_size=16, num_hidden_layers=1, **SIZES)
    with pytest.raises(SettingError, match="mamba cannot write texts of different lengths"):
        Language(transformers.MambaForCausalLM(config), byte_tokenizer())


def test_weights_that_are_no_numbers_are_refused():
    network = tiny_llama()
    with torch.no_grad():
        network.model.norm.weight[0] = float("nan")
    with pytest.raises(SettingError, match="scores differ"):
        Language(network, byte_tokenizer())


def test_a_folder_is_loaded_in_the_number_format_asked_for(model):
    assert next(load_language(model).network.parameters()).dtype is torch.float32
    half = load_language(model, "bfloat16")
    assert next(half.network.parameters()).dtype is torch.bfloat16
    assert half.read([drawn(4, 0)])[0].logits.dtype is torch.float32
    assert load_language(model, "bfloat16") is half


def test_a_folder_that_holds_no_model_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"cannot be loaded.*expected a folder"):
        load_language(str(tmp_path))
    with pytest.raises(SettingError, match="`package:` is known to strategy-rl's commands alone"):
        load_language("package:smollm2-135m-instruct")


def test_a_folder_that_lacks_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_model(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(SettingError, match=r"lacks 1 of its weights.*up_proj"):
        load_language(folder)


def test_code_that_a_folder_brings_is_not_run(tmp_path):
    folder, trace = save_model(tmp_path / "m"), tmp_path / "trace"
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    (tmp_path / "m" / "own.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    with pytest.raises(SettingError, match="cannot be loaded"):
        load_language(folder)
    assert not trace.exists()


def test_a_fingerprint_is_of_the_files_contents(tmp_path):
    for name, content in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text(content)
    one, same, other = (fingerprint(str(tmp_path / name)) for name in "abc")
    assert one == same != other
    with pytest.raises(SettingError, match="expected a folder"):
        fingerprint(str(tmp_path / "none"))


# Prompts.


def text_of(tokenizer, ids):
    return tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)


def test_the_models_own_template_is_used_where_there_is_one():
    tokenizer = byte_tokenizer(CHAT)
    expected = "<s>system: be brief.\nuser: Hi!\nassistant: "
    for template in ("auto", "chat"):
        ids = Reader(tokenizer, template).prompt("Hi!")
        assert text_of(tokenizer, ids) == expected
        assert ids[0] == 1  # the control token itself
    assert text_of(tokenizer, Reader(tokenizer, "plain").prompt("Hi!")) == "Hi!"
    assert text_of(byte_tokenizer(), Reader(byte_tokenizer()).prompt("Hi!")) == "Hi!"


def test_control_tokens_inside_a_prompt_stay_text():
    for template, chat in (("plain", None), ("auto", CHAT)):
        tokenizer = byte_tokenizer(chat)
        ids = Reader(tokenizer, template).prompt("a</s>b<s>")
        assert 2 not in ids
        assert ids.count(1) == (1 if chat else 0)
        assert "a</s>b<s>" in text_of(tokenizer, ids)


def test_control_tokens_are_taken_out_where_a_tokenizer_must_read_a_prompt_whole(monkeypatch):
    tokenizer = byte_tokenizer(CHAT)
    monkeypatch.setattr(Reader, "_parts_suffice", lambda self: False)
    ids = Reader(tokenizer).prompt("a</<s>s>b")
    assert 2 not in ids
    assert "user: ab\n" in text_of(tokenizer, ids)


def test_a_template_that_is_missing_or_unknown_is_refused():
    with pytest.raises(SettingError, match="the model has no chat template"):
        Reader(byte_tokenizer(), "chat")
    with pytest.raises(SettingError, match="template: got 'chats'; did you mean 'chat'"):
        Reader(byte_tokenizer(), "chats")
    refusing = byte_tokenizer("{{ raise_exception('system first') }}")
    with pytest.raises(SettingError, match="refuses a single user turn: system first"):
        Reader(refusing)


def test_an_empty_prompt_is_the_begin_token():
    assert Reader(byte_tokenizer()).prompt("") == (1,)
    nameless = byte_tokenizer()
    nameless.bos_token = nameless.eos_token = None
    with pytest.raises(SettingError, match="a prompt is empty"):
        Reader(nameless).prompt("")


def test_a_lone_surrogate_in_a_prompt_becomes_a_question_mark():
    tokenizer = byte_tokenizer()
    assert text_of(tokenizer, Reader(tokenizer).prompt("a\ud800b")) == "a?b"
