from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from strategy_rl.config import load_experiment
from strategy_rl.config.yaml_reader import MAX_BYTES

Write = Callable[..., Path]
Refuse = Callable[..., list[str]]


def test_a_small_file_gets_all_defaults(write: Write) -> None:
    experiment = load_experiment(write("ppo: {learning_rate: 1e-5}"))
    assert experiment.ppo.learning_rate == 1e-5
    assert experiment.ppo.clip_range == 0.2
    assert experiment.policy.hidden_sizes == (64, 64)
    assert experiment.reward == ()


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: x\ntask: {id: T-v0}\n")
    assert load_experiment(path).name == "x"


def test_all_faults_of_a_file_are_told_at_once_with_their_places(
    write: Write, refuse: Refuse
) -> None:
    path = write(
        """\
ppo:
  gamma: 1.5
  learning_rte: 1
  clip_range:
    from: -1
    too: 0
  adaptive_kl: {horizon: 3}
  epochs: true
sft:
  optimizer: adam
  early_stopping: {metric: 3}
vf_coef: 3
reward:
  - name: correct
    weight: high
backbone:
  device: gpu
  train: lora
"""
    )
    assert refuse(path) == [
        "e.yaml:4:3: ppo.gamma: got 1.5, expected a number from 0 to 1",
        "e.yaml:5:3: ppo.learning_rte: unknown key; did you mean 'learning_rate'?",
        "e.yaml:6:3: ppo.clip_range.to: is missing, expected a number of at least 0",
        "e.yaml:7:5: ppo.clip_range.from: got -1, expected a number of at least 0",
        "e.yaml:8:5: ppo.clip_range.too: unknown key; did you mean 'to'?",
        "e.yaml:9:3: ppo.adaptive_kl.target: is missing, expected a number above 0",
        "e.yaml:10:3: ppo.epochs: got true, expected a whole number of at least 1",
        "e.yaml:12:3: sft.optimizer: got 'adam', expected 'adamw' or 'sgd'; did you mean 'adamw'?",
        "e.yaml:13:20: sft.early_stopping.metric: got 3, expected 'accuracy', 'return' or 'loss'",
        "e.yaml:14:1: vf_coef: unknown key; did you mean 'ppo.vf_coef'?",
        "e.yaml:17:5: reward.0.weight: got 'high', expected a number "
        "or a mapping with the keys from, to, over",
        "e.yaml:19:3: backbone.device: got 'gpu', "
        "expected 'auto', 'cpu', 'mps', 'cuda' or 'cuda:0'",
    ]


def test_contradictions_are_told_with_the_key_and_the_arithmetic(
    write: Write, refuse: Refuse
) -> None:
    path = write("ppo:\n  rollout: steps\n  num_envs: 4\n  num_steps: 8\n  minibatch_size: 64\n")
    assert refuse(path) == [
        "e.yaml:7:3: ppo.minibatch_size: got 64, but a round has only num_envs 4 x num_steps 8 "
        "= 32 steps; expected 32 or less"
    ]


def test_a_reward_whose_state_nothing_would_train_is_refused(write: Write, refuse: Refuse) -> None:
    judged = "evaluation:\n  reward:\n    - {name: a, scale: running}\n"
    assert refuse(write(judged)) == [
        "e.yaml:4:3: evaluation.reward: 'a' has `scale: running`, but nothing is trained on it "
        "that could give the scale; expected {shift, divide}"
    ]


def test_steps_that_go_on_through_rollouts_drop_no_episodes(write: Write, refuse: Refuse) -> None:
    path = write("reward:\n  - {name: a, on_error: drop}\nppo:\n  rollout: steps\n")
    assert refuse(path) == [
        "e.yaml:6:3: ppo.rollout: is steps, but 'a' drops whole episodes; expected episodes"
    ]


def test_a_misspelt_section_is_told_with_its_likely_name(write: Write, refuse: Refuse) -> None:
    assert refuse(write("pppo: {gamma: 1}\n")) == [
        "e.yaml:3:1: pppo: unknown key; did you mean 'ppo'?"
    ]


def test_a_key_like_no_other_is_told_with_all_that_are_known(write: Write, refuse: Refuse) -> None:
    assert refuse(write("checkpoint: {xyzzy: 1}\n")) == [
        "e.yaml:3:14: checkpoint.xyzzy: unknown key; known here: every, keep"
    ]


def test_missing_keys_are_told(write: Write, refuse: Refuse) -> None:
    assert refuse(write("seed: 1\n", complete=False)) == [
        "e.yaml:1:1: name: is missing, expected a text",
        "e.yaml:1:1: task: is missing, expected a mapping with the keys id, settings",
    ]


def test_a_plain_yes_for_a_boolean_is_one_fault(write: Write, refuse: Refuse) -> None:
    faults = refuse(write("logging: {tensorboard: yes}\n"))
    assert len(faults) == 1
    assert faults[0].startswith("e.yaml:3:11: logging.tensorboard: plain yes ")


def test_numbers_that_are_not_finite_are_refused_with_the_range(
    write: Write, refuse: Refuse
) -> None:
    for text in (".nan", ".inf", "1e999"):
        (fault,) = refuse(write(f"ppo: {{learning_rate: {text}}}\n"))
        assert fault.endswith("expected a number of at least 0")
    assert (
        "finite"
        in refuse(write("task: {id: T-v0, settings: {a: .nan}}\nname: x", complete=False))[0]
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is empty"),
        (b"# only a comment\n", "is empty"),
        (b"- a\n- b\n", "expected a mapping"),
        (b"just text", "expected a mapping"),
        ("name: x".encode("utf-16"), "UTF-16"),
        (b"name: x\ntask: \xff\xfe\n", "byte 14 is not UTF-8"),
        (b"a" * (MAX_BYTES + 1), "larger than"),
        (b"name: [", "not valid YAML"),
    ],
)
def test_files_without_a_mapping_are_refused(
    data: bytes, expected: str, tmp_path: Path, refuse: Refuse
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(data)
    (fault,) = refuse(path)
    assert fault.startswith("bad.yaml:")
    assert expected in fault


def test_what_is_no_file_is_refused(tmp_path: Path, refuse: Refuse) -> None:
    assert "is a folder" in refuse(tmp_path)[0]
    assert refuse(tmp_path / "none.yaml") == ["none.yaml: is no file; check the path"]
    os.mkfifo(tmp_path / "pipe")
    assert refuse(tmp_path / "pipe") == ["pipe: is no file; check the path"]
    assert refuse(Path("a\0b")) != []


def test_extends_merges_mappings_and_replaces_lists(write: Write) -> None:
    write("reward: [{name: a}, {name: b}]\nppo: {gamma: 0.5, epochs: 7}\n", "base.yaml")
    path = write("extends: base.yaml\nreward: [{name: c}]\nppo: {gamma: 0.9}\n", complete=False)
    experiment = load_experiment(path)
    assert [term.name for term in experiment.reward] == ["c"]
    assert (experiment.ppo.gamma, experiment.ppo.epochs) == (0.9, 7)


def test_later_files_of_extends_win_and_paths_start_at_the_file(write: Write) -> None:
    write("seed: 1\nppo: {epochs: 7}\n", "bases/one.yaml")
    write("extends: one.yaml\nseed: 2\n", "bases/two.yaml", complete=False)
    write("seed: 3\n", "bases/three.yaml", complete=False)
    experiment = load_experiment(
        write("extends: [bases/two.yaml, bases/three.yaml]\n", complete=False)
    )
    assert (experiment.seed, experiment.ppo.epochs) == (3, 7)


def test_a_fault_is_placed_in_the_file_that_wrote_the_value(write: Write, refuse: Refuse) -> None:
    write("ppo:\n  gamma: 5\n  epochs: 0\n", "bases/base.yaml")
    path = write("extends: bases/base.yaml\nppo:\n  epochs: -1\n", complete=False)
    assert refuse(path) == [
        "bases/base.yaml:4:3: ppo.gamma: got 5, expected a number from 0 to 1",
        "e.yaml:3:3: ppo.epochs: got -1, expected a whole number of at least 1",
    ]


def test_extending_in_a_circle_is_refused(write: Write, refuse: Refuse) -> None:
    write("extends: e.yaml\n", "other.yaml", complete=False)
    (fault,) = refuse(write("extends: other.yaml\n", complete=False))
    assert fault.startswith("other.yaml:1:1: extends: goes in a circle")
    assert "e.yaml -> other.yaml -> e.yaml" in fault


@pytest.mark.parametrize(
    ("extends", "expected"),
    [
        ("none.yaml", "there is no file"),
        (".", "there is no file"),
        ("5", "expected a file or a list of files"),
        ("[a.yaml, 5]", "expected a file or a list of files"),
        ('""', "expected a file or a list of files"),
        ('"a\\0b"', "there is no file"),
    ],
)
def test_extends_that_names_no_file_is_refused(
    extends: str, expected: str, write: Write, refuse: Refuse
) -> None:
    (fault,) = refuse(write(f"extends: {extends}\n"))
    assert fault.startswith("e.yaml:3:1: extends: ")
    assert expected in fault


def test_files_that_extend_each_other_twice_over_are_bounded(write: Write, refuse: Refuse) -> None:
    for i in range(20):
        write(f"extends: [f{i + 1}.yaml, f{i + 1}.yaml]\n", f"f{i}.yaml", complete=False)
    write("", "f20.yaml")
    assert any("more than 64 files" in fault for fault in refuse(write("extends: f0.yaml\n")))


def test_overrides_replace_values_of_the_file(write: Write) -> None:
    path = write("reward: [{name: a}, {name: b}]\nppo: {gamma: 0.5}\n")
    overrides = [
        "reward.1.weight=2",
        "ppo.gamma=0.9",
        "ppo.learning_rate=1e-5",
        "ppo.clip_range={from: 0.3, to: 0.1}",
        "ppo.clip_range.over=0.5",
        "ppo.adaptive_kl.target=6",
        "task.settings.prices=[1, 2]",
        'backbone.prefix="query: "',
        "sft.early_stopping=null",
        "ppo.gamma=0.8",
    ]
    experiment = load_experiment(path, overrides)
    assert [term.weight for term in experiment.reward] == [1.0, 2.0]
    assert experiment.ppo.gamma == 0.8
    assert experiment.ppo.learning_rate == 1e-5
    assert experiment.ppo.clip_range.model_dump(by_alias=True) == {  # type: ignore[union-attr]
        "from": 0.3,
        "to": 0.1,
        "over": 0.5,
    }
    assert experiment.ppo.adaptive_kl is not None
    assert experiment.task.settings == {"prices": [1, 2]}
    assert experiment.backbone.prefix == "query: "
    assert experiment.sft.early_stopping is None


def test_faults_of_overrides_are_told_with_the_override(write: Write, refuse: Refuse) -> None:
    path = write("reward: [{name: a}]\nppo: {gamma: 3}\n")
    overrides = [
        "ppo.clp=0.1",
        "reward.1.weight=2",
        "reward.x.weight=2",
        "seed.x=1",
        "seed",
        "=1",
        "a..b=1",
        "extends=base.yaml",
        "sft.epochs=",
        "logging.tensorboard=no",
        "sft.share=[1",
        "name.first=x",
        ".".join("a" * 100) + "=1",
    ]
    faults = refuse(path, *overrides, "seed=-1")
    assert faults[0] == "e.yaml:4:7: ppo.gamma: got 3, expected a number from 0 to 1"
    starts = [
        "override 'reward.1.weight=2': reward.1: no such item; the list has 1, counted from 0",
        "override 'reward.x.weight=2': reward.x: no such item",
        "override 'seed=-1': seed: got -1, expected a whole number",
        "override 'ppo.clp=0.1': ppo.clp: unknown key; did you mean 'clip_range'?",
        "override 'seed': expected key.path=value",
        "override '=1': expected key.path=value",
        "override 'a..b=1': expected key.path=value",
        "override 'extends=base.yaml': expected key.path=value",
        "override 'sft.epochs=': the value is missing",
        "override 'logging.tensorboard=no': logging.tensorboard: plain no",
        "override 'sft.share=[1': sft.share: not valid YAML",
        "override 'name.first=x': name: holds 'small', which has no keys",
        "override 'a.a.a.a",
    ]
    for start in starts:
        assert any(fault.startswith(start) for fault in faults), start


def test_an_override_of_a_base_value_is_blamed_and_not_the_base(
    write: Write, refuse: Refuse
) -> None:
    write("ppo: {clip_range: {from: 0.2, to: 0.1}}\n", "base.yaml")
    path = write("extends: base.yaml\n", complete=False)
    assert refuse(path, "ppo.clip_range={from: 0.2}") == [
        "override 'ppo.clip_range={from: 0.2}': ppo.clip_range.to: "
        "is missing, expected a number of at least 0"
    ]
