from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_experiments as experiments
import torch
from comparison import differences, status_of
from conftest import References
from nursery import Nursery

from strategy_rl.checkpoint import Checkpoints

KILLED = 137
FILES = ("tensors.safetensors", "state.json", "MANIFEST.json")
NUMBERS = {"killed": None, "full": errno.ENOSPC, "broken": errno.EIO, "forbidden": errno.EACCES}


def old_checkpoint(folder: Path) -> None:
    Checkpoints(folder, keep=1).save(1, {"weights": torch.ones(3)}, {"n": 1})


def operations(trace: Path) -> list[str]:
    return trace.read_text().splitlines()


def test_a_save_killed_at_any_step_leaves_the_old_or_the_new_checkpoint(
    nursery: Nursery, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    old_checkpoint(tmp_path / "first")
    undisturbed = {"folder": str(tmp_path / "first"), "at": 0, "trace": str(trace)}
    assert nursery.run(sabotage="only_save", **undisturbed) == (0, "")
    steps = operations(trace)
    assert [step.split()[0] for step in steps].count("fsync") == 5  # 3 files, the folder, its place
    found = []
    for k in range(1, len(steps) + 1):
        folder = tmp_path / str(k)
        old_checkpoint(folder)
        code, _ = nursery.run(sabotage="only_save", folder=str(folder), at=k)
        assert code == KILLED
        newest = Checkpoints(folder, keep=1).load_newest()
        assert newest is not None
        assert newest.state == {"n": newest.number}
        assert newest.tensors["weights"].tolist() == [newest.number] * 3
        found.append(newest.number)
    renamed = next(k for k, step in enumerate(steps) if step.startswith("rename"))
    assert found == [1] * (renamed + 1) + [2] * (len(steps) - renamed - 1)
    assert 1 < renamed < len(steps) - 2


def test_what_a_power_cut_could_lose_is_on_the_disk_before_it_counts(
    nursery: Nursery, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    old_checkpoint(tmp_path)
    nursery.run(sabotage="only_save", folder=str(tmp_path), at=0, trace=str(trace))
    steps = operations(trace)
    renamed = next(k for k, step in enumerate(steps) if step.startswith("rename"))
    folder = steps[renamed].removeprefix("rename ")
    synced = [steps.index(f"fsync {name}") for name in FILES]
    for name, at in zip(FILES, synced, strict=True):
        assert at > steps.index(f"write {name}")
    # Their content, their names, the folder's new name; only then may the old one go.
    places = [steps.index(f"fsync {folder}"), renamed, steps.index("fsync checkpoints")]
    places.append(steps.index("remove step-00000001"))
    assert [max(synced), *places] == sorted({max(synced), *places})


@pytest.mark.parametrize("kind", ["full", "broken", "forbidden"])
def test_a_save_that_fails_at_any_step_says_so_and_leaves_no_litter(
    kind: str, nursery: Nursery, tmp_path: Path
) -> None:
    code, k = 5, 0
    while code == 5:
        k += 1
        folder = tmp_path / str(k)
        old_checkpoint(folder)
        code, output = nursery.run(
            sabotage="only_save", folder=str(folder), at=k, number=NUMBERS[kind]
        )
        newest = Checkpoints(folder, keep=1).load_newest()
        assert newest is not None
        assert newest.state == {"n": newest.number}
        assert all(path.name.startswith("step-") for path in (folder / "checkpoints").iterdir())
        if code == 5:
            assert output.startswith(str(folder / "checkpoints" / "step-0000000"))
            assert os.strerror(NUMBERS[kind] or 0) in output
    assert code == 0
    assert k > 15  # every step of the save failed once


def steps_of_a_save(steps: list[str]) -> Iterator[int]:
    """The steps, counted from 1, of the save of checkpoint 2, with the removal of checkpoint 1."""
    last = steps.index("remove step-00000001")
    first = max(k for k in range(last) if steps[k].startswith("rename") and "step" not in steps[k])
    yield from range(first + 1, last + 2)


@pytest.mark.parametrize(
    ("kind", "steps_wanted"),
    [
        pytest.param("killed", "all", marks=pytest.mark.slow),
        pytest.param("full", "save", marks=pytest.mark.slow),
        pytest.param("full", "all", marks=pytest.mark.nightly),
        pytest.param("broken", "all", marks=pytest.mark.nightly),
    ],
)
def test_a_run_stopped_at_any_write_resumes_to_the_same_end(
    kind: str, steps_wanted: str, nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    file, trace = experiments.write(tmp_path, experiments.SHORT), tmp_path / "trace"
    reference = reference_of(experiments.SHORT)
    straight = nursery.run(
        *("run", file, "--out", tmp_path / "run"), sabotage="break_disk", at=0, trace=str(trace)
    )
    assert straight[0] == 0, straight[1]
    steps = operations(trace)
    wanted = range(1, len(steps) + 1) if steps_wanted == "all" else steps_of_a_save(steps)
    for k in wanted:
        shutil.rmtree(tmp_path / "run")
        run, step = tmp_path / "run", f"{k}: {steps[k - 1]}"
        first = ("run", file, "--out", run)
        code, output = nursery.run(*first, sabotage="break_disk", at=k, number=NUMBERS[kind])
        if not step.endswith("remove .lock"):  # a lock that stays is taken over
            assert code == (KILLED if kind == "killed" else 5), f"{step}: {output}"
        if code == 5:
            assert f"error: {run}" in output, step
            assert os.strerror(NUMBERS[kind] or 0) in output, step
            assert not (run / "status.json").exists() or status_of(run)[0] == "failed", step
        code, output = nursery.run(*(("resume", run) if (run / "config.yaml").exists() else first))
        assert code == 0, f"{step}: {output}"
        # Killed before the oldest checkpoint was dropped, a run keeps it.
        assert differences(run, reference, same_numbers=False) == [], step


def test_a_disk_that_is_full_for_metrics_alone_does_not_stop_training(
    nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    run, file = tmp_path / "run", experiments.write(tmp_path, experiments.DRIFT)
    code, output = nursery.run(
        *("run", file, "--out", run), sabotage="full_record", first=4, last=30
    )
    assert code == 0, output
    assert output.count("training goes on, the lines wait in memory; free some space") >= 1
    assert differences(run, reference_of(experiments.DRIFT)) == []
