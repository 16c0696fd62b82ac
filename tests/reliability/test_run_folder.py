from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import tiny_experiments as experiments
from comparison import differences, snapshot, status_of
from conftest import References, as_of
from nursery import Nursery


def test_a_second_process_in_a_run_folder_is_refused(
    nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    file, run = experiments.write(tmp_path, experiments.DRIFT), tmp_path / "run"
    first = nursery.start("run", file, "--out", run)
    while not (run / "status.json").is_file():
        time.sleep(0.005)
    first.send(signal.SIGSTOP)  # alive, and busy for as long as this test needs
    try:
        code, output = nursery.run("run", file, "--out", run)
        assert code == 2, output
        assert output.startswith(f"error: {run} exists already; ")
        for verb in ("resume", "evaluate"):
            code, output = nursery.run(verb, run)
            assert code == 2, output
            assert output.startswith(f"error: {run} is in use by process {first.pid} on ")
    finally:
        first.send(signal.SIGCONT)
    assert first.wait() == 0, first.output()
    assert differences(run, reference_of(experiments.DRIFT)) == []


@pytest.mark.parametrize("place", ["a run", "a folder with something in it", "a file"])
def test_run_never_overwrites(
    place: str, nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    file, out = experiments.write(tmp_path, experiments.DRIFT), tmp_path / "out"
    if place == "a run":
        out = reference_of(experiments.DRIFT)
    elif place == "a file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine").write_text("mine")
    before = out.read_bytes() if out.is_file() else snapshot(out)
    code, output = nursery.run("run", file, "--out", out)
    assert code == 2, output
    assert output.startswith(f"error: {out} ")
    assert "--out" in output
    assert (out.read_bytes() if out.is_file() else snapshot(out)) == before


def test_an_empty_folder_and_the_rests_of_a_killed_start_are_no_run(
    nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    file, run = experiments.write(tmp_path, experiments.SHORT), tmp_path / "run"
    run.mkdir()
    (run / ".tmp-config.yaml-0a1b2c3d").write_text("name: sho")
    (run / "seeds.json").write_text('{"seeds": [1, 2]}')
    code, output = nursery.run("resume", run)
    assert code == 2, output
    assert f"{run} is no run folder: it holds no config.yaml" in output
    code, output = nursery.run("run", file, "--out", run)
    assert code == 0, output
    assert differences(run, reference_of(experiments.SHORT)) == []
    assert not (run / "seeds.json").exists()


def test_resuming_a_complete_run_changes_nothing(
    nursery: Nursery, reference_of: References
) -> None:
    run = reference_of(experiments.DRIFT)
    before = snapshot(run)
    assert ".lock" not in before
    code, output = nursery.run("resume", run)
    assert code == 0, output
    assert "policy" in output
    assert snapshot(run) == before


DAMAGE = ["{", '{"status": 1}', None, "", "[]", "{}", "\0\0"]
CASES = [pytest.param(d, marks=pytest.mark.slow if n > 2 else ()) for n, d in enumerate(DAMAGE)]


@pytest.mark.parametrize("damage", CASES)
def test_a_damaged_status_does_not_keep_a_run_from_going_on(
    damage: str | None, nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    reference = reference_of(experiments.SHORT)
    run = as_of(reference, 99, tmp_path / "run")
    if damage is None:
        (run / "status.json").unlink()
    else:
        (run / "status.json").write_text(damage)
    code, output = nursery.run("resume", run)
    assert code == 0, output
    assert differences(run, reference) == []


def test_a_complete_run_that_lost_its_report_makes_it_again(
    nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    reference = reference_of(experiments.SHORT)
    run = as_of(reference, 99, tmp_path / "run")
    (run / "status.json").write_text('{"status": "complete", "reason": ""}')
    code, output = nursery.run("resume", run)
    assert code == 0, output
    assert differences(run, reference) == []


def test_a_run_of_several_seeds_goes_on_where_it_was_killed(
    nursery: Nursery, tmp_path: Path
) -> None:
    seeds = ("3", "5")
    file = experiments.write(tmp_path, experiments.SHORT)
    straight, run = tmp_path / "straight", tmp_path / "run"
    code, output = nursery.run("run", file, "--seeds", *seeds, "--out", straight)
    assert code == 0, output
    life = nursery.start("run", file, "--seeds", *seeds, "--out", run)
    while not (run / "seed-5" / "checkpoints").is_dir():
        time.sleep(0.005)
    life.send(signal.SIGKILL)
    assert life.wait() == -signal.SIGKILL
    assert status_of(run / "seed-3")[0] == "complete"
    done = snapshot(run / "seed-3")
    code, output = nursery.run("resume", run)
    assert code == 0, output
    assert snapshot(run / "seed-3") == done
    for seed in seeds:
        assert differences(run / f"seed-{seed}", straight / f"seed-{seed}") == []
    reports = [json.loads((path / "report.json").read_text()) for path in (straight, run)]
    for report in reports:
        del report["timings_s"]
    assert reports[0] == reports[1]
    assert reports[0]["policies"]
    before = snapshot(run)
    assert nursery.run("resume", run)[0] == 0
    assert snapshot(run) == before


@pytest.mark.slow
def test_a_start_with_seeds_that_is_killed_at_any_write_never_becomes_a_run_of_one(
    nursery: Nursery, tmp_path: Path
) -> None:
    file, trace = experiments.write(tmp_path, experiments.SHORT), tmp_path / "trace"
    argv = ("run", file, "--seeds", "3", "5", "--out")
    nursery.run(
        *(*argv, tmp_path / "whole"), sabotage="break_disk", at=40, number=5, trace=str(trace)
    )
    steps = trace.read_text().splitlines()
    ready = next(k for k, step in enumerate(steps) if step.startswith("rename .tmp-config")) + 1
    for k in range(1, ready + 1):
        run = tmp_path / str(k)
        code, _ = nursery.run(*argv, run, sabotage="break_disk", at=k)
        assert code == 137
        assert not (run / "config.yaml").exists()
        code, output = nursery.run("resume", run)
        assert code == 2, output


def test_a_reader_that_stops_early_does_not_stop_the_run(
    nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    file, run = experiments.write(tmp_path, experiments.SHORT), tmp_path / "run"
    code, _ = nursery.run("run", file, "--out", run, sabotage="speak_to_nobody")
    assert code == 0
    assert differences(run, reference_of(experiments.SHORT)) == []
    run = as_of(reference_of(experiments.SHORT), 99, tmp_path / "other")
    shutil.rmtree(run / "policy-sft")
    code, _ = nursery.run("resume", run, sabotage="speak_to_nobody")
    assert code == 4  # the exit code tells what nobody read
