"""`docs/tasks.md` as a new user tries it: every snippet and command, in an empty folder."""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest
import yaml
from guide import ROOT, blocks, commands, guide, named_files, users_folder

from strategy_rl import cli

TEXT = guide("tasks")
TEAMS = {"billing": ("invoice", "refund", "payment"), "delivery": ("parcel", "courier", "address")}


def section(title: str) -> str:
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A new user's folder: what the guide shows, and data of the form that it shows."""
    with users_folder(tmp_path, TEXT):
        write_tickets(tmp_path / "tickets.jsonl")
        yield tmp_path
    for name in [name for name in gymnasium.registry if name.startswith("my/")]:
        del gymnasium.registry[name]


def write_tickets(path: Path) -> None:
    rng = random.Random(0)
    candidates = [f"{team}: {', '.join(words)}" for team, words in TEAMS.items()]
    with path.open("w") as file:
        for number in range(300):
            team = rng.randrange(2)
            word = rng.choice(list(TEAMS.values())[team]) if rng.random() < 0.7 else "order"
            mail = f"hello, my {word} is {rng.choice(['late', 'wrong'])}, customer {number}"
            row = {"mail": mail, "teams": candidates, "team": team, "value": rng.choice([1.0, 5.0])}
            file.write(json.dumps(row) + "\n")


def means(folder: Path, name: str) -> dict[str, float]:
    report = json.loads((folder / "runs" / name / "report.json").read_text())
    return {policy: judged["mean_return"] for policy, judged in report["policies"].items()}


def test_the_rows_that_the_guide_shows_have_the_fields_of_the_tests_data(folder: Path) -> None:
    shown = [json.loads(line) for line in dict(blocks(TEXT))["json"].splitlines()]
    made = json.loads((folder / "tickets.jsonl").read_text().splitlines()[0])
    assert len(shown) == 2
    assert all(
        {key: type(value) for key, value in row.items()}
        == {key: type(value) for key, value in made.items()}
        for row in shown
    )


def test_own_data_takes_at_most_25_lines_of_python_and_yaml() -> None:
    files = named_files(section("From data alone"))
    assert sorted(files) == ["my_rewards.py", "tickets.yaml"]
    lines = [line for text in files.values() for line in text.splitlines()[1:] if line.strip()]
    assert 10 <= len(lines) <= 25
    assert max(map(len, lines)) <= 100


def test_own_data_is_checked_trained_and_ppo_beats_sft_on_the_users_reward(folder: Path) -> None:
    for words in commands(section("From data alone")):
        assert cli.main(words) == 0
    earned = means(folder, "tickets")
    assert earned["ppo"] > earned["sft"] + 0.5
    assert earned["ppo"] > earned["random"]


def test_a_class_of_ones_own_is_written_checked_and_trained(folder: Path) -> None:
    words = commands(section("A class of your own"))
    assert [command[0] for command in words].count("new-task") == 2
    for command in words:
        assert cli.main(command) == 0
    for name in ("ticket_routing", "thermostat"):
        earned = means(folder, name)
        assert earned["ppo"] > earned["sft"]


def test_check_env_is_shown_as_it_works(folder: Path) -> None:
    assert cli.main(["new-task", "ticket_routing"]) == 0
    for command in commands(section("check-env")):
        assert cli.main(command) == 0


def test_the_vector_environment_trains_to_its_optimum(folder: Path) -> None:
    for command in commands(section("Vector environments")):
        assert cli.main(command) == 0
    assert means(folder, "guess")["ppo"] > 0.95


def test_a_wrong_field_and_a_broken_rule_are_reported_in_the_words_of_the_guide(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from strategy_rl_envs.testing.faults import ContractError, Faults, Replay

    lines = re.sub(r"^```.*?^```", "", TEXT, flags=re.M | re.S).splitlines()
    shown = [line.strip() for line in lines if line.startswith("    ")]
    assert cli.main(["run", "tickets.yaml", "task.settings.label=teem"]) == 2
    fault = capsys.readouterr().err.strip()
    assert any(line.startswith("tickets.jsonl:1: teem") and line in fault for line in shown)
    faults = Faults("my/Broken-v0", {})
    faults.note("reward", "expected a finite number, got nan", Replay(0, None, [3, 2, 1]))
    seen = "no action is legal, but the episode goes on"
    faults.note("action_mask", seen, Replay(2, None, [0]))
    with pytest.raises(ContractError) as caught:
        faults.raise_if_any()
    assert str(caught.value).splitlines() == shown[-3:]


def test_the_heuristics_of_the_guide_choose_among_the_candidates(folder: Path) -> None:
    import runpy

    import numpy as np

    named = runpy.run_path("heuristics.py")["heuristics"]
    obs = {
        "context": ("where is my parcel ?",),
        "candidates": ("blue", "the parcel is late"),
        "action_mask": np.ones(2, np.int8),
    }
    chosen = {name: choose(obs, np.random.default_rng(0)) for name, choose in named.items()}
    assert chosen["overlap"] == chosen["longest"] == 1
    assert chosen["random"] in (0, 1)


def test_every_setting_and_fact_of_the_tasks_from_data_is_explained() -> None:
    import inspect

    from strategy_rl_envs.from_data.env import classification, selection
    from strategy_rl_envs.from_data.rewards import COMPONENTS, FACTS

    text = section("From data alone")
    told = set(re.findall(r"`(\w+)`", text))
    for task in (selection, classification):
        assert set(inspect.signature(task).parameters) - {"split", "reward"} <= told
    assert {*FACTS, *COMPONENTS} <= told


def test_every_rule_that_the_checker_names_is_in_the_table_and_no_other() -> None:
    rules = set()
    for path in (ROOT / "envs/strategy_rl_envs/testing").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("faults.note"):
                rules.add(ast.unparse(node.args[0]).strip("'"))
            elif isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
                rules.add(ast.unparse(node.value.elts[0]).strip("'"))
    rules -= {"rule", "name", "argument", "gymnasium check_env", "reset"}
    table = section("check-env").split("|---|---|")[1].split("\n\n")[0]
    told = {name for line in table.splitlines() for name in re.findall(r"`([a-z_ ]+)`", line[:100])}
    assert rules <= told, rules - told
    assert len(rules) >= 20


def test_the_yaml_of_the_guide_is_yaml() -> None:
    files = [text for name, text in named_files(TEXT).items() if name.endswith(".yaml")]
    assert len(files) == 2
    assert all(yaml.safe_load(text)["task"]["id"] for text in files)
