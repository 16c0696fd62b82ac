"""The search among fixed settings: what it tries, keeps and finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import PROMPTS

from strategy_rl.config import load_experiment
from strategy_rl_envs.decoding_control import search
from strategy_rl_envs.decoding_control.experiment import read_experiment
from strategy_rl_envs.decoding_control.findings import (
    ByEntropy,
    load_findings,
    read_findings,
    table,
)
from strategy_rl_envs.decoding_control.knobs import Menu
from strategy_rl_envs.kit.errors import DataError, SettingError

KNOBS = {"temperature": [0.0, 1.0], "repetition_penalty": [1.0, 1.3], "stop": True}
MENU = Menu.of(knobs=KNOBS)
NAMES = ["T 0", "T 0, r 1.3", "T 1", "T 1, r 1.3"]


@pytest.fixture
def experiment(tmp_path, settings):
    """The file of an experiment."""
    path = tmp_path / "experiment.yaml"
    not_searched = {"dense": True, "best_static": "no/such", "expert_reward": ["no_such"]}
    said = {
        "name": "x",
        "task": {"id": "y", "settings": {**settings, **not_searched}},
    }
    path.write_text(json.dumps(said))
    return path


@pytest.fixture
def run(experiment, tmp_path, capsys):
    """Run the command; gives what it printed."""

    def ran(*arguments, code=0):
        out = str(tmp_path / "found.{split}.jsonl")
        assert search.main([str(experiment), "--out", out, *arguments]) == code
        said = capsys.readouterr()
        return said.out if code == 0 else said.err

    return ran


def lines(tmp_path, split="train"):
    return (tmp_path / f"found.{split}.jsonl").read_text().splitlines()


def test_every_setting_is_played_on_every_row_and_shown_by_kind(run, tmp_path, single):
    shown = run()
    assert shown.splitlines()[0].split() == ["all", "even", "odd"]
    assert all(any(line.startswith(name) for line in shown.splitlines()) for name in NAMES)
    played = [json.loads(line) for line in lines(tmp_path)[1:]]
    assert len(played) == len(NAMES) * len(PROMPTS)
    env = single()
    for line in played:
        if not line["name"].startswith("T 0"):
            continue  # what is drawn depends on the seed
        _, info = env.reset(options={"row": int(line["row"][1:])})
        over = False
        while not over:
            _, reward, over, _, info = env.step(np.array(line["policy"]["action"]))
        assert line["return"] == pytest.approx(reward)
        assert line["text"] == info["reward_inputs"]["output"]


def test_what_stands_in_the_file_is_not_played_again(run, tmp_path):
    first = run()
    whole = lines(tmp_path)
    path = tmp_path / "found.train.jsonl"
    path.write_text("\n".join(whole[:7]) + '\n{"row": "r')  # cut off in mid-line
    assert run() == first
    assert sorted(lines(tmp_path)) == sorted(whole)
    assert lines(tmp_path)[:7] == whole[:7]


def test_fewer_rows_are_spread_over_the_split(run, tmp_path):
    run("--rows", "2", "--split", "test")
    rows = {json.loads(line)["row"] for line in lines(tmp_path, "test")[1:]}
    assert rows == {"r0", "r2"}


def test_rules_mix_the_best_settings_by_entropy(run, tmp_path):
    run("--rules")
    found = read_findings(tmp_path / "found.train.jsonl")
    assert found.names(static=True) == NAMES
    rules = found.names(static=False)
    assert len(rules) == 2 * 2 * 3
    best = found.best(static=True)
    assert all(best in rule for rule in rules)
    assert found.best(static=False) in rules


def test_the_environment_takes_experts_and_rivals_from_it(run, tmp_path, single):
    run("--rules")
    where = str(tmp_path / "found.{split}.jsonl")
    env = single(best_static=where)
    found = read_findings(tmp_path / "found.train.jsonl")
    for row in range(len(PROMPTS)):
        obs, info = env.reset(options={"row": row})
        chosen = MENU.name(info["expert_action"])
        returns = {name: found.returns[name][f"r{row}"] for name in NAMES}
        assert returns[chosen] == max(returns.values())
    assert set(env.heuristics) == {"greedy", "static_best", "entropy"}
    action = env.heuristics["static_best"](obs, np.random.default_rng(0))
    assert MENU.name(action) == found.best(static=True)


def test_findings_of_other_settings_are_refused(run, tmp_path, single):
    run()
    with pytest.raises(SettingError, match=r"best_static: .* was made with hold 3, but .* has 4"):
        single(best_static=str(tmp_path / "found.{split}.jsonl"), hold=4)
    assert "was made with other settings" in run("--model", _other(tmp_path), code=2)


def _other(folder):
    from tiny_models import save_model, tiny_llama

    return save_model(folder / "other", tiny_llama(seed=1))


FOUND = [
    {"inputs": {"hold": 3}},
    *(
        {"row": row, "kind": kind, "name": name, "policy": {"action": action}, "return": value}
        for name, action, values in (
            ("T 0", [0, 0, 0], (0.5, 0.1, 0.0)),
            ("T 1", [1, 0, 0], (0.2, 0.3, 0.0)),
        )
        for row, kind, value in zip("abc", ("x", "y", "y"), values, strict=True)
    ),
]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_means_experts_and_the_table_are_worked_out_by_row_and_kind(tmp_path):
    found = load_findings(str(write(tmp_path / "f.jsonl", FOUND)), "train", {"hold": 3})
    assert found.means() == pytest.approx({"T 0": 0.2, "T 1": 0.5 / 3})
    assert found.means("y") == pytest.approx({"T 0": 0.05, "T 1": 0.15})
    assert found.best(static=True) == "T 0"
    assert found.best(static=False) is None
    chosen = found.experts(MENU, ["b", "a", "c", "new"])
    assert [None if action is None else MENU.name(action) for action in chosen] == [
        *("T 1", "T 0", "T 0", None)
    ]
    assert [line.split() for line in table(found).splitlines()] == [
        ["all", "x", "y"],
        ["T", "0", "0.2000*", "0.5000*", "0.0500"],
        ["T", "1", "0.1667", "0.2000", "0.1500*"],
    ]


def test_a_rule_by_entropy_takes_one_action_up_to_its_threshold_and_another_above():
    rule, rng = ByEntropy(1, 0.4, "below", "above"), np.random.default_rng(0)
    assert rule(np.array([9.0, 0.4]), rng) == "below"
    assert rule(np.array([0.0, 0.41]), rng) == "above"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": {"below": [0]}}, "policy: expected an action or a rule"),
        ({"return": "high"}, "return: expected a number"),
        ({"row": 3}, "row: expected a text"),
    ],
)
def test_a_line_that_is_none_is_refused_with_its_place(tmp_path, change, message):
    path = write(tmp_path / "f.jsonl", [FOUND[0], FOUND[1] | change])
    with pytest.raises(DataError, match=rf"f.jsonl:2: {message}"):
        read_findings(path)


def test_a_file_without_its_first_line_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"f.jsonl:1: inputs: the first line must say"):
        read_findings(write(tmp_path / "f.jsonl", FOUND[1:]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("extends: other.yaml", "other.yaml: cannot be read: "),
        ("extends: {a: b}", "extends: got {'a': 'b'}, expected a file or a list"),
        ("extends: e.yaml", "extends: e.yaml leads back here; remove one"),
        ("name: x", "expected task.settings, got the keys ['name']"),
        ("[task]", "expected a mapping with task.settings, got ['task']"),
        ("task: {settings: {}}", "model"),
        ("{", "cannot be read: "),
    ],
)
def test_an_experiment_that_cannot_be_searched_is_refused(tmp_path, capsys, content, message):
    path = tmp_path / "e.yaml"
    path.write_text(content)
    assert search.main([str(path), "--out", str(tmp_path / "o.jsonl")]) == 2
    assert message in capsys.readouterr().err


def test_a_menu_with_too_many_settings_is_refused(run, experiment):
    said = json.loads(experiment.read_text())
    said["task"]["settings"]["knobs"] = {"temperature": [i / 10 for i in range(13)]}
    experiment.write_text(json.dumps(said))
    assert "13 settings, and a search tries 12 at most" in run(code=2)


def test_an_experiment_is_searched_as_it_extends_others(run, experiment, tmp_path):
    whole = run()
    (tmp_path / "found.train.jsonl").unlink()
    said = json.loads(experiment.read_text())
    settings = said["task"]["settings"]
    (tmp_path / "deep").mkdir()
    wrong = {"task": {"settings": {**settings, "hold": 1, "knobs": {"top_p": [0.5]}}}}
    (tmp_path / "deep" / "first.yaml").write_text(json.dumps({**wrong, "reward": ["constant"]}))
    middle = {"extends": "first.yaml", "task": {"settings": {"hold": settings.pop("hold")}}}
    (tmp_path / "deep" / "middle.yaml").write_text(json.dumps(middle))
    last = {"reward": None, "task": {"settings": {"knobs": {"top_p": [1.0]}}}}
    (tmp_path / "last.yaml").write_text(json.dumps(last))
    said["extends"] = ["deep/middle.yaml", "last.yaml"]
    experiment.write_text(json.dumps(said))
    assert run() == whole


def test_what_an_experiment_comes_to_is_what_a_run_would_take(experiment):
    shipped = Path(__file__).parents[3] / "experiments" / "decoding_control"
    for path in [*shipped.glob("*.yaml"), experiment]:
        settings, reward = read_experiment(path, "some/folder")
        whole = load_experiment(path)
        assert settings == {**whole.task.settings, "model": "some/folder"}
        assert [term["name"] for term in reward or ()] == [term.name for term in whole.reward]


def test_a_packaged_model_is_refused_with_the_command_that_prints_its_folder(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text("task: {settings: {model: package:tiny}}")
    with pytest.raises(SettingError, match=r"by --model \"\$\(strategy-rl models tiny\)\"$"):
        read_experiment(path)
    assert read_experiment(path, "some/folder") == ({"model": "some/folder"}, None)
    path.write_text(
        "task: {settings: {model: some/folder}}\n"
        "reward: [constant, {name: judge, settings: {model: package:tiny}}]"
    )
    with pytest.raises(SettingError, match=r"reward: judge: model: package:tiny .* in its place$"):
        read_experiment(path)
