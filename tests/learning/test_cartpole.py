"""CartPole-v1 with the settings of the Stable-Baselines3 zoo, whose PPO has 500 of 500."""

import json

import pytest
from ladder import EXPERIMENTS

import strategy_rl
from strategy_rl.config import load_experiment


@pytest.mark.slow
def test_cartpole_is_balanced_after_100_000_steps_for_each_of_three_seeds(tmp_path):
    experiment = load_experiment(
        EXPERIMENTS / "cartpole.yaml", ["evaluation.bootstrap_samples=200"]
    )
    strategy_rl.run(experiment, seeds=[0, 1, 2], out=tmp_path / "cartpole")
    for seed in (0, 1, 2):
        folder = tmp_path / f"cartpole/seed-{seed}"
        judged = json.loads((folder / "report.json").read_text())["policies"]["ppo"]
        assert judged["episodes"] == 100
        assert judged["mean_return"] >= 475
        records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        assert max(record["step"] for record in records) == 391 * 8 * 32
