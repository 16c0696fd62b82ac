"""The language model says the same whichever way its tokens are read, and learns what it should."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast

from strategy_rl.backbone import (
    BackboneSettings,
    LanguageModel,
    LoraSettings,
    Row,
    load_language_model,
)
from strategy_rl.errors import ModelError
from tests.generation.networks import (
    DECODERS,
    LETTERS,
    NETWORKS,
    SIZE,
    bart,
    network_of,
    stirred,
    t5,
    writer,
)
from tests.generation.writers import END, letters_tokenizer, llama

PROMPTS = [[2, 3, 4, 5, 6, 7, 8, 9, 10], [5, 6, 2], [9, 9, 9, 2, 4, 6], [11]]
TEXTS = [[3, 4, 5, 6, 7, 8, 9, 2], [2, 3, 4, 5, 6, 6], [8, 7], [12, 12, 12, 13, 14, 15, 16, END]]
ROWS = [Row(prompt, text) for prompt, text in zip(PROMPTS, TEXTS, strict=True)]
LAST = BackboneSettings(train="last_n", last_n=1)
TOP_LORA = BackboneSettings(train="lora", lora=LoraSettings(rank=2, last_n=1))
EVERYWHERE = list(NETWORKS)
WITHOUT_T5 = [kind for kind in EVERYWHERE if kind != "t5"]


def written(model: LanguageModel, rows: Sequence[Row]) -> list[Row]:
    """The rows as they come about: token by token, those that end leave; with states as `trunk`."""
    decoding = model.begin([row.prompt for row in rows])
    alive = list(range(len(rows)))
    states: list[list[Tensor]] = [[] for _ in rows]
    trunks: list[list[Tensor]] = [[] for _ in rows]
    encoded: list[Tensor | None] = [None] * len(rows)
    if decoding.encoded is not None:
        encoded = [part[mask] for part, mask in zip(*decoding.encoded, strict=True)]
    step = 0
    while True:
        for place, number in enumerate(alive):
            states[number].append(decoding.hidden[place])
            if decoding.trunk is not None:
                trunks[number].append(decoding.trunk[place][decoding.fed[place]])
        going = [i for i, n in enumerate(alive) if step + 1 < len(rows[n].response)]
        if not going:
            break
        if len(going) < len(alive):
            decoding.keep(torch.tensor(going))
        alive = [alive[i] for i in going]
        model.advance(decoding, torch.tensor([rows[n].response[step] for n in alive]))
        step += 1
    written.states = torch.cat([torch.stack(part) for part in states])  # type: ignore[attr-defined]
    return [
        Row(row.prompt, row.response, torch.cat(trunk) if trunk else None, code)
        for row, trunk, code in zip(rows, trunks, encoded, strict=True)
    ]


def one_by_one(model: LanguageModel, rows: Sequence[Row]) -> Tensor:
    """States (N, H) of rows that are written token by token."""
    written(model, rows)
    states: Tensor = written.states  # type: ignore[attr-defined]
    return states


def gradients(model: LanguageModel, rows: Sequence[Row]) -> dict[str, Tensor]:
    """Of a sum over the states in which no two count alike, by the names of what learns."""
    model.network.zero_grad()
    states = model.states(rows)
    weights = torch.linspace(-1, 1, states.numel()).reshape(states.shape)
    (states * weights).sum().backward()  # type: ignore[no-untyped-call]
    return {n: p.grad.clone() for n, p in model.trainable().items() if p.grad is not None}


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor], to: float = 1e-4) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], rtol=to, atol=to), name


def changed_adapters(model: LanguageModel) -> LanguageModel:
    """Fresh adapters change nothing, which would hide whether they are there."""
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.trainable().items():
            if "lora_B" in name:
                parameter += 0.3 * torch.randn(parameter.shape, generator=draw)
    return model


# Reading and writing.


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_tokens_written_one_by_one_have_the_states_of_tokens_read_at_once(kind: str) -> None:
    model = writer(network_of(kind))

    at_once = model.states(ROWS)

    assert at_once.shape == (sum(map(len, TEXTS)), 32)
    assert torch.allclose(one_by_one(model, ROWS), at_once, atol=1e-4)


@pytest.mark.parametrize("kind", EVERYWHERE)
@pytest.mark.parametrize("pads", [0, 1, 7])
def test_padding_on_the_left_changes_nothing(kind: str, pads: int) -> None:
    model, row = writer(network_of(kind)), ROWS[1]
    longer = Row([*row.prompt, *[17] * pads], row.response)

    beside = one_by_one(model, [row, longer])[: len(row.response)]

    assert torch.allclose(beside, one_by_one(model, [row]), atol=1e-4)
    assert torch.allclose(model.states([longer, row])[-len(row.response) :], beside, atol=1e-4)


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_rows_that_leave_change_nothing_for_those_that_go_on(kind: str) -> None:
    model = writer(network_of(kind))

    together = one_by_one(model, ROWS)

    apart = torch.cat([one_by_one(model, [row]) for row in ROWS])
    assert torch.allclose(together, apart, atol=1e-4)


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_a_head_over_the_states_gives_the_scores_of_the_network(kind: str) -> None:
    model, row = writer(network_of(kind)), ROWS[0]

    scores = model.states([row]) * model.head_scale @ model.head_weight.T
    if model.head_bias is not None:
        scores = scores + model.head_bias

    assert torch.allclose(scores, model.scores(row), atol=1e-3)


def test_an_untied_t5_does_not_scale_its_states() -> None:
    model = writer(stirred(t5(tie_word_embeddings=False)))

    assert model.head_scale == 1
    scores = model.states([ROWS[0]]) @ model.head_weight.T
    assert torch.allclose(scores, model.scores(ROWS[0]), atol=1e-3)


# What the frozen part keeps.


@pytest.mark.parametrize("settings", [LAST, TOP_LORA], ids=["last_n", "lora"])
@pytest.mark.parametrize("kind", list(DECODERS))
def test_what_frozen_blocks_keep_gives_the_same_states_and_gradients(
    kind: str, settings: BackboneSettings
) -> None:
    model = changed_adapters(writer(network_of(kind), settings))
    assert model.reuses_trunk

    kept = written(model, ROWS)

    assert all(row.trunk is not None for row in kept)
    assert torch.allclose(model.states(kept), model.states(ROWS), atol=1e-4)
    assert_close(gradients(model, kept), gradients(model, ROWS))


@pytest.mark.parametrize("kind", list(DECODERS))
def test_what_frozen_blocks_keep_is_used_and_not_made_again(kind: str) -> None:
    model = writer(network_of(kind), LAST)
    row = written(model, ROWS[:1])[0]
    assert row.trunk is not None

    other = model.states([Row(row.prompt, row.response, trunk=row.trunk.flip(-1))])

    assert not torch.allclose(other, model.states(ROWS[:1]), atol=1e-2)


def test_bart_keeps_the_trunk_and_what_its_encoder_said() -> None:
    model = writer(network_of("bart"), LAST)
    assert model.reuses_trunk
    assert not model.encoder_learns

    kept = written(model, ROWS)

    assert torch.allclose(model.states(kept), model.states(ROWS), atol=1e-4)
    assert_close(gradients(model, kept), gradients(model, ROWS))
    said, row = kept[1].encoded, kept[1]
    assert said is not None
    assert said.shape == (len(row.prompt), 32)
    other = model.states([Row(row.prompt, row.response, row.trunk, said.flip(-1))])
    assert not torch.allclose(other, model.states([row]), atol=1e-2)


def test_t5_runs_all_its_blocks_for_its_places_come_from_the_first() -> None:
    model = writer(network_of("t5"), LAST)

    assert not model.reuses_trunk
    assert all(row.trunk is None for row in written(model, ROWS))
    assert torch.allclose(one_by_one(model, ROWS), model.states(ROWS), atol=1e-4)
    assert {n.split(".")[:3][-1] for n in gradients(model, ROWS)} == {"2"}
    assert not model.network.get_decoder().block[2]._forward_pre_hooks  # type: ignore[operator]


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_nothing_is_kept_where_all_weights_learn(kind: str) -> None:
    model = writer(network_of(kind))

    assert not model.reuses_trunk
    assert all(row.trunk is None for row in written(model, ROWS))


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_an_encoder_that_learns_reads_again_and_has_its_gradient(kind: str) -> None:
    model = writer(network_of(kind))
    assert model.encoder_learns

    stale = [Row(r.prompt, r.response, encoded=torch.zeros(len(r.prompt), 32)) for r in ROWS]

    assert torch.equal(model.states(stale), model.states(ROWS))
    assert any("encoder" in name for name in gradients(model, stale))


@pytest.mark.parametrize("kind", WITHOUT_T5)
def test_the_trunk_of_a_text_by_somebody_else_is_that_of_one_written_here(kind: str) -> None:
    model = writer(network_of(kind), LAST)

    for row, kept in zip(ROWS, written(model, ROWS), strict=True):
        trunk, encoded = model.trunk_of(row)
        assert trunk is not None
        assert kept.trunk is not None
        assert torch.allclose(trunk, kept.trunk, atol=1e-4)
        assert (encoded is None) == (kept.encoded is None)
        if encoded is not None and kept.encoded is not None:
            assert torch.allclose(encoded, kept.encoded, atol=1e-4)


# What learns.


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_exactly_the_weights_that_the_settings_name_learn(kind: str) -> None:
    full = writer(network_of(kind))
    assert len(full.trainable()) == len(list(full.network.parameters()))

    last = writer(network_of(kind), LAST)
    block = {f"{LAST_BLOCK[kind]}.{n}" for n, _ in _module(last, LAST_BLOCK[kind])}
    assert set(last.trainable()) == block

    lora = writer(network_of(kind), TOP_LORA)
    assert all("lora_" in name for name in lora.trainable())
    assert lora.trainable()
    assert all(name.startswith(LAST_BLOCK[kind]) for name in lora.trainable())

    grads = gradients(last, ROWS)
    assert set(grads) == block
    assert all(p.grad is None for n, p in last.network.named_parameters() if n not in block)


LAST_BLOCK = {
    "llama": "model.layers.2",
    "qwen2": "model.layers.2",
    "qwen2-windows": "model.layers.2",
    "gpt2": "transformer.h.1",
    "opt": "model.decoder.layers.2",
    "gpt-neox": "gpt_neox.layers.2",
    "t5": "decoder.block.2",
    "bart": "model.decoder.layers.2",
}


def _module(model: LanguageModel, name: str) -> Any:
    return model.network.get_submodule(name).named_parameters()


def test_adapters_on_the_last_blocks_of_the_decoder_leave_the_encoder_alone() -> None:
    model = changed_adapters(writer(stirred(bart(encoder_layers=3)), TOP_LORA))

    assert all(name.startswith("model.decoder.layers.2.") for name in model.trainable())
    assert not model.encoder_learns
    assert model.reuses_trunk
    kept = written(model, ROWS)
    assert torch.allclose(model.states(kept), model.states(ROWS), atol=1e-4)
    assert_close(gradients(model, kept), gradients(model, ROWS))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_frozen_weights_are_bfloat16_and_what_learns_is_float32(kind: str) -> None:
    last = writer(network_of(kind), LAST, half=True)
    assert {p.dtype for p in last.trainable_parameters()} == {torch.float32}
    embedding: Any = last.network.get_input_embeddings()  # type: ignore[operator]
    assert embedding.weight.dtype is torch.bfloat16
    assert last.is_half
    assert last.is_exact

    kept = written(last, ROWS)

    assert kept[0].trunk is not None
    assert kept[0].trunk.dtype is torch.bfloat16
    assert torch.allclose(one_by_one(last, ROWS), last.states(kept), atol=1e-4)
    assert all(grad.dtype is torch.float32 for grad in gradients(last, kept).values())


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_adapters_learn_in_float32_on_weights_in_bfloat16(kind: str) -> None:
    settings = BackboneSettings(train="lora", lora=LoraSettings(rank=2))
    model = writer(network_of(kind), settings, half=True)
    exact = writer(network_of(kind), settings)

    assert {p.dtype for p in model.trainable_parameters()} == {torch.float32}
    frozen = {p.dtype for p in model.network.parameters() if not p.requires_grad}
    assert frozen == {torch.bfloat16}
    assert model.is_half
    assert not model.is_exact
    assert model.states(ROWS).dtype is torch.float32
    off = (model.states(ROWS) - exact.states(ROWS)).abs().max() / exact.states(ROWS).abs().max()
    assert 0 < off < 0.1
    assert all(grad.isfinite().all() for grad in gradients(model, ROWS).values())


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5", "bart"])
def test_all_weights_in_float32_are_run_in_bfloat16_by_autocast(kind: str) -> None:
    model, exact = writer(network_of(kind), half=True), writer(network_of(kind))

    assert {p.dtype for p in model.network.parameters()} == {torch.float32}
    assert model.is_half
    assert not model.is_exact
    off = (model.states(ROWS) - exact.states(ROWS)).abs().max() / exact.states(ROWS).abs().max()
    assert 0 < off < 0.1
    assert all(grad.dtype is torch.float32 for grad in gradients(model, ROWS).values())


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_there_is_no_dropout_in_training_mode_either(kind: str) -> None:
    network = network_of(kind)
    model = writer(network)
    calm = model.states(ROWS)

    model.train()
    assert torch.equal(model.states(ROWS), calm)

    network.train()  # whoever else calls it
    assert torch.equal(model.states(ROWS), calm)


def test_dropout_of_adapters_acts_in_training_mode_alone() -> None:
    settings = BackboneSettings(train="lora", lora=LoraSettings(rank=2, dropout=0.5))
    model = changed_adapters(writer(network_of("llama"), settings))
    calm = model.states(ROWS)

    assert torch.equal(model.states(ROWS), calm)
    model.train()
    assert not torch.equal(model.states(ROWS), calm)
    model.eval()
    assert torch.equal(model.states(ROWS), calm)


# What is refused, and what ends a text.


@pytest.mark.parametrize("kind", EVERYWHERE)
@pytest.mark.parametrize("change", [lambda x: x / 1.1, lambda x: torch.tanh(x) * 2])
def test_scores_that_are_no_linear_head_are_refused(
    kind: str, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = NETWORKS[kind]()  # fresh: its scores are small, and so is what they are off by
    forward = type(network).forward

    def changed(*args: Any, **kwargs: Any) -> Any:
        output = forward(network, *args, **kwargs)
        output.logits = change(output.logits)
        return output

    monkeypatch.setattr(network, "forward", changed)
    with pytest.raises(ModelError, match="linear head"):
        writer(network)


def test_adapters_on_the_layer_of_the_scores_are_refused() -> None:
    lora = LoraSettings(rank=2, target_modules=("q_proj", "lm_head"))

    with pytest.raises(ModelError, match="layer of the scores"):
        writer(llama(SIZE, tie_word_embeddings=False), BackboneSettings(train="lora", lora=lora))


def test_a_padding_token_that_is_the_end_token_changes_nothing() -> None:
    network, settings = network_of("llama"), BackboneSettings(train="full")
    tokenizer = letters_tokenizer(LETTERS)
    usual = LanguageModel(network, tokenizer, settings).states(ROWS)
    tokenizer.pad_token = tokenizer.eos_token

    model = LanguageModel(network, tokenizer, settings)

    assert model.end_ids == (END,)
    assert torch.equal(model.states(ROWS), usual)
    assert torch.allclose(one_by_one(model, ROWS), usual, atol=1e-4)


def test_the_model_may_name_more_tokens_that_end_a_text() -> None:
    network = llama(SIZE)
    network.generation_config = GenerationConfig(eos_token_id=[7, END, 9])

    assert writer(network).end_ids == (END, 7, 9)


def test_a_tokenizer_without_an_end_token_is_refused() -> None:
    network = llama(SIZE)
    network.generation_config = GenerationConfig()
    tokenizer = letters_tokenizer(LETTERS)
    tokenizer.eos_token = None

    with pytest.raises(ModelError, match="no end token"):
        LanguageModel(network, tokenizer, BackboneSettings(train="full"))


def test_an_encoder_decoder_without_a_start_token_is_refused() -> None:
    with pytest.raises(ModelError, match="decoder_start_token_id"):
        writer(t5(decoder_start_token_id=None))


# Loading.


def test_random_tiny_writes() -> None:
    model = load_language_model("random:tiny", BackboneSettings(train="last_n", dtype="float32"))

    rows = [Row(model.tokenizer("hello")["input_ids"], [70, 71, 72])]

    assert model.reuses_trunk
    assert torch.allclose(one_by_one(model, rows), model.states(rows), atol=1e-4)


def test_random_tiny_is_halved_where_that_is_asked_for() -> None:
    model = load_language_model("random:tiny", BackboneSettings(train="last_n", dtype="bfloat16"))

    assert model.is_half
    assert model.is_exact
    assert {p.dtype for p in model.trainable_parameters()} == {torch.float32}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Llama with its tokenizer in a Hugging Face folder."""
    network = stirred(llama(SIZE, tie_word_embeddings=False))
    network.generation_config = GenerationConfig(eos_token_id=[END, 7])
    network.save_pretrained(tmp_path / "model")
    letters_tokenizer(LETTERS).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def load(folder: Path, train: str = "last_n", **options: Any) -> LanguageModel:
    settings = BackboneSettings(train=train, last_n=1, dtype="float32")  # type: ignore[arg-type]
    return load_language_model(folder, settings, **options)


def test_a_folder_is_loaded_as_it_was_saved(folder: Path) -> None:
    model = load(folder)

    ours = writer(stirred(llama(SIZE, tie_word_embeddings=False)), LAST)
    assert torch.equal(model.states(ROWS), ours.states(ROWS))
    assert model.end_ids == (END, 7)


@pytest.mark.parametrize("kind", EVERYWHERE)
def test_a_model_written_in_full_is_the_same_model(kind: str, tmp_path: Path) -> None:
    model = writer(network_of(kind), LAST)
    model.network.generation_config.eos_token_id = [END, 7]  # type: ignore[union-attr]

    model.save_full(tmp_path)

    loaded = load(tmp_path)
    assert torch.equal(loaded.states(ROWS), model.states(ROWS))
    assert loaded.end_ids == (END, 7)


@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj.weight", "lm_head.weight"])
def test_a_folder_that_lacks_weights_is_refused(folder: Path, name: str) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelError, match=f"missing.*{name}"):
        load(folder)


def test_a_folder_without_a_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()

    with pytest.raises(ModelError, match="tokenizer"):
        load(folder)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(folder: Path) -> None:
    letters_tokenizer(LETTERS + "uvw").save_pretrained(folder)

    with pytest.raises(ModelError, match="gives ids up to 24, the model knows 22"):
        load(folder)


def test_a_model_that_only_reads_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))

    with pytest.raises(ModelError, match="cannot be loaded"):
        load(folder)


@pytest.mark.parametrize("kind", EVERYWHERE)
@pytest.mark.parametrize("settings", [LAST, BackboneSettings(train="full")], ids=["last", "full"])
def test_checkpointing_keeps_less_and_gives_the_same_gradients(
    kind: str, settings: BackboneSettings, tmp_path: Path
) -> None:
    writer(network_of(kind)).save_full(tmp_path)
    plain, sparing = (load(tmp_path, settings.train, gradient_checkpointing=c) for c in (0, 1))

    kept = written(plain, ROWS)

    assert saved_numbers(sparing, kept) < 0.75 * saved_numbers(plain, kept)
    assert_close(gradients(sparing, kept), gradients(plain, kept), to=1e-5)
    assert_close(gradients(sparing, ROWS), gradients(plain, ROWS), to=1e-5)
    assert torch.equal(one_by_one(sparing, ROWS), one_by_one(plain, ROWS))


def saved_numbers(model: LanguageModel, rows: Sequence[Row]) -> int:
    """How many numbers the forward pass leaves for the backward pass, weights aside."""
    weights = {p.data_ptr() for p in model.network.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            saved[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        states = model.states(rows)
    assert states.requires_grad
    return sum(saved.values())


def test_the_tokenizer_of_these_tests_is_a_fast_one() -> None:
    assert isinstance(letters_tokenizer(LETTERS), PreTrainedTokenizerFast)
