from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from strategy_rl.config import Experiment, dump_yaml, json_schema, load_experiment

TRAPS = ["no", "1e-5", "0x1f", "0o17", "010", "12:30:00", "~", "", " a ", "a: b", "# x", "*a", "<<"]
TRAPS += [
    "=",
    "2026-01-31",
    "true",
    ".nan",
    "null",
    "1_000",
    "- a",
    "\ufeff",
    "a\u2028b",
    "\x85",
    "😀",
]

texts = st.sampled_from(TRAPS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def load_back(experiment: Experiment, folder: Path) -> Experiment:
    path = folder / "dumped.yaml"
    path.write_text(dump_yaml(experiment), encoding="utf-8")
    return load_experiment(path)


@given(st.dictionaries(texts, values, max_size=4))
@example({text: text for text in TRAPS})
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_is_dumped_loads_back_equal(tmp_path: Path, task_settings: dict[str, Any]) -> None:
    task = {"id": "T-v0", "settings": task_settings}
    experiment = Experiment.model_validate({"name": "x", "task": task})
    again = load_back(experiment, tmp_path)
    assert again == experiment
    assert json.dumps(again.task.settings) == json.dumps(experiment.task.settings)


def test_every_section_and_schedule_survives_the_round_trip(tmp_path: Path) -> None:
    ppo = {
        "clip_range": {"from": 0.2, "to": 0.0},
        "adaptive_kl": {"target": 6},
        "adam_eps": 1e-10,
        "target_kl": 0.02,
    }
    experiment = Experiment.model_validate(
        {
            "name": "x",
            "task": {"id": "T-v0"},
            "reward": [{"name": "a", "weight": -1, "settings": {"k": [1, "no"]}}],
            "backbone": {"model": "m", "train": "lora", "lora": {"target_modules": ["q"]}},
            "policy": {"hidden_sizes": []},
            "sft": {"early_stopping": None},
            "ppo": ppo,
            "evaluation": {"rivals": [], "reward": [{"name": "b"}]},
        }
    )
    assert load_back(experiment, tmp_path) == experiment


def test_the_dump_holds_every_default() -> None:
    text = dump_yaml(Experiment.model_validate({"name": "x", "task": {"id": "T-v0"}}))
    keys = {line.strip().split(":")[0] for line in text.splitlines()}
    schema = json_schema()
    reward_terms = {"weight"}  # a list that is empty by default
    for section in ("BackboneConfig", "PolicyConfig", "SFTConfig", "PPOConfig", "LoggingConfig"):
        assert set(schema["$defs"][section]["properties"]) - reward_terms <= keys


def test_the_schema_knows_extends_and_is_json() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert "extends" in schema["properties"]
    assert schema["required"] == ["name", "task"]
