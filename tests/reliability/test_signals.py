from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
import tiny_experiments as experiments
from comparison import differences, status_of
from conftest import References
from nursery import Nursery

TERM, INT, HUP = int(signal.SIGTERM), int(signal.SIGINT), int(signal.SIGHUP)


PLACES = {
    "prepare": ("strategy_rl.stages.teaching:roll_expert", 2),
    "sft": ("strategy_rl.sft:judge", 2),
    "ppo": ("strategy_rl.updates:Updates.run", 3),
    "evaluate": ("strategy_rl.judging.judge:play", 2),
}
WRITING = {
    "sft": ("strategy_rl.token_lessons:TokenLessons.judge", 2),
    "ppo": ("strategy_rl.token_updates:TokenMethod.update", 3),
}
QUICK = {
    ("texts", "ppo", TERM),
    ("replies", "prepare", TERM),
    ("replies", "sft", INT),
    ("replies", "evaluate", HUP),
}
QUICK |= {("drift", "ppo", TERM)}


CASES = [
    pytest.param(
        *(name, place, call, signum),
        marks=() if (name, stage, signum) in QUICK else pytest.mark.slow,
        id=f"{name}-{stage}-{signum}",
    )
    for name, places in (("replies", PLACES), ("drift", PLACES), ("texts", WRITING))
    for stage, (place, call) in places.items()
    for signum in (TERM, INT, HUP)
]


@pytest.mark.parametrize(("name", "place", "call", "signum"), CASES)
def test_a_signal_in_any_stage_stops_the_run_and_a_resume_ends_the_same(
    name: str,
    place: str,
    call: int,
    signum: int,
    nursery: Nursery,
    reference_of: References,
    tmp_path: Path,
) -> None:
    fields, run = experiments.EVERY[name], tmp_path / "run"
    file = experiments.write(tmp_path, fields)
    arguments = {"place": place, "signums": [signum], "call": call}
    code, output = nursery.run("run", file, "--out", run, sabotage="signal_at", **arguments)
    assert code == 128 + signum, output
    assert f"signal {signum}: stopping at the next safe point" in output
    assert f"error: interrupted by signal {signum}; continue with `strategy-rl resume`" in output
    status, reason = status_of(run)
    assert status == "preempted"
    assert f"signal {signum}" in reason
    code, output = nursery.run("resume", run)
    assert code == 0, output
    assert differences(run, reference_of(fields), same_numbers=False) == []


def test_a_signal_saves_what_was_done_since_the_last_checkpoint(
    nursery: Nursery, tmp_path: Path
) -> None:
    file = experiments.write(tmp_path, experiments.REPLIES)
    code, output = nursery.run(
        *("run", file, "--out", tmp_path / "run"),
        sabotage="signal_at",
        place="strategy_rl.updates:Updates.run",
        signums=[TERM],
        call=5,  # checkpoints are due after iterations 4 and 6
    )
    assert code == 143, output
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    assert '"iteration": 5' in (newest / "state.json").read_text()


def test_a_second_signal_leaves_at_once_with_the_last_checkpoint_intact(
    nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    run, file = tmp_path / "run", experiments.write(tmp_path, experiments.REPLIES)
    code, output = nursery.run(
        *("run", file, "--out", run),
        sabotage="signal_at",
        place="strategy_rl.updates:Updates.run",
        signums=[INT, TERM],
        call=5,
    )
    assert code == 143, output
    assert "error" not in output
    assert status_of(run)[0] == "running"
    newest = sorted((run / "checkpoints").iterdir())[-1]
    assert '"iteration": 4' in (newest / "state.json").read_text()
    code, output = nursery.run("resume", run)
    assert code == 0, output
    assert differences(run, reference_of(experiments.REPLIES)) == []


@pytest.mark.slow
def test_a_signal_while_the_report_is_written_lets_it_end(
    nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    run, file = tmp_path / "run", experiments.write(tmp_path, experiments.DRIFT)
    code, output = nursery.run(
        *("run", file, "--out", run),
        sabotage="signal_at",
        place="strategy_rl.stages.stages:write_report",
        signums=[TERM],
    )
    assert code == 0, output
    assert differences(run, reference_of(experiments.DRIFT)) == []


def test_what_nohup_ignores_stays_ignored(
    nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    run, file = tmp_path / "run", experiments.write(tmp_path, experiments.DRIFT)
    code, output = nursery.run(
        *("run", file, "--out", run),
        sabotage="signal_at",
        place="strategy_rl.updates:Updates.run",
        signums=[HUP],
        ignored=[HUP],
    )
    assert code == 0, output
    assert differences(run, reference_of(experiments.DRIFT)) == []


@pytest.mark.parametrize(
    ("name", "signals"),
    [
        pytest.param("replies", 15, marks=pytest.mark.slow),
        pytest.param("drift", 10, marks=pytest.mark.slow),
        pytest.param("replies", 50, marks=pytest.mark.nightly),
        pytest.param("adapters", 50, marks=pytest.mark.nightly),
    ],
)
def test_signals_at_random_moments_end_like_none(
    name: str, signals: int, nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    fields = experiments.EVERY[name]
    file, reference = experiments.write(tmp_path, fields), reference_of(fields)
    sent: list[float] = []
    for number in range(signals):
        run = tmp_path / f"run-{number}"
        life = nursery.start("run", file, "--out", run)
        while not (run / "status.json").is_file():
            time.sleep(0.01)
        sent.append(random.uniform(0, 2.5))
        time.sleep(sent[-1])
        life.send(TERM)
        told = time.monotonic()
        code = life.wait()
        assert time.monotonic() - told < 5
        if code == -TERM:  # it came after the end, while the table was printed
            assert status_of(run)[0] == "complete"
        elif code:
            assert code == 143, life.output()
            code, output = nursery.run("resume", run)
            assert code == 0, output
        assert differences(run, reference, same_numbers=False) == [], sent
