import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from strategy_rl.episodes import (
    Episode,
    Step,
    json_line,
    plain,
    read_episodes,
    summary_of,
    write_episodes,
)
from strategy_rl.errors import RunError

STEP = Step(
    action=1,
    action_name="candidate 1",
    reward=-0.5,
    components={"wrong": -0.5},
    observation={"context": ["你好", "hi"], "candidates": ["a", "b"], "state": [3.0]},
    legal_actions=[0, 1],
    probabilities=[0.25, 0.75],
    value=0.1,
    expert_action=0,
    candidate_kinds=["gold", "random"],
    reward_inputs={"reply": "b"},
)
EPISODE = Episode(
    episode_id="test-7",
    stage="evaluation",
    iteration=0,
    seed=3,
    split="test",
    row=7,
    group="conversation 2",
    policy="ppo",
    terminated=True,
    steps=(STEP, replace(STEP, reward=1.25)),
)


def test_the_return_is_the_sum_of_the_rewards() -> None:
    assert EPISODE.return_ == 0.75


def test_a_file_gives_back_its_header_and_its_episodes(tmp_path: Path) -> None:
    path = tmp_path / "test-ppo.jsonl"
    bare = Episode("x", "sft", 1, 0, "train", None, None, "sft", False, (Step([0, 2], "", 0, {}),))
    write_episodes(path, [EPISODE, bare], {"task": "t"})
    assert read_episodes(path) == ({"task": "t", "schema": 1}, [EPISODE, bare])


def test_an_episode_line_shows_its_return_and_keeps_chinese_readable(tmp_path: Path) -> None:
    path = tmp_path / "test-ppo.jsonl"
    write_episodes(path, [EPISODE], {})
    line = path.read_text("utf-8").splitlines()[1]
    assert json.loads(line)["return"] == 0.75
    assert "你好" in line


def test_numpy_values_become_plain_and_what_is_not_finite_becomes_null() -> None:
    value = {"a": np.float32(0.5), "b": np.array([[1, 2]]), 3: (float("nan"), float("-inf"), True)}
    assert plain(value) == {"a": 0.5, "b": [[1, 2]], "3": [None, None, True]}
    assert json_line({"x": np.array([np.nan])}) == b'{"x":[null]}\n'


def test_a_lone_surrogate_survives_the_file() -> None:
    assert json.loads(json_line(["a\udc80b"])) == ["a\udc80b"]


def test_an_object_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="set"):
        plain({"a": {1, 2}})


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "test-ppo.jsonl"
    write_episodes(path, [EPISODE], {})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_episodes(path, [EPISODE, replace(EPISODE, group=object())], {})  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[1]", "expected an object, got list"),
        ('{"episode_id": "x"}', "'steps' is missing"),
        ('{"steps": [{"action": 1}]}', "'action_name' is missing"),
        ('{"steps": [3]}', "not an episode"),
    ],
)
def test_a_bad_line_is_named_by_file_and_line(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"schema": 1}\n' + line + "\n")
    with pytest.raises(RunError, match=rf"bad\.jsonl:2: .*{reason}"):
        read_episodes(path)


def test_another_schema_or_no_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.jsonl"
    for content in ('{"schema": 2}\n', ""):
        path.write_text(content)
        with pytest.raises(RunError, match=r"new\.jsonl:1: schema is .*, expected 1"):
            read_episodes(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere"):
        read_episodes(tmp_path / "nowhere.jsonl")


def test_the_summary_of_steps_by_hand() -> None:
    common = {"components": {"a": 1.0}, "value": 0.5}
    steps = [
        {**common, "action": 2, "action_name": "x", "reward": 1.0, "legal_actions": [0, 2]}
        | {"probabilities": [0.9, 0.1]},
        {**common, "action": [0, 1], "action_name": "y", "reward": -0.25, "logprob": -1.0},
        {**common, "action": [0.5, 1.0], "action_name": "x", "reward": 0.0, "logprob": 3.0},
    ]
    assert summary_of(steps) == {
        "length": 3,
        "value_error": 0.25,
        "least_probability": 0.1,
        "actions": {"x": 1, "y": 1},  # real numbers are never the same twice
        "components": {"a": 3.0},
    }
    assert summary_of(steps[1:2])["least_probability"] == pytest.approx(math.exp(-1.0))
    assert summary_of(steps[2:])["least_probability"] is None  # a density
    assert summary_of([])["value_error"] is None
