"""What a finished run shows of its policies, and what playing them again costs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from strategy_rl import Experiment, run
from strategy_rl.backbone import Backbone
from strategy_rl.errors import EnvironmentFault, RunError
from strategy_rl.logger import METRICS, read_record
from strategy_rl.runner import Run, evaluate
from strategy_rl_envs import reward

TINY = {
    "name": "tiny",
    "task": {"id": "strategy_rl_envs:strategy_rl/TinyReply-v0", "settings": {"num_rows": 24}},
    "backbone": {"model": "random:tiny"},
    "sft": {"epochs": 1},
    "ppo": {"iterations": 1, "episodes_per_iteration": 8},
    "evaluation": {"episodes": 6, "rivals": [], "bootstrap_samples": 50},
    "logging": {"tensorboard": False, "digest_episodes": 2},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("tiny")
    cache = {"cache_dir": str(folder / "cache")}
    fields = {**TINY, "backbone": {**TINY["backbone"], **cache}}  # type: ignore[dict-item]
    return run(Experiment.model_validate(fields), out=folder / "run")


def test_playing_a_policy_again_encodes_no_text_anew(
    finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a text was encoded")

    monkeypatch.setattr(Backbone, "encode_block", refuse)
    assert evaluate(finished.path, policy="sft").startswith("sft on test: mean return ")


@pytest.mark.parametrize("iterations", [0, 1])
def test_a_policy_is_judged_again_by_the_scales_of_its_run(iterations: int, tmp_path: Path) -> None:
    fields = {
        **TINY,
        "name": "scaled",
        "backbone": {"model": "random:tiny", "cache_dir": str(tmp_path / "cache")},
        "reward": [{"name": "right_answer", "scale": "running"}],
        "ppo": {"iterations": iterations, "episodes_per_iteration": 8},
    }
    done = run(Experiment.model_validate(fields), out=tmp_path / "run")
    mean = done.report["policies"]["sft"]["mean_return"]
    assert evaluate(done.path, policy="sft").startswith(f"sft on test: mean return {mean:.3f} ")
    if iterations:
        shutil.rmtree(done.path / "checkpoints")
        with pytest.raises(RunError, match="the checkpoint that holds the scales is gone"):
            evaluate(done.path, policy="sft")


def test_the_reward_that_judges_is_tried_before_anything_is_trained(tmp_path: Path) -> None:
    @reward
    def never_right(right: bool) -> float:
        return 0.0 if right else float("nan")

    fields = {**TINY, "name": "judged", "evaluation": {"reward": [{"name": "never_right"}]}}
    with pytest.raises(EnvironmentFault, match="never_right"):
        run(Experiment.model_validate(fields), out=tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_every_figure_of_an_evaluation_in_the_table_of_metrics_is_logged(finished: Run) -> None:
    entries = [e for e in read_record(finished.path / "metrics.jsonl") if e["stage"] == "evaluate"]
    logged = {name: v for entry in entries for name, v in entry.get("scalars", {}).items()}
    parts = {name.split("/")[2] for name in logged}
    known = {m.pattern.split("/")[2] for m in METRICS if m.pattern.startswith("eval/")}
    assert parts == known - {"kl_to_sft"}  # of texts alone
    figures = finished.report["policies"]["ppo"]
    assert logged["eval/ppo/mean_length"] == figures["mean_length"]
    assert logged["eval/ppo/episodes"] == 6
    for kind, share in figures["action_shares"].items():
        assert logged[f"eval/ppo/action_share/{kind}"] == share
    for name, value in figures["components"].items():
        assert logged[f"eval/ppo/component/{name}"] == value


def test_the_text_tab_has_the_worst_and_the_best_episode_of_each_policy(finished: Run) -> None:
    texts = {
        name: text
        for entry in read_record(finished.path / "metrics.jsonl")
        for name, text in entry.get("texts", {}).items()
    }
    assert set(texts) == {"episodes/sft", "episodes/ppo"}
    assert texts["episodes/ppo"].count("**ppo, row ") == 2
