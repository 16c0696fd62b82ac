"""A resume that forgets one part of the state must not go unnoticed.

The parts are read from a checkpoint, so a part that is added later is covered by itself.
"""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_experiments as experiments
from comparison import differences
from conftest import References, as_of
from nursery import Nursery

from strategy_rl.checkpoint import Checkpoint, Checkpoints

pytestmark = pytest.mark.slow

# A checkpoint with no evaluation right after it: a best score that was forgotten is logged.
KEPT = {
    **experiments.SCALED,
    "name": "scaled-sparsely-judged",
    "ppo": {**experiments.SCALED["ppo"], "evaluate_every": 2},
    "checkpoint": {"every": 1, "keep": 99},
}
# So fast that the validation loss goes up and down: SFT stops early, with a best score before.
WRITER = {
    **experiments.TEXTS,
    "name": "texts-sparsely-judged",
    "backbone": {**experiments.TEXTS["backbone"], "learning_rate": 0.05},
    "sft": {
        **experiments.TEXTS["sft"],
        "epochs": 10,
        "early_stopping": {"metric": "loss", "patience": 2},
    },
    "ppo": {**experiments.TEXTS["ppo"], "rollout": "steps", "num_envs": 4, "num_steps": 3},
    "checkpoint": {"every": 1, "keep": 99},
}
Parts = Mapping[str, list[str]]


def checkpoints_of(run: Path) -> dict[int, Checkpoint]:
    """All of a run, by number."""
    folders = (run / "checkpoints").iterdir()
    numbers = sorted(int(path.name.removeprefix("step-")) for path in folders)
    loaded = {}
    for number in numbers:
        alone = run.parent / "alone"
        shutil.rmtree(alone, ignore_errors=True)
        shutil.copytree(
            run / "checkpoints" / f"step-{number:08d}",
            alone / "checkpoints" / f"step-{number:08d}",
        )
        checkpoint = Checkpoints(alone, keep=1).load_newest()
        assert checkpoint is not None
        loaded[number] = checkpoint
    return loaded


def parts_of(checkpoint: Checkpoint) -> Parts:
    """What a checkpoint is made of: each counter, each tensor of the network, kinds of the rest."""
    parts: dict[str, list[str]] = defaultdict(list)
    for name in checkpoint.tensors:
        if name.startswith("policy.backbone."):
            parts["policy.backbone"].append(name)
        elif name.startswith("policy."):
            parts[name].append(name)
        elif name.startswith("best."):
            parts["best weights"].append(name)
        else:
            parts[re.sub(r"\.\d+\.", ".", name)].append(name)
    for name in checkpoint.state["counters"]:
        parts[f"counters.{name}"].append(f"counters.{name}")
    return parts


def moments(checkpoints: Mapping[int, Checkpoint], stage: str) -> list[int]:
    """Where to resume from: the middle of a stage, its end, then everywhere else."""
    numbers = [n for n, found in checkpoints.items() if found.state["stage"] == stage]
    middle = numbers[len(numbers) // 2]
    return [middle, numbers[-1], *(n for n in numbers if n not in (middle, numbers[-1]))]


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_a_part_of_the_state_that_a_resume_forgets_shows_in_the_result(
    stage: str, nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    wanted = {"best weights", "counters.best_score", "optimizer.exp_avg", "optimizer.step"}
    wanted |= {"policy.network.normalizer.mean", "policy.network.value_head.0.weight"}
    wanted |= {
        "sft": {"counters.epoch", "counters.stale", "counters.stopped"},
        "ppo": {"counters.kl_coef", "counters.return_count", "counters.next_episode"}
        | {"counters.reward_sums", "counters.judge_sums"},
    }[stage]
    signs = signs_of(stage, wanted, nursery, reference_of(KEPT), tmp_path)
    assert len(signs) > 10
    assert [part for part, sign in signs.items() if sign is None] == []


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_a_part_of_the_state_of_a_policy_that_writes_shows_too(
    stage: str, nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    wanted = {"best weights", "counters.best_score", "optimizer.exp_avg", "optimizer.exp_avg_sq"}
    wanted |= {"optimizer.step", "policy.backbone", "policy.network.layers.0.weight"}
    wanted |= {
        "sft": {"counters.epoch", "counters.stale", "counters.stopped"},
        "ppo": {"counters.iteration", "counters.kl_coef", "counters.return_squares"},
    }[stage]
    signs = signs_of(stage, wanted, nursery, reference_of(WRITER), tmp_path)
    assert [part for part, sign in signs.items() if sign is None] == []
    if stage == "ppo":
        assert {"counters.kl_coef", "policy.backbone", "optimizer.step"} <= set(signs)


def signs_of(
    stage: str, wanted: set[str], nursery: Nursery, reference: Path, folder: Path
) -> dict[str, str | None]:
    """What shows that a part is forgotten, for each that a stage changes; `wanted` are parts."""
    checkpoints = checkpoints_of(reference)
    numbers = moments(checkpoints, stage)
    parts = parts_of(checkpoints[numbers[0]])
    still = unchanging([checkpoints[number] for number in numbers])
    assert wanted <= set(parts) | still
    return {
        part: first_sign(part, names, numbers, nursery, reference, folder)
        for part, names in parts.items()
        if part not in still
    }


def test_a_backbone_that_learns_is_part_of_the_state(
    nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    kept = {"name": "adapters-all-kept", "checkpoint": {"every": 1, "keep": 99}}
    reference = reference_of({**experiments.ADAPTERS, **kept})
    checkpoints = checkpoints_of(reference)
    for stage in ("sft", "ppo"):
        numbers = moments(checkpoints, stage)
        names = parts_of(checkpoints[numbers[0]])["policy.backbone"]
        assert len(names) > 3
        assert first_sign("adapters", names, numbers, nursery, reference, tmp_path)


def unchanging(checkpoints: list[Checkpoint]) -> set[str]:
    """Tensors that a stage leaves alone: as SFT does with the value head."""
    first, *others = (checkpoint.tensors for checkpoint in checkpoints)
    return {name for name in first if all(first[name].equal(other[name]) for other in others)}


def first_sign(
    part: str, names: list[str], numbers: list[int], nursery: Nursery, reference: Path, folder: Path
) -> str | None:
    """What shows that a resume has forgotten a part, from the first checkpoint where it does."""
    for number in numbers:
        run = as_of(reference, number, folder / f"{part}-{number}")
        code, output = nursery.run("resume", run, sabotage="forget", names=names)
        found = [output.splitlines()[-1]] if code else differences(run, reference)
        shutil.rmtree(run)
        if found:
            return f"from {number}: {found[0]}"
    return None


def without(checkpoint: Checkpoint, names: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors and state of a checkpoint in which something was never saved."""
    tensors = {name: tensor for name, tensor in checkpoint.tensors.items() if name not in names}
    counters = {
        name: value
        for name, value in checkpoint.state["counters"].items()
        if f"counters.{name}" not in names
    }
    return tensors, {**checkpoint.state, "counters": counters}


@pytest.mark.parametrize("fields", [KEPT, WRITER], ids=["picks", "writes"])
def test_a_part_of_the_state_that_was_never_saved_is_missed(
    fields: experiments.Fields, nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    reference = reference_of(fields)
    checkpoints = checkpoints_of(reference)
    number = moments(checkpoints, "ppo")[0]
    for part, names in parts_of(checkpoints[number]).items():
        run = as_of(reference, number, tmp_path / part)
        Checkpoints(run, keep=99).save(number, *without(checkpoints[number], names))
        code, output = nursery.run("resume", run)
        assert code or differences(run, reference) != [], f"{part}: {output}"


def leaves(state: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Dotted names of what a state holds beside the counters."""
    for name, value in state.items():
        if isinstance(value, Mapping) and name not in ("counters", "config"):
            yield from leaves(value, f"{place}{name}.")
        elif name != "counters":
            yield place + name


def changed(state: Mapping[str, Any], leaf: str) -> dict[str, Any]:
    """The state with one leaf made another, whatever it is."""
    first, _, rest = leaf.partition(".")
    value = state[first]
    if rest:
        return {**state, first: changed(value, rest)}
    if isinstance(value, Mapping):
        return {**state, first: {**value, "seed": -1}}
    return {**state, first: value - 1 if isinstance(value, int) else value[::-1]}


def test_everything_else_that_a_checkpoint_says_is_heeded(
    nursery: Nursery, reference_of: References, tmp_path: Path
) -> None:
    reference = reference_of(KEPT)
    checkpoints = checkpoints_of(reference)
    number = moments(checkpoints, "ppo")[0]
    tensors, state = checkpoints[number].tensors, checkpoints[number].state
    found = list(leaves(state))
    assert {"stage", "metrics_offset", "identity.config", "identity.reference"} <= set(found)
    assert "identity.data.train" in found
    for leaf in found:
        run = as_of(reference, number, tmp_path / leaf)
        Checkpoints(run, keep=99).save(number, tensors, changed(state, leaf))
        code, output = nursery.run("resume", run)
        if leaf.startswith("identity."):
            assert code == 4, f"{leaf}: {output}"
            assert f"made with another {leaf.split('.')[1]}: " in output
        else:
            assert code or differences(run, reference) != [], leaf
