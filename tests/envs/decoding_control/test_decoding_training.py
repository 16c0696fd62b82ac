"""The trainer drives the native vector environment."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_models import comparable

from strategy_rl import Experiment, run
from strategy_rl.env import VectorSlots, make_slots

ID = "strategy_rl_envs:strategy_rl/DecodingControl-v0"


def test_the_trainer_takes_it_as_a_native_vector(settings, single):
    slots = make_slots(ID, settings, 3)
    assert isinstance(slots, VectorSlots)
    starts = slots.reset([0, 2], [5, 6], [{"row": 1}, {"row": 3}])
    assert [start.info["row"] for start in starts] == [1, 3]
    results = slots.step([0, 2], [np.array([1, 0, 0]), np.array([0, 0, 1])])
    assert results[1].terminated
    env = single()
    for seed, row, action, result in zip(
        (5, 6), (1, 3), ([1, 0, 0], [0, 0, 1]), results, strict=True
    ):
        env.reset(seed=seed, options={"row": row})
        obs, reward, terminated, _, info = env.step(action)
        np.testing.assert_allclose(result.obs, obs, rtol=1e-3, atol=1e-3)
        assert (result.reward, result.terminated) == (pytest.approx(reward), terminated)
        assert result.info == comparable(info)
    slots.close()


def test_a_run_of_ppo_trains_on_it_and_reports(settings, tmp_path):
    experiment = Experiment.model_validate(
        {
            "name": "decoding",
            "task": {"id": ID, "settings": settings},
            "reward": [
                {"name": "distinct_n", "weight": 1.0},
                {"name": "tokens_written", "weight": -0.02},
            ],
            "policy": {"hidden_sizes": [8]},
            "sft": {"epochs": 0},
            "ppo": {
                "iterations": 2,
                "num_envs": 4,
                "episodes_per_iteration": 8,
                "minibatch_size": 16,
                "normalize_observations": True,
            },
            "evaluation": {"episodes": 5, "rivals": ["random"], "bootstrap_samples": 50},
            "checkpoint": {"every": 1},
        }
    )
    run(experiment, out=tmp_path / "run")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    updates = [json.loads(line)["scalars"] for line in lines if "ppo/approx_kl" in line]
    assert len(updates) == 2
    for update in updates:
        assert update["ppo/updates_done"] >= 1
        assert update["rollout/decisions"] > update["rollout/episodes"] == 8
        assert -0.02 * 11 <= update["reward/tokens_written"] < 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert "ppo" in json.dumps(report)
