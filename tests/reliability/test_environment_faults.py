from __future__ import annotations

import re
from pathlib import Path

import pytest
import tiny_experiments as experiments
from comparison import snapshot, status_of
from nursery import Nursery
from reliability_tasks import FAULTS

EXPECTED = {
    "raise": "step() failed: RuntimeError: the wheel came off",
    "reset": "reset() failed: RuntimeError: the world is gone",
    "nan": "step() failed: ValueError: the reward is nan",
    "text": "step() failed: ValueError: could not convert string to float: 'much'",
    "mismatch": "step() failed: ValueError: the reward is ",
    "lost": "step() failed: ValueError: the reward is ",
    "mask": "an observation leaves no legal action; end the episode instead",
    "wide_mask": "an action mask has shape (5,), the action space asks for (3,)",
    "nan_state": "an observation holds numbers that are not finite",
    "no_state": "an observation does not fit its space: KeyError: 'state'",
}
REPLAY = re.compile(r"; to replay: reset\(seed=(\d+), options=None\), then actions \[[\d, ]*\]$")


def faulty(fault: str, rollout: str) -> experiments.Fields:
    return {
        **experiments.DRIFT,
        "task": {
            "id": "reliability_tasks:reliability/Drift-v0",
            "settings": {"expert": False, "fault": fault, "after": 40},
        },
        "sft": {"epochs": 0},
        "ppo": {
            "iterations": 9,
            "rollout": rollout,
            "num_envs": 4,
            "num_steps": 16,
            "episodes_per_iteration": 8,
            "minibatch_size": 16,
            "evaluate_every": 9,
        },
        "checkpoint": {"every": 1},
    }


def test_every_fault_is_tried() -> None:
    assert set(EXPECTED) == set(FAULTS)


QUICK = ("raise", "nan", "mismatch", "mask")
CASES = [pytest.param(f, marks=() if f in QUICK else pytest.mark.slow) for f in FAULTS]


@pytest.mark.parametrize("fault", CASES)
def test_a_failing_environment_stops_training_with_how_to_replay_it(
    fault: str, nursery: Nursery, tmp_path: Path
) -> None:
    rollout = "episodes" if FAULTS.index(fault) % 2 else "steps"
    file = experiments.write(tmp_path, faulty(fault, rollout))
    run = tmp_path / "run"
    code, output = nursery.run("run", file, "--out", run)
    assert code == 6, output
    error = output.splitlines()[-1]
    assert error.startswith(f"error: {EXPECTED[fault]}")
    assert REPLAY.search(error), error
    assert "Traceback" not in output
    assert output.splitlines()[:2] == ["prepare ...", "ppo ..."]
    status, reason = status_of(run)
    assert status == "failed"
    assert reason == error.replace("error: ", "EnvironmentFault: ")
    files = snapshot(run)
    assert not [name for name in files if ".tmp-" in name or ".lock" in name]
    assert [name for name in files if name.startswith("checkpoints/")], "it failed while training"


@pytest.mark.slow
def test_what_was_trained_before_a_fault_is_kept_and_goes_on_when_it_is_mended(
    nursery: Nursery, tmp_path: Path
) -> None:
    file, run = experiments.write(tmp_path, faulty("raise", "episodes")), tmp_path / "run"
    code, output = nursery.run("run", file, "--out", run)
    assert code == 6, output
    before = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert before
    code, output = nursery.run("resume", run, sabotage="mend")
    assert code == 0, output
    assert f"going on from checkpoint {int(before[-1][-8:])}" in output


def test_a_fault_that_appears_with_the_last_test_row_names_it_too(
    nursery: Nursery, tmp_path: Path
) -> None:
    fields = faulty("mismatch", "episodes")
    fields["task"]["settings"]["split_at_fault"] = "test"
    fields["task"]["settings"]["after"] = 0
    file = experiments.write(tmp_path, fields)
    code, output = nursery.run("run", file, "--out", tmp_path / "run")
    assert code == 6, output
    assert output.splitlines()[-2] == "evaluate ..."
    assert "its components {'nearness': -" in output
