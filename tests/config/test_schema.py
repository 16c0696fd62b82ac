from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from strategy_rl.config import Experiment, Schedule, json_schema, name_fault, value_at

SMALL: dict[str, Any] = {"name": "small", "task": {"id": "T-v0"}}

GOOD_NAMES = ["a", "run-1", "A.b_c-9", "0", "x" * 64, "console", "com", "aux1"]
BAD_NAMES = [
    *["", ".", "..", "../x", "a/b", "a\\b", "/abs", "~", "-rf", ".hidden", "_x", "a..b", "a."],
    *["a b", "a\n", "a\0", "x" * 65, "名", "ｒun", "rüe", "a:b", "a*", "C:x", "%2e%2e"],
    *["con", "CON", "nul.txt", "Aux", "prn.a.b", "com1", "LPT9", "com0.x"],
]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_plain_names_are_accepted(name: str) -> None:
    assert Experiment.model_validate({**SMALL, "name": name}).name == name


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_leave_a_folder_or_name_a_device_are_refused(name: str) -> None:
    assert name_fault(name) is not None
    with pytest.raises(ValidationError, match="name"):
        Experiment.model_validate({**SMALL, "name": name})


def test_every_option_has_a_help_text() -> None:
    schema = json_schema()
    parts = {"Experiment": schema, **schema["$defs"]}
    fields = {
        f"{part}.{field}": details
        for part, content in parts.items()
        for field, details in content.get("properties", {}).items()
    }
    assert len(fields) > 80
    assert [name for name, details in fields.items() if not details.get("description")] == []


def test_experiments_cannot_be_changed() -> None:
    experiment = Experiment.model_validate(SMALL)
    with pytest.raises(ValidationError, match="frozen"):
        experiment.ppo.gamma = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("ppo", {"gamma": -0.1}),
        ("ppo", {"gamma": 1.1}),
        ("ppo", {"gae_lambda": 2}),
        ("ppo", {"clip_range": 0}),
        ("ppo", {"clip_range": {"from": 0, "to": 0.1}}),
        ("ppo", {"clip_range": {"from": 0.1, "to": -0.1}}),
        ("ppo", {"entropy_coef": -0.1}),
        ("ppo", {"learning_rate": -1e-3}),
        ("ppo", {"learning_rate": math.nan}),
        ("ppo", {"learning_rate": math.inf}),
        ("ppo", {"num_envs": 0}),
        ("ppo", {"num_envs": 2.0}),
        ("ppo", {"num_envs": True}),
        ("ppo", {"num_envs": "4"}),
        ("ppo", {"normalize_advantages": 1}),
        ("sft", {"dropout": 1.0}),
        ("sft", {"share": 0}),
        ("sft", {"batch_size": -1}),
        ("policy", {"hidden_sizes": [64, 0]}),
        ("policy", {"hidden_sizes": 64}),
        ("backbone", {"device": "gpu"}),
        ("backbone", {"model": ""}),
        ("evaluation", {"rivals": ["me"]}),
    ],
)
def test_values_out_of_range_or_of_another_type_are_refused(
    section: str, values: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        Experiment.model_validate({**SMALL, section: values})


def test_a_learning_rate_of_zero_is_allowed_for_diagnosis() -> None:
    experiment = Experiment.model_validate({**SMALL, "ppo": {"learning_rate": 0}})
    assert experiment.ppo.learning_rate == 0


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, "1"])
def test_a_seed_is_a_whole_number_below_two_to_the_32(seed: object) -> None:
    with pytest.raises(ValidationError, match="seed"):
        Experiment.model_validate({**SMALL, "seed": seed})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"backbone": {"train": "lora"}}, "backbone.model is null"),
        ({"sft": {"epochs": 0, "demonstrations": "d.jsonl"}}, "sft.epochs is 0"),
        ({"sft": {"epochs": 0}, "ppo": {"iterations": 0}}, "nothing would be trained"),
        ({"ppo": {"kl_coef": 0, "adaptive_kl": {"target": 1}}}, "ppo.kl_coef"),
        ({"reward": [{"name": "a"}, {"name": "a"}]}, "listed twice"),
        ({"reward": [{"name": "a", "weight": 0}]}, "all weights are 0"),
        ({"evaluation": {"reward": [{"name": "a", "weight": 0}]}}, "all weights are 0"),
        (
            {"ppo": {"rollout": "steps", "num_envs": 4, "num_steps": 8, "minibatch_size": 33}},
            "num_envs 4 x num_steps 8 = 32",
        ),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    values: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValidationError, match=expected):
        Experiment.model_validate({**SMALL, **values})


def test_a_minibatch_may_be_the_whole_round() -> None:
    ppo = {"rollout": "steps", "num_envs": 4, "num_steps": 8, "minibatch_size": 32}
    assert Experiment.model_validate({**SMALL, "ppo": ppo}).ppo.minibatch_size == 32


def test_a_schedule_moves_in_a_straight_line_and_then_stays() -> None:
    schedule = Schedule.model_validate({"from": 1.0, "to": 0.2, "over": 0.5})
    values = [schedule.at(progress) for progress in (0.0, 0.125, 0.25, 0.5, 0.75, 1.0)]
    assert values == pytest.approx([1.0, 0.8, 0.6, 0.2, 0.2, 0.2])


def test_a_plain_number_is_the_same_at_all_times() -> None:
    assert value_at(0.2, 0.0) == value_at(0.2, 1.0) == 0.2
    assert value_at(Schedule(start=1.0, to=0.0), 0.25) == 0.75  # type: ignore[call-arg]


bounds = st.floats(0, 100)


@given(bounds, bounds, st.floats(0.01, 1), st.floats(-1, 2))
def test_a_schedule_never_leaves_its_ends(
    start: float, to: float, over: float, progress: float
) -> None:
    value = Schedule.model_validate({"from": start, "to": to, "over": over}).at(progress)
    assert min(start, to) - 1e-9 <= value <= max(start, to) + 1e-9


def test_the_schema_is_closed_at_every_level() -> None:
    schema = json_schema()
    objects = [schema, *(d for d in schema["$defs"].values() if "properties" in d)]
    assert len(objects) > 10
    assert all(part["additionalProperties"] is False for part in objects)


def test_all_sections_are_documented_models() -> None:
    sections = [f.annotation for f in Experiment.model_fields.values()]
    models = [s for s in sections if isinstance(s, type) and issubclass(s, BaseModel)]
    assert len(models) == 9
    assert all(model.__doc__ for model in models)
