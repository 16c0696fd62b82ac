"""A run's folder when work on it goes on."""

from __future__ import annotations

from pathlib import Path

import torch

from strategy_rl.checkpoint import Checkpoints
from strategy_rl.config import Experiment, TaskConfig
from strategy_rl.episodes import Episode, Step, read_episodes
from strategy_rl.logger import EpisodeLog
from strategy_rl.session import Session, Signals


def episode(number: int) -> Episode:
    steps = (Step(0, "0", 1.0, {}),)
    return Episode(f"e{number}", "ppo", number, 0, "train", 0, None, "policy", True, steps)


def test_episodes_after_the_checkpoint_are_dropped_even_where_no_more_are_kept(
    tmp_path: Path,
) -> None:
    log = EpisodeLog(tmp_path / "episodes", "train", {})
    log.add([episode(0)])
    offset = log.offset
    log.add([episode(1)])
    log.close()
    state = {"stage": "ppo", "metrics_offset": 0, "identity": {}, "counters": {}}
    tensors = {"policy.weight": torch.zeros(1)}
    Checkpoints(tmp_path, 3).save(1, tensors, {**state, "episode_offsets": {"train": offset}})

    experiment = Experiment(name="x", task=TaskConfig(id="x"))
    Session(tmp_path, experiment, Signals()).close()
    _, kept = read_episodes(tmp_path / "episodes" / "train-00000.jsonl")
    assert [e.episode_id for e in kept] == ["e0"]
