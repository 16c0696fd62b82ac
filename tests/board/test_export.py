import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from recorded import episode, evaluated, rollout, step, write_lines, write_run

from strategy_rl.board import maps
from strategy_rl.board.catalog import Catalog
from strategy_rl.board.export import CHUNK, export_board
from strategy_rl.board.frontend import json_bytes
from strategy_rl.board.routes import ROUTES
from strategy_rl.errors import RunError, StorageError

ASK = """
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
const [out, asked] = process.argv.slice(2);
const { answer } = await import(pathToFileURL(`${out}/answers.js`));
const read = async (path) => JSON.parse(await readFile(`${out}/data/${path}`, "utf8"));
const found = [];
for (const [route, params] of JSON.parse(asked)) found.push(await answer(read, route, params));
console.log(JSON.stringify(found));
"""
ROWS = maps.MAX_ROWS + 3
SIDES = {"run_a": "a", "run_b": "b/seed-1", "policy_a": "sft", "policy_b": "ppo"}
QUESTIONS: list[tuple[str, dict[str, str]]] = [
    ("runs", {}),
    ("changed", {}),
    ("episodes", {}),
    ("episodes", {"sort": "-return", "size": "3", "page": "1"}),
    ("episodes", {"sort": "-least_probability", "kind": "odd"}),
    ("episodes", {"policy": "ppo", "action": "hand_over", "return_min": "0.2", "stage": ""}),
    ("episodes", {"component": "bleu", "component_max": "0.5", "sort": "component:bleu"}),
    ("episodes", {"text": "RIGHT", "row": "2"}),
    ("episodes", {"text": "nowhere"}),
    ("histogram", {"bins": "4"}),
    ("histogram", {"of": "component:bleu", "policy": "ppo"}),
    ("histogram", {"of": "component:price", "component": "bleu", "component_min": "0.5"}),
    ("histogram", {"selected": "worst"}),
    ("episodes", {"selected": "best"}),
    ("episodes", {"selected": "random", "sort": "row"}),
    ("map", {"by": "policy", "selected": "surprising"}),
    ("curve", {}),
    ("probes", {}),
    ("warnings", {}),
    ("map", {}),
    ("map", {"by": "kind", "policy": "ppo"}),
    ("map", {"by": "step"}),
    ("map", {"by": "row", "split": "test"}),
    ("map", {"by": "iteration", "iteration": "7-45"}),
    ("map", {"by": "iteration", "stage": "sft"}),
    ("episodes", {"iteration": "3"}),
    ("episodes", {"iteration": "3-14"}),
    ("episodes", {"iteration": "50-"}),
    ("histogram", {"iteration": "-2-3"}),
    ("compare", {**SIDES, "policy_a": "ppo", "iteration_a": "0", "iteration_b": "1-40"}),
    ("compare", SIDES),
    ("compare", {**SIDES, "changed": "1", "sort": "row", "split": "test"}),
    ("compare", {**SIDES, "sort": "gain", "size": "2"}),
    ("compare", {**SIDES, "run_a": "b/seed-1", "policy_a": "ppo", "sort": "row"}),
    ("compare", {**SIDES, "run_a": "b/seed-1", "policy_a": "drawn", "policy_b": "drawn"}),
]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    evaluated(folder / "a", rows=ROWS)
    probes = [
        episode("ppo", 1, [step((i or 0) % 3)], split="probe", stage=stage, iteration=i)
        for stage, iterations in (("sft", (1, 2, None)), ("ppo", range(60)))
        for i in iterations
    ]
    drawn = [
        episode("drawn", None, [step(0)], split=split, episode_id=f"{split}-7")
        for split in ("train", "test")
    ]
    made = write_run(evaluated(folder / "b" / "seed-1"), probe=probes, drawn=drawn)
    write_lines(made, rollout())
    (made / "config.yaml").write_text("ppo: {normalize_rewards: true}\n")
    return folder


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_an_export_answers_as_the_server_does(runs: Path, tmp_path: Path) -> None:
    catalog = Catalog({runs: None})
    catalog.refresh()
    key = catalog.run("a").entries()[CHUNK + 3].head["key"]
    scaled = catalog.run("b/seed-1").entries()[0].head["key"]
    asked = [
        (route, params if route in ("runs", "changed", "compare") else {**params, "run": run})
        for route, params in QUESTIONS
        for run in ("a", "b/seed-1")
    ]
    asked += [
        ("episode", {"run": run, "key": str(each)})
        for run, each in (("a", key), ("b/seed-1", scaled))
    ]
    out = tmp_path / "out"
    assert export_board(runs, out) == 2 * ROWS + 12 + 63 + 4 + 2
    script = tmp_path / "ask.mjs"
    script.write_text(ASK)
    command = ["node", str(script), str(out), json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answers = json.loads(done.stdout)
    for (route, params), found in zip(asked, answers, strict=True):
        expected = json.loads(json_bytes(ROUTES[f"/{route}"](catalog, params)))
        assert without_times(found) == without_times(expected), (route, params)


def without_times(answer: dict[str, Any]) -> dict[str, Any]:
    """Without what differs between two starts, and rounded where sums are not exact."""
    kept = {name: value for name, value in answer.items() if name not in ("version", "chunk")}
    if isinstance(kept.get("mean_difference"), float):
        kept["mean_difference"] = round(kept["mean_difference"], 9)
    return kept


def test_an_export_names_no_path_of_this_machine(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_board(runs, out)
    texts = [path.read_text("utf-8") for path in out.rglob("*") if path.is_file()]
    assert texts
    assert not any(str(tmp_path) in text for text in texts)


def test_an_export_replaces_nothing(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(StorageError):
        export_board(runs, out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_a_folder_without_episodes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(RunError, match="expected a run"):
        export_board(tmp_path / "runs", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["runs/out", "runs", "link/a/out"])
def test_a_folder_among_the_runs_is_refused(runs: Path, tmp_path: Path, out: str) -> None:
    (tmp_path / "link").symlink_to(runs)
    before = sorted(runs.rglob("*"))
    with pytest.raises(RunError, match="choose a folder outside of it"):
        export_board(runs, tmp_path / out)
    assert sorted(runs.rglob("*")) == before
