from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_experiments as experiments
from comparison import snapshot
from nursery import Nursery

GOOD = {
    "id": "a",
    "context": ["how are you ?"],
    "candidates": ["fine", "blue", "no idea"],
    "label": 0,
}


def rows(count: int, **changes: Any) -> list[dict[str, Any]]:
    return [{**GOOD, "id": f"row-{n}", **changes} for n in range(count)]


def lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def without(field: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != field}


def replies(folder: Path, train: bytes | None, **sections: Any) -> experiments.Fields:
    """Reply selection on data of which the training split is as given."""
    data = folder / "data"
    data.mkdir()
    for split in ("train", "validation", "test"):
        content = train if split == "train" else lines(rows(8))
        if content is not None:
            (data / f"{split}.jsonl").write_bytes(content)
    return {
        **experiments.SHORT,
        "name": "data",
        "task": {
            "id": "strategy_rl_envs:strategy_rl/ReplySelection-v0",
            "settings": {"data": str(data), "mode": "single"},
        },
        "backbone": {"model": "random:tiny"},
        **sections,
    }


def refused(nursery: Nursery, folder: Path, *argv: object) -> list[str]:
    """The lines of a refusal: exit code 2, no traceback, and no folder, not even a half of one."""
    out = folder / "out"
    before = snapshot(folder)
    code, output = nursery.run(*argv, "--out", out)
    assert code == 2, output
    assert "Traceback" not in output
    assert not out.exists()
    assert {name for name in snapshot(folder) if "life-" not in name} == set(before)
    errors = output.splitlines()
    assert all(line.startswith("error: ") for line in errors), output
    return errors


def test_an_experiment_with_three_faults_reports_each_with_its_place(
    nursery: Nursery, tmp_path: Path
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "name: bad\n"
        "task:\n"
        "  id: strategy_rl_envs:strategy_rl/TinyReply-v0\n"
        "ppo:\n"
        "  learing_rate: 1e-3\n"
        "  clip_range: -0.2\n"
        "sft:\n"
        "  epochs: many\n"
    )
    first, second, third = refused(nursery, tmp_path, "run", file)
    assert first.startswith(f"error: {file}:5:3: ppo.learing_rate: ")
    assert "did you mean 'learning_rate'" in first
    assert second.startswith(f"error: {file}:6:3: ppo.clip_range: got -0.2")
    assert third.startswith(f"error: {file}:8:3: sft.epochs: got 'many'")


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        (lines([GOOD, {**without("candidates"), "id": "b"}]), "train.jsonl:2: candidates: "),
        (lines([{**GOOD, "label": 7}]), "train.jsonl:1: label: 7 is not among the 3 candidates"),
        (b"", "train.jsonl: the file has 0 rows"),
        (lines([GOOD]) + b'{"id": "\xff"}\n', "train.jsonl:2: invalid UTF-8: byte 0xff at byte 8"),
        (lines([GOOD]) + b'{"id": "b", "cont', "train.jsonl:2: not valid JSON"),
        (lines(rows(9, candidates=["fine"])), "train.jsonl: "),
        (None, "train.jsonl: No such file or directory"),
    ],
    ids=["field", "label", "empty", "bytes", "cut", "one candidate", "missing"],
)
def test_data_that_cannot_be_used_are_refused_with_their_place(
    train: bytes | None, expected: str, nursery: Nursery, tmp_path: Path
) -> None:
    file = experiments.write(tmp_path, replies(tmp_path, train))
    (error,) = refused(nursery, tmp_path, "run", file)
    assert f"data/{expected}" in error


def test_rows_with_one_candidate_are_skipped_where_they_are_few(
    nursery: Nursery, tmp_path: Path
) -> None:
    few = [*rows(7), {**GOOD, "id": "lonely", "candidates": ["fine"]}]
    file = experiments.write(tmp_path, replies(tmp_path, lines(few)))
    code, output = nursery.run("run", file, "--out", tmp_path / "run")
    assert code == 0, output
    assert "data/train.jsonl: 7 rows used, skipped: one candidate 1" in output


def test_a_context_of_100_000_tokens_is_cut_and_trained_on(
    nursery: Nursery, tmp_path: Path
) -> None:
    long = [*rows(7), {**GOOD, "id": "long", "context": ["word " * 100_000]}]
    file = experiments.write(tmp_path, replies(tmp_path, lines(long)))
    code, output = nursery.run("run", file, "--out", tmp_path / "run")
    assert code == 0, output
    assert "data/train.jsonl: 8 rows used, skipped: none; changed: texts cut to " in output


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"backbone": {}}, "backbone.model is null, but the task's observations hold texts"),
        ({"backbone": {"model": "./nowhere"}}, "'./nowhere': no such folder"),
        ({"backbone": {"model": "package:all-minilm"}}, "no such packaged model; did you mean"),
        ({"backbone": {"model": "random:tiny", "max_tokens": 5000}}, "max_tokens is 5000"),
        ({"task": {"id": "nothing/Here-v0"}}, "task.id: 'nothing/Here-v0': "),
        ({"task": {"id": "reliability_tasks:reliability/Drift-v1"}}, "task.id: "),
        ({"reward": [{"name": "kindness"}]}, "no reward function 'kindness'"),
        ({"evaluation": {"reward": [{"name": "kindness"}]}}, "no reward function 'kindness'"),
        ({"sft": {"demonstrations": "nowhere.jsonl"}}, "nowhere.jsonl: cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    sections: dict[str, Any], expected: str, nursery: Nursery, tmp_path: Path
) -> None:
    file = experiments.write(tmp_path, replies(tmp_path, lines(rows(8)), **sections))
    (error,) = refused(nursery, tmp_path, "run", file)
    assert expected in error


def test_a_task_without_an_expert_needs_demonstrations(nursery: Nursery, tmp_path: Path) -> None:
    settings = {"expert": False}
    fields = {**experiments.SHORT, "task": {**experiments.SHORT["task"], "settings": settings}}
    file = experiments.write(tmp_path, fields)
    (error,) = refused(nursery, tmp_path, "run", file)
    assert "the task has no expert (its info holds no `expert_action`)" in error
    assert "sft.demonstrations" in error


FINE = {"observation": {"state": [0.5, 12.5, 0.0], "action_mask": [1, 1, 1]}, "action": 1}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "0 demonstrations"),
        (b'{"observation": {}}\n', "demos.jsonl:1: field 'action' is missing"),
        (b"[1]\n", "demos.jsonl:1: "),
        (b"\xff\n", "demos.jsonl: cannot be read as UTF-8"),
        (lines([FINE, {**FINE, "action": 9}]), "action 9 is not legal"),
        (lines([FINE, {**FINE, "action": "up"}]), "action"),
        (lines([FINE, {"observation": {"state": [1.0]}, "action": 1}]), "demos.jsonl:2: "),
        (lines([FINE, {"observation": {}, "action": 1}]), "demos.jsonl:2: "),
    ],
    ids=["empty", "no action", "list", "bytes", "illegal", "text", "short", "no state"],
)
def test_demonstrations_that_cannot_be_used_are_refused(
    content: bytes, expected: str, nursery: Nursery, tmp_path: Path
) -> None:
    path = tmp_path / "demos.jsonl"
    path.write_bytes(content)
    fields = {**experiments.SHORT, "sft": {"epochs": 1, "demonstrations": str(path)}}
    file = experiments.write(tmp_path, fields)
    (error,) = refused(nursery, tmp_path, "run", file)
    assert expected in error


def test_a_folder_that_cannot_be_made_is_a_storage_error(nursery: Nursery, tmp_path: Path) -> None:
    file = experiments.write(tmp_path, experiments.SHORT)
    (tmp_path / "mine").write_text("x")
    code, output = nursery.run("run", file, "--out", tmp_path / "mine" / "run")
    assert code == 5, output
    assert output.splitlines()[-1].startswith(f"error: {tmp_path}/mine/run: Not a directory")
