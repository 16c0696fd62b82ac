"""`docs/decoding.md` as a new user tries it: every snippet and command, in an empty folder.

So does the snippet of `docs/interop.md` that needs the policy that the guide has trained.
"""

from __future__ import annotations

import inspect
import json
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from guide import blocks, guide

from strategy_rl import cli
from strategy_rl_envs.decoding_control import search
from strategy_rl_envs.decoding_control.data import load_split
from strategy_rl_envs.decoding_control.knobs import Menu
from strategy_rl_envs.decoding_control.rewards import FACTS
from strategy_rl_envs.decoding_control.task import Writing, make_task

TEXT, INTEROP = guide("decoding"), guide("interop")
BLOCKS = blocks(TEXT)
COMMANDS = [
    shlex.split(line)
    for line in re.findall(r"^(?:python|strategy-rl) .*", TEXT, re.M)
    + re.findall(r"`(strategy-rl run \S+)`", TEXT)
]


def run_command(words: list[str]) -> int:
    """Run a command of the guide in this process; gives its exit code."""
    if words[0] == "strategy-rl":
        return cli.main(words[1:])
    if words[1] == "-m":
        assert words[2] == search.__name__
        return search.main(words[3:])
    runpy.run_path(words[1])
    return 0


def report_of(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"runs/{name}/report.json").read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def folder(folder: Path) -> Path:
    """The folder after the guide's commands."""
    for words in COMMANDS:
        assert run_command(words) == 0, words
    return folder


def test_the_guide_makes_a_model_searches_each_split_and_trains_twice(folder: Path) -> None:
    assert [words[-1] for words in COMMANDS] == [
        *("tiny.py", "--rules", "validation", "test", "steer.yaml", "stop.yaml"),
    ]
    for split in ("train", "validation", "test"):
        lines = (folder / f"found.{split}.jsonl").read_text("utf-8").splitlines()
        kinds = {"up to" in json.loads(line)["name"] for line in lines[1:]}
        assert kinds == ({False, True} if split == "train" else {False})


def test_the_policy_that_steers_beats_what_the_guide_names(folder: Path) -> None:
    policies = report_of(folder, "steer")["policies"]
    rivals = {"sft", "sft_sampled", "ppo_sampled", "random", "greedy", "static_best", "entropy"}
    assert policies.keys() == {"ppo", "expert"} | rivals
    ppo = policies["ppo"]["mean_return"]
    assert ppo > max(
        policies[name]["mean_return"] for name in ("sft", "greedy", "static_best", "expert")
    )
    by_kind = policies["ppo"]["settings_by_kind"]
    assert by_kind.keys() == {"briefly", "amply"}
    page = (folder / "runs/steer/report.md").read_text("utf-8")
    assert "## Settings by kind of row" in page
    assert re.search(r"> \*\*\[T \d.*?\]\*\* \w+", page)
    pictures = {path.stem for path in (folder / "runs/steer/plots").iterdir()}
    assert {"texts_by_setting", "settings_by_kind", "settings_by_step"} <= pictures


def test_the_policy_that_stops_has_the_rivals_that_the_guide_names(folder: Path) -> None:
    policies = report_of(folder, "stop")["policies"]
    rivals = {"static_best", "entropy", "longstaff_schwartz", "greedy", "expert", "random"}
    assert rivals <= policies.keys()
    assert policies["ppo"]["mean_return"] > policies["sft"]["mean_return"]
    assert list((folder / "cache/recordings").iterdir())


def test_the_last_snippet_finds_the_same_text_three_times(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (snippet,) = [text for kind, text in BLOCKS if kind == "python" and "generate" in text]
    found: dict[str, Any] = {}
    exec(compile(snippet, "docs/decoding.md", "exec"), found)  # the guide's own words
    assert str(found["new"]) in capsys.readouterr().out
    lines = (folder / "rows/test.jsonl").read_text("utf-8").splitlines()
    assert found["prompts"] == [json.loads(lines[row])["prompt"] for row in (0, 3)]
    assert found["env"].unwrapped.action_name([1, 1, 0]) == "T 1, r 1.5"
    assert len(found["new"][1].split()) > 1
    (other,) = re.findall(
        r"^```python\n(from strategy_rl.controller .*?)^```", INTEROP, re.M | re.S
    )
    exec(compile(other, "docs/interop.md", "exec"), found)
    assert len(found["controller"].chosen) == len(found["prompts"])


def test_the_menu_of_presets_the_row_and_the_defaults_are_as_the_guide_says(
    tmp_path: Path,
) -> None:
    (presets,) = re.findall(r"`(presets: .*?)`", TEXT)
    menu = Menu.of(presets=yaml.safe_load(presets)["presets"])
    assert [menu.name(action) for action in menu.actions] == ["plain", "lively", "stop"]
    (row,) = [text for kind, text in BLOCKS if kind == "json"]
    (tmp_path / "row.jsonl").write_text(row.replace("..", "a word"), "utf-8")
    (read,) = load_split(tmp_path / "row.jsonl").rows
    assert (read.group, read.window, read.keywords) == ("cats", (1, 5), ("a word",))
    assert f"`hold` ({Writing.hold})" in TEXT
    assert f"`max_new_tokens` ({Writing.max_new_tokens})" in TEXT
    most = inspect.signature(make_task).parameters["max_prompt"].default
    assert f"`max_prompt` ({most})" in TEXT
    (told,) = re.findall(r"Reward functions are told (.*?);", TEXT, re.S)
    assert set(re.findall(r"`(\w+)`", told)) <= set(FACTS)
