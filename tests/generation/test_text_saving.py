"""A policy that writes as a folder: it comes back to the bit, or is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig

from strategy_rl.backbone import BackboneSettings, LoraSettings, load_language_model
from strategy_rl.errors import ModelError
from strategy_rl.generation import TextPolicy, TextPolicySpec
from strategy_rl.generation.prompts import PromptFormat
from strategy_rl.generation.sampling import Sampling
from strategy_rl.generation.saving import load_policy
from strategy_rl.policy import BackboneSource, Policy
from tests.core.toys import selection_policy
from tests.generation.networks import LETTERS, SIZE, bart, stirred, t5
from tests.generation.writers import END, gpt2, letters_tokenizer, llama

NETWORKS: dict[str, Callable[[], Any]] = {
    "llama": lambda: llama(SIZE),
    "gpt2": lambda: gpt2(SIZE),
    "t5": t5,
    "bart": bart,
}
SPEC = TextPolicySpec(
    prompt=PromptFormat("plain", max_tokens=20),
    sampling=Sampling(0.9, 5, 0.95),
    max_new_tokens=6,
    hidden_sizes=(8,),
    activation="relu",
    max_length=50,
    charset=LETTERS,
)


def policy_in(
    folder: Path, kind: str = "llama", train: str = "last_n", dtype: str = "float32"
) -> TextPolicy:
    """A trained policy on a model in a folder."""
    network = stirred(NETWORKS[kind]())
    network.generation_config = GenerationConfig(eos_token_id=[END, 7])
    network.save_pretrained(folder)
    letters_tokenizer(LETTERS).save_pretrained(folder)
    settings = BackboneSettings(
        train=train,  # type: ignore[arg-type]
        last_n=1,
        lora=LoraSettings(rank=2),
        dtype=dtype,  # type: ignore[arg-type]
    )
    model = load_language_model(folder, settings, seed=5)
    policy = TextPolicy(SPEC, model, BackboneSource(str(folder), None, settings))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=draw)
    return policy


def assert_same(ours: TextPolicy, theirs: TextPolicy) -> None:
    assert ours.spec == theirs.spec
    assert ours.source == theirs.source
    assert ours.model.end_ids == theirs.model.end_ids
    states = ours.state(), theirs.state()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    uniforms = np.random.default_rng(0).random((3, 6))
    for one, other in zip(
        *(p.generate(p.encode(["ab", "cde", "f"]), uniforms) for p in (ours, theirs)), strict=True
    ):
        assert one.response == other.response
        assert torch.equal(one.logprobs, other.logprobs)
        assert torch.equal(ours.values_of([one]), theirs.values_of([other]))


@pytest.mark.parametrize("include_backbone", [False, True])
@pytest.mark.parametrize("train", ["full", "last_n", "lora"])
@pytest.mark.parametrize("kind", list(NETWORKS))
def test_a_saved_policy_comes_back_to_the_bit(
    kind: str, train: str, include_backbone: bool, tmp_path: Path
) -> None:
    policy = policy_in(tmp_path / "model", kind, train)

    policy.save_pretrained(tmp_path / "saved", card="# Mine\n", include_backbone=include_backbone)

    if include_backbone:
        (tmp_path / "model").rename(tmp_path / "gone")
    loaded = TextPolicy.from_pretrained(tmp_path / "saved")
    assert_same(loaded, policy)
    assert (tmp_path / "saved" / "README.md").read_text() == "# Mine\n"


@pytest.mark.parametrize("train", ["full", "last_n", "lora"])
def test_a_policy_in_bfloat16_comes_back_to_the_bit(train: str, tmp_path: Path) -> None:
    policy = policy_in(tmp_path / "model", train=train, dtype="bfloat16")

    policy.save_pretrained(tmp_path / "saved", include_backbone=True)

    assert_same(TextPolicy.from_pretrained(tmp_path / "saved"), policy)


def test_weights_that_do_not_learn_are_left_out(tmp_path: Path) -> None:
    policy = policy_in(tmp_path / "model")

    policy.save_pretrained(tmp_path / "saved")

    names = set(load_file(tmp_path / "saved" / "model.safetensors"))
    assert {n for n in names if n.startswith("backbone.")} == {
        f"backbone.{n}" for n in policy.model.trainable()
    }
    assert not (tmp_path / "saved" / "backbone").exists()
    assert (tmp_path / "saved" / "tokenizer" / "tokenizer.json").exists()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    policy_in(tmp_path / "model").save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def change(file: Path, edit: Callable[[Any], Any]) -> None:
    config = json.loads(file.read_text())
    edit(config)
    file.write_text(json.dumps(config))


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "no config": lambda folder: (folder / "config.json").unlink(),
    "no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "no spec": lambda folder: change(folder / "config.json", lambda c: c.pop("spec")),
    "no prompt": lambda folder: change(folder / "config.json", lambda c: c["spec"].pop("prompt")),
    "a foreign field": lambda folder: change(
        folder / "config.json", lambda c: c["spec"].update(beams=4)
    ),
    "no digest": lambda folder: change(
        folder / "config.json", lambda c: c["backbone"].pop("digest")
    ),
    "no word on the backbone": lambda folder: change(
        folder / "config.json", lambda c: c["backbone"].pop("included")
    ),
    "a backbone that is none": lambda folder: change(
        folder / "config.json", lambda c: c.update(backbone=None)
    ),
    "another format": lambda folder: change(folder / "config.json", lambda c: c.update(format=9)),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "cut weights": lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()[:-100]
    ),
    "a missing tensor": lambda folder: without(folder, "network.layers.0.weight"),
    "a missing tensor of the model": lambda folder: without(folder, "backbone."),
    "another size": lambda folder: change(
        folder / "config.json", lambda c: c["spec"].update(hidden_sizes=[9])
    ),
}


def without(folder: Path, prefix: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors[next(name for name in tensors if name.startswith(prefix))]
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_a_damaged_folder_is_refused(damage: str, saved: Path) -> None:
    DAMAGES[damage](saved)

    with pytest.raises(ModelError, match=r"saved|do not fit"):
        TextPolicy.from_pretrained(saved)


def test_another_model_than_the_one_it_was_trained_with_is_refused(
    saved: Path, tmp_path: Path
) -> None:
    weights = load_file(tmp_path / "model" / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"] *= 2
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelError, match="not the one it was trained with"):
        TextPolicy.from_pretrained(saved)


def test_each_kind_of_policy_refuses_the_folder_of_the_other(saved: Path, tmp_path: Path) -> None:
    selection_policy().save_pretrained(tmp_path / "picks")

    with pytest.raises(ModelError, match="use `TextPolicy`"):
        Policy.from_pretrained(saved)
    with pytest.raises(ModelError, match="use `Policy`"):
        TextPolicy.from_pretrained(tmp_path / "picks")
    assert isinstance(load_policy(saved), TextPolicy)
    assert isinstance(load_policy(tmp_path / "picks"), Policy)
