from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_experiments as experiments
import torch
from comparison import differences, newest, snapshot, status_of
from conftest import References, as_of
from nursery import Nursery

from strategy_rl.checkpoint import Checkpoints
from strategy_rl.errors import CheckpointError


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def nonsense(path: Path) -> None:
    path.write_bytes(b"[1, 2]")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


FILES = ("tensors.safetensors", "state.json", "MANIFEST.json")
HARM: list[Callable[[Path], None]] = [cut, flip, empty, nonsense, folder, Path.unlink]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_a_damaged_checkpoint_gives_way_to_the_one_before_with_a_warning(
    harm: Callable[[Path], None], name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    for number in (1, 2):
        checkpoints.save(number, {"weights": torch.full((8,), float(number))}, {"n": number})
    harm(tmp_path / "checkpoints" / "step-00000002" / name)
    found = checkpoints.load_newest()
    assert found is not None
    assert found.number == 1
    assert found.tensors["weights"].tolist() == [1.0] * 8
    assert re.search(r"step-00000002.* is damaged: .*; trying the one before", caplog.text)
    harm(tmp_path / "checkpoints" / "step-00000001" / name)
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* usable") as caught:
        checkpoints.load_newest()
    assert "step-00000001" in str(caught.value)
    assert "step-00000002" in str(caught.value)


@pytest.mark.parametrize(
    ("harm", "name"), [(flip, "tensors.safetensors"), (empty, "MANIFEST.json")]
)
def test_a_run_whose_newest_checkpoint_is_damaged_ends_the_same(
    harm: Callable[[Path], None],
    name: str,
    nursery: Nursery,
    reference_of: References,
    tmp_path: Path,
) -> None:
    reference = reference_of(experiments.DRIFT)
    run = as_of(reference, 99, tmp_path / "run")
    harm(newest(run) / name)
    code, output = nursery.run("resume", run)
    assert code == 0, output
    assert "is damaged" in output
    assert "trying the one before" in output
    assert differences(run, reference) == []


def test_a_run_without_a_good_checkpoint_never_starts_from_zero(
    nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    run = as_of(reference_of(experiments.DRIFT), 99, tmp_path / "run")
    for path in (run / "checkpoints").iterdir():
        cut(path / "tensors.safetensors")
    before = snapshot(run)
    code, output = nursery.run("resume", run)
    assert code == 4, output
    error = output.splitlines()[-1]
    assert error.startswith("error: no checkpoint in ")
    assert error.count("its digest differs") == 3
    assert "start a new run" in error
    assert status_of(run) == ("failed", error.replace("error: ", "CheckpointError: "))
    assert changed(run, before) == {"status.json"}


def changed(run: Path, before: dict[str, bytes]) -> set[str]:
    after = snapshot(run)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def edit_config(run: Path) -> str:
    config = run / "config.yaml"
    text = config.read_text()
    assert text.count("clip_range: 0.2") == 1
    config.write_text(text.replace("clip_range: 0.2", "clip_range: 0.3"))
    return "config.ppo.clip_range was 0.2, is 0.3; put the old config back, or start a new run"


def edit_reference(run: Path) -> str:
    flip(run / "policy-sft" / "model.safetensors")
    return "another reference: reference was '"


def lose_reference(run: Path) -> str:
    shutil.rmtree(run / "policy-sft")
    return "is 'missing'; put the old reference back, or start a new run"


def edit_format(run: Path) -> str:
    for path in run.glob("checkpoints/*/MANIFEST.json"):
        path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    return "checkpoint format 2, this version reads 1; resume with the version that wrote it"


def cut_metrics(run: Path) -> str:
    size = (run / "metrics.jsonl").stat().st_size
    cut(run / "metrics.jsonl")
    number = int(newest(run).name.removeprefix("step-"))
    return f"metrics.jsonl holds {size // 2} bytes, its checkpoint {number} was made after "


def lose_metrics(run: Path) -> str:
    (run / "metrics.jsonl").unlink()
    return "; put the whole file back, or start a new run"


@pytest.mark.parametrize(
    "harm", [edit_config, edit_reference, lose_reference, edit_format, cut_metrics, lose_metrics]
)
def test_what_does_not_belong_to_a_checkpoint_is_refused_until_it_is_put_back(
    harm: Callable[[Path], str], nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    reference = reference_of(experiments.DRIFT)
    run = as_of(reference, 99, tmp_path / "run")
    whole = snapshot(run)
    expected = harm(run)
    harmed = changed(run, whole)
    code, output = nursery.run("resume", run)
    assert code == 4, output
    assert expected in output.splitlines()[-1]
    assert status_of(run)[0] == "failed"
    for name in harmed:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_bytes(whole[name])
    code, output = nursery.run("resume", run)
    assert code == 0, output
    assert differences(run, reference) == []


def test_other_data_are_refused(nursery: Nursery, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "validation", "test"):
        (data / f"{split}.jsonl").write_text("".join(row(n) for n in range(12)))
    fields = {
        **experiments.SHORT,
        "task": {
            "id": "strategy_rl_envs:strategy_rl/ReplySelection-v0",
            "settings": {"data": str(data), "mode": "single"},
        },
        "backbone": {"model": "random:tiny"},
    }
    run, file = tmp_path / "run", experiments.write(tmp_path, fields)
    stop = {"place": "strategy_rl.updates:Updates.run", "signums": [15], "call": 2}
    code, output = nursery.run("run", file, "--out", run, sabotage="signal_at", **stop)
    assert code == 143, output
    (data / "train.jsonl").write_text("".join(row(n) for n in range(1, 13)))
    code, output = nursery.run("resume", run)
    assert code == 4, output
    assert "made with another data: data.train was '" in output
    (data / "train.jsonl").write_text("".join(row(n) for n in range(12)))
    code, output = nursery.run("resume", run)
    assert code == 0, output


def row(number: int) -> str:
    turn = {
        "id": f"r{number}",
        "context": [f"question {number} ?"],
        "candidates": [f"answer {number}", "no", "what ?"],
        "label": 0,
    }
    return json.dumps(turn) + "\n"


def test_a_run_that_moved_to_another_machine_goes_on_with_a_warning(
    nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    reference = reference_of(experiments.DRIFT)
    run = as_of(reference, 99, tmp_path / "run")
    environment = json.loads((run / "environment.json").read_text())
    environment["threads"] = 64
    environment["versions"]["torch"] = "1.0"
    (run / "environment.json").write_text(json.dumps(environment))
    code, output = nursery.run("resume", run)
    assert code == 0, output
    assert "this run began elsewhere" in output
    assert "threads was 64, is 1; versions.torch was '1.0', is " in output
    assert differences(run, reference) == []
