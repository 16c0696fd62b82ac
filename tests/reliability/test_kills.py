from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import pytest
import tiny_experiments as experiments
from comparison import differences
from conftest import References, as_of
from nursery import Nursery


def disturb(
    nursery: Nursery,
    fields: experiments.Fields,
    reference: Path,
    folder: Path,
    *,
    kills: int,
    plots: bool,
) -> None:
    """Run and resume until `kills` lives were killed; whatever ends must equal the reference."""
    file = experiments.write(folder, fields)
    longest = 1.2 * sum(seconds(reference)) + 0.3
    moments: list[float] = []
    number = 0
    while len(moments) < kills:
        run = folder / f"run-{number}"
        number += 1
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            begun = (run / "config.yaml").is_file()
            argv = ("resume", run) if begun else ("run", file, "--out", run)
            life = nursery.start(*argv, plots=plots)
            if len(moments) < kills:
                moment = random.uniform(0, longest)
                time.sleep(moment)
                life.send(signal.SIGKILL)
            code = life.wait()
            if code == -signal.SIGKILL:
                moments.append(moment)
        assert code == 0, life.output()
        assert differences(run, reference, same_numbers=False) == [], moments
        longest = min(longest, 1.2 * sum(seconds(run)) + 0.3)  # the reference may have had to wait


def seconds(run: Path) -> list[float]:
    entries = map(json.loads, (run / "timings.jsonl").read_text().splitlines())
    return [value for entry in entries for value in entry["scalars"].values()]


@pytest.mark.parametrize(
    ("fields", "kills"),
    [
        pytest.param(experiments.REPLIES, 3, id="replies"),
        pytest.param(experiments.DRIFT, 2, id="drift"),
        pytest.param(experiments.TEXTS, 2, id="texts"),
        pytest.param(experiments.REPLIES, 8, id="replies-slow", marks=pytest.mark.slow),
        pytest.param(experiments.DRIFT, 6, id="drift-slow", marks=pytest.mark.slow),
        pytest.param(experiments.ADAPTERS, 6, id="adapters-slow", marks=pytest.mark.slow),
        pytest.param(experiments.TEXTS, 6, id="texts-slow", marks=pytest.mark.slow),
        pytest.param(experiments.TEXT_ADAPTERS, 6, id="text-adapters-slow", marks=pytest.mark.slow),
        pytest.param(experiments.REPLIES, 70, id="replies-night", marks=pytest.mark.nightly),
        pytest.param(experiments.DRIFT, 70, id="drift-night", marks=pytest.mark.nightly),
        pytest.param(experiments.ADAPTERS, 60, id="adapters-night", marks=pytest.mark.nightly),
        pytest.param(experiments.TEXTS, 70, id="texts-night", marks=pytest.mark.nightly),
        pytest.param(
            experiments.TEXT_ADAPTERS, 60, id="text-adapters-night", marks=pytest.mark.nightly
        ),
    ],
)
def test_a_run_killed_at_random_moments_ends_as_if_it_had_not_been(
    fields: experiments.Fields,
    kills: int,
    nursery: Nursery,
    reference_of: References,
    tmp_path: Path,
) -> None:
    plots = kills > 5  # pictures take half of the time
    reference = reference_of(fields, plots=plots)
    disturb(nursery, fields, reference, tmp_path, kills=kills, plots=plots)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(experiments.EVERY))
def test_a_run_resumed_from_any_of_its_checkpoints_ends_the_same(
    name: str, nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    fields = experiments.EVERY[name]
    kept = {**fields, "name": f"{name}-kept", "checkpoint": {**fields["checkpoint"], "keep": 99}}
    reference = reference_of(kept)
    last = len(list((reference / "checkpoints").iterdir()))
    assert last >= 6
    for number in range(1, last + 1):
        run = as_of(reference, number, tmp_path / str(number))
        code, output = nursery.run("resume", run)
        assert code == 0, output
        assert differences(run, reference) == [], f"from checkpoint {number}"


@pytest.mark.parametrize(
    "name",
    [
        "texts",
        pytest.param("text-adapters", marks=pytest.mark.slow),
        pytest.param("adapters", marks=pytest.mark.slow),
    ],
)
def test_the_same_seed_gives_the_same_bytes_twice_and_another_seed_others(
    name: str, nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    file = experiments.write(tmp_path, experiments.EVERY[name])
    reference = reference_of(experiments.EVERY[name])
    for run, seed in (("same", 0), ("other", 1)):
        code, output = nursery.run("run", file, f"seed={seed}", "--out", tmp_path / run)
        assert code == 0, output
    assert differences(tmp_path / "same", reference) == []
    assert "metrics.jsonl" in differences(tmp_path / "other", reference)
