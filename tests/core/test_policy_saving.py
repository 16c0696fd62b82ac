"""A policy that is saved and loaded decides the same; a folder that is not one is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from gymnasium import spaces
from toys import numbers_policy, policy_of, question, selection_policy, stir

from strategy_rl.backbone import Backbone, load_backbone
from strategy_rl.errors import InputError, ModelError
from strategy_rl.policy import Policy
from strategy_rl_envs.kit.text import UnicodeText

TEXT = UnicodeText(32)
MIXED = spaces.Dict(
    {
        "kind": spaces.Discrete(3),
        "text": TEXT,
        "turns": spaces.Sequence(TEXT),
        "values": spaces.Box(-1, 1, (2,), np.float32),
    }
)
BOX = spaces.Box(np.array([-1, 0], np.float32), np.array([1, 5], np.float32))
NUMBERS = [np.array(x, np.float32) for x in ((0.1, -0.4), (2.0, 0.3), (-1.0, -1.0))]
TEXTS = [
    {"text": "hello"},
    {"text": "good bye", "turns": ("one", "two", "three"), "kind": 2, "values": [0.5, -0.5]},
]
QUESTIONS = [
    question("red", "blue", context=("is it red ?",)),
    question("green", "a text", "\u4f60\u597d", context=(), state=0.1),
]


def made(kind):
    """A stirred policy, and observations to decide on."""
    if kind == "categorical":
        return stir(numbers_policy(inputs=2, actions=4)), NUMBERS
    if kind == "multi":
        return stir(policy_of(spaces.Box(-9, 9, (2,)), spaces.MultiDiscrete([2, 3]))), NUMBERS
    if kind == "box":
        return stir(policy_of(spaces.Box(-9, 9, (2,)), BOX)), NUMBERS
    if kind == "texts":
        return stir(policy_of(MIXED, spaces.Discrete(3), train="frozen")), TEXTS
    if kind == "no special":
        observations = [{**obs, "action_mask": obs["action_mask"][:-1]} for obs in QUESTIONS]
        return stir(selection_policy(num_special=0)), observations
    if kind == "no pairs":
        return stir(selection_policy(pair_features=False)), QUESTIONS
    return stir(selection_policy(train=kind), 0.05), QUESTIONS


KINDS = ("categorical", "multi", "box", "texts", "no special", "no pairs",
         "frozen", "lora", "last_n", "full")  # fmt: skip


def decisions(policy, observations):
    greedy = [policy.act(obs, greedy=True) for obs in observations]
    drawn = [policy.act(obs, rng=np.random.default_rng(7)) for obs in observations]
    return greedy + drawn


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_policy_decides_as_the_saved_one(kind, tmp_path):
    policy, observations = made(kind)
    policy.save_pretrained(tmp_path / "policy")
    again = Policy.from_pretrained(tmp_path / "policy")
    assert again.spec == policy.spec
    for one, two in zip(decisions(policy, observations), decisions(again, observations),
                        strict=True):  # fmt: skip
        assert one.action == pytest.approx(two.action, abs=1e-6)
        assert one.probability == pytest.approx(two.probability, rel=1e-4)
        assert one.probabilities == pytest.approx(two.probabilities, abs=1e-6)
        assert one.value == pytest.approx(two.value, abs=1e-5)


@pytest.mark.parametrize("kind", ["categorical", "frozen", "last_n"])
def test_the_test_above_would_see_weights_that_were_not_saved(kind):
    policy, observations = made(kind)
    before = [d.value for d in decisions(policy, observations)]
    stir(policy, 0.05, seed=1)
    after = [d.value for d in decisions(policy, observations)]
    assert before != pytest.approx(after, abs=1e-4)


def test_the_task_of_a_policy_is_written_as_data_and_loading_does_not_heed_it(tmp_path):
    policy, _ = made("categorical")
    task = {"id": "my/Task-v0", "settings": {"model": "there", "knobs": {"temperature": [0, 1]}}}
    policy.save_pretrained(tmp_path / "policy", task=task)
    assert json.loads((tmp_path / "policy/config.json").read_text())["task"] == task
    assert Policy.from_pretrained(tmp_path / "policy").spec == policy.spec


def test_a_policy_with_its_backbone_inside_needs_nothing_else(tmp_path):
    policy, observations = made("frozen")
    policy.save_pretrained(tmp_path / "policy", include_backbone=True)
    config = json.loads((tmp_path / "policy/config.json").read_text())
    config["backbone"]["model"] = "no/such-model"
    (tmp_path / "policy/config.json").write_text(json.dumps(config))
    again = Policy.from_pretrained(tmp_path / "policy")
    values = [policy.act(obs).value for obs in observations]
    assert [again.act(obs).value for obs in observations] == pytest.approx(values, abs=1e-5)


def test_a_loaded_policy_keeps_its_texts_in_the_cache_that_it_is_given(tmp_path, monkeypatch):
    policy, observations = made("frozen")
    policy.save_pretrained(tmp_path / "policy")

    def value():
        again = Policy.from_pretrained(tmp_path / "policy", cache_dir=tmp_path / "cache")
        return again.act(observations[0], greedy=True).value

    first = value()
    monkeypatch.setattr(Backbone, "encode_block", None)
    assert value() == first
    learning, _ = made("last_n")  # nothing of it stays
    learning.save_pretrained(tmp_path / "learning")
    Policy.from_pretrained(tmp_path / "learning", "cpu", cache_dir=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_folder_holds_weights_as_safetensors_and_no_pickle(tmp_path):
    policy, _ = made("full")
    policy.save_pretrained(tmp_path / "policy", card="# Mine\n")
    names = {path.name for path in (tmp_path / "policy").iterdir()}
    assert names == {"config.json", "model.safetensors", "README.md", "tokenizer"}
    assert (tmp_path / "policy/README.md").read_text() == "# Mine\n"


# Acting on what a user types in.


def test_an_observation_built_by_hand_needs_only_its_texts():
    policy, _ = made("frozen")
    full = {**question("red", "blue", context=("is it red ?",), state=0.0)}
    by_hand = {"context": ["is it red ?"], "candidates": ["red", "blue"]}
    assert policy.act(by_hand, greedy=True) == policy.act(full, greedy=True)
    assert policy.act({**by_hand, "state": 0.5}, greedy=True).value != policy.act(by_hand).value
    policy, _ = made("texts")
    assert policy.act({"text": "hello"}).value == policy.act(
        {"text": "hello", "turns": (), "kind": 0, "values": np.zeros(2)}
    ).value  # fmt: skip


def test_a_decision_says_how_probable_each_action_was():
    policy, observations = made("frozen")
    decision = policy.act(observations[0], greedy=True)
    assert len(decision.probabilities) == 5  # four candidates at most, and handing over
    assert sum(decision.probabilities) == pytest.approx(1.0, abs=1e-5)
    assert decision.probabilities[2:4] == [0.0, 0.0]  # there is no such candidate
    assert decision.probability == pytest.approx(decision.probabilities[decision.action])
    assert decision.action == np.argmax(decision.probabilities)


def test_a_mask_given_by_hand_goes_before_that_of_the_observation():
    policy, observations = made("frozen")
    decision = policy.act(observations[0], action_mask=[0, 0, 0, 0, 1])
    assert (decision.action, decision.probability) == (4, 1.0)
    policy = numbers_policy(inputs=2, actions=4)
    assert policy.act(NUMBERS[0], action_mask=[0, 0, 1, 0]).action == 2


def test_sampling_follows_the_generator_and_the_probabilities():
    policy = stir(numbers_policy(inputs=2, actions=4))
    rng = np.random.default_rng(0)
    counts = np.bincount([policy.act(NUMBERS[0], rng=rng).action for _ in range(600)], minlength=4)
    expected = policy.act(NUMBERS[0]).probabilities
    assert counts / 600 == pytest.approx(expected, abs=0.07)
    first, second = (policy.act(NUMBERS[0], rng=np.random.default_rng(3)) for _ in range(2))
    assert first == second


def test_an_action_of_a_box_is_a_list_of_numbers_inside_it():
    policy, _ = made("box")
    decision = policy.act(NUMBERS[0])
    assert decision.probabilities == []
    assert decision.probability > 0
    assert len(decision.action) == 2
    assert BOX.contains(np.array(decision.action, np.float32))


# Folders that are none.


@pytest.fixture
def saved(tmp_path):
    policy, _ = made("frozen")
    policy.save_pretrained(tmp_path / "policy")
    return tmp_path / "policy"


def edit(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


def widen(config):
    config["spec"]["sizes"]["projection_size"] = 9


FAULTS = {
    "no folder": (shutil.rmtree, "holds no config.json"),
    "no config": (lambda f: (f / "config.json").unlink(), "holds no config.json"),
    "no json": (lambda f: (f / "config.json").write_text("{"), "damaged"),
    "another json": (lambda f: (f / "config.json").write_text('{"a": 1}'), "damaged.*format"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "damaged"),
    "another format": (lambda f: edit(f, lambda c: c.update(format=99)), "format 99"),
    "no spec": (lambda f: edit(f, lambda c: c.pop("spec")), "damaged.*spec"),
    "an unknown field": (lambda f: edit(f, lambda c: c["spec"]["sizes"].update(x=1)), "damaged"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "damaged"),
    "cut weights": (lambda f: cut(f / "model.safetensors"), "damaged"),
    "weights of another shape": (lambda f: edit(f, widen), "does not fit"),
    "another backbone": (
        lambda f: edit(f, lambda c: c["backbone"].update(digest="0" * 64)),
        "not the one it was trained with",
    ),
    "a missing backbone": (
        lambda f: edit(f, lambda c: c["backbone"].update(model="/no/such/folder")),
        "no such folder",
    ),
    "backbone settings of another version": (
        lambda f: edit(f, lambda c: c["backbone"]["settings"].pop("lora")),
        "damaged",
    ),
    "an unknown backbone setting": (
        lambda f: edit(f, lambda c: c["backbone"]["settings"].update(x=1)),
        "damaged",
    ),
}


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_or_foreign_folder_is_refused(saved, fault):
    damage, message = FAULTS[fault]
    damage(saved)
    with pytest.raises(ModelError, match=message):
        Policy.from_pretrained(saved)


def test_a_backbone_alone_is_no_policy(tmp_path):
    load_backbone("random:tiny").save_full(tmp_path / "model")
    with pytest.raises(ModelError, match="damaged"):
        Policy.from_pretrained(tmp_path / "model")


def test_texts_of_a_policy_without_a_backbone_are_refused_as_input():
    with pytest.raises(InputError, match="observations hold texts"):
        policy_of(MIXED, spaces.Discrete(3))


def test_a_state_put_back_decides_as_before():
    policy, observations = made("lora")
    before, state = decisions(policy, observations), policy.state()
    stir(policy, 0.1, seed=2)
    assert decisions(policy, observations) != before
    policy.load_state(state)
    assert decisions(policy, observations) == before
    with pytest.raises(RuntimeError, match="Missing key"):
        policy.load_state({})
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
