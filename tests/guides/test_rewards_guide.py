"""`docs/rewards.md` as a new user tries it: every snippet and command, in an empty folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from guide import commands, guide

from strategy_rl import cli
from strategy_rl_envs.rewards.library import LIBRARY

TEXT = guide("rewards")
COMMANDS = commands(TEXT)
FAILS = 6


def test_the_guide_shows_four_files_and_five_commands(folder: Path) -> None:
    shown = {path.name for path in folder.iterdir()}
    assert {"my_rewards.py", "brief.yaml", "lazy.yaml", "by_words.yaml"} <= shown
    assert [words[0] for words in COMMANDS] == [
        *("check-reward", "run", "rewards", "check-reward", "rescore"),
    ]


def test_every_command_ends_as_the_guide_says(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes, printed = [], []
    for words in COMMANDS:
        codes.append(cli.main(words))
        printed.append(capsys.readouterr().out)
    assert codes == [0, 0, 0, FAILS, 0]
    assert "0 failures" in printed[0]
    assert "brevity(output; target_words=30)" in printed[2]
    assert "rank" in printed[4]
    assert (folder / "runs/brief/rescore-by_words.json").is_file()


def test_a_weight_that_moves_is_seen_in_what_the_component_adds(folder: Path) -> None:
    record = folder / "runs/brief/metrics.jsonl"
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    found = [line["scalars"] for line in lines if "reward/brevity" in line.get("scalars", {})]
    added = [scalars["reward/brevity"] for scalars in found]
    values = [scalars["reward_value/brevity/mean"] for scalars in found]
    assert added[0] == 0.0
    assert added[1:6] == sorted(added[1:6])
    # Two questions an episode; from half of the iterations on the weight is 0.2.
    assert added[-1] == pytest.approx(2 * 0.2 * values[-1])


def test_the_table_of_the_library_is_the_library() -> None:
    table = TEXT.split("\n## The library\n")[1].split("\n## ")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("|")]
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(LIBRARY)
    assert len(LIBRARY) >= 20
