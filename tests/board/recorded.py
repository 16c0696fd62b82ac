"""Runs as a training leaves them, invented: two policies on rows of two kinds."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strategy_rl.episodes import Episode, Step, episode_to_json, json_line, write_episodes

TASK = "tests/Talk-v0"
NAMES = ("candidate 0", "candidate 1", "hand_over")
CONFIG = f"seed: 3\ntask: {{id: {TASK}}}\nppo: {{gamma: 0.5, gae_lambda: 0.5}}\n"


def step(action: int, reward: float = 1.0, **changes: Any) -> Step:
    """A step of a selection task with two candidates, one of which is the expert's."""
    fields: dict[str, Any] = {
        "action_name": NAMES[action],
        "components": {"bleu": reward + 0.25, "price": -0.25},
        "observation": {"context": ["hello"], "candidates": ["the right reply", "a wrong one"]},
        "legal_actions": [0, 1, 2],
        "probabilities": [0.5, 0.25, 0.25],
        "value": 0.0,
        "expert_action": 0,
        "legal_names": list(NAMES),
        "reward_values": {"bleu": 2 * reward + 0.5, "price": None},
        "expert_name": NAMES[0],
    }
    return Step(action=action, reward=reward, **{**fields, **changes})


def episode(policy: str, row: int | None, steps: Sequence[Step], **changes: Any) -> Episode:
    """An episode of the evaluation on the test rows."""
    fields: dict[str, Any] = {
        "episode_id": f"test-{policy}-{row}",
        "stage": "evaluation",
        "iteration": 0,
        "seed": 3,
        "split": "test",
        "row": row,
        "group": None,
        "policy": policy,
        "terminated": True,
        "steps": tuple(steps),
        "kind": None if row is None else ("even", "odd")[row % 2],
    }
    return Episode(**{**fields, **changes})


def write_run(folder: Path, **files: Sequence[Episode]) -> Path:
    """A run's folder with one episodes file a keyword."""
    (folder / "episodes").mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "status.json").write_text(json.dumps({"status": "complete", "reason": ""}))
    for name, episodes in files.items():
        path = folder / "episodes" / f"{name}.jsonl"
        write_episodes(path, episodes, {"task": TASK, "policy": name})
    return folder


def evaluated(folder: Path, rows: int = 6) -> Path:
    """SFT answers with candidate 0 throughout; PPO hands over on odd rows and earns row / 10."""
    sft = [episode("sft", row, [step(0, 0.0), step(0, 0.0)]) for row in range(rows)]
    ppo = [
        episode("ppo", row, [step(0, 0.0), step(2 if row % 2 else 0, row / 10)])
        for row in range(rows)
    ]
    return write_run(folder, sft=sft, ppo=ppo)


def kept(row: int, total: float, reasons: Sequence[str], **changes: Any) -> dict[str, Any]:
    """The line of an episode that was selected out of a training rollout of 64."""
    fields = {"stage": "ppo", "split": "train", "iteration": 3, "episode_id": f"train-{row}"}
    line = episode_to_json(episode("policy", row, [step(row % 3, total)], **fields))
    selection = {"reasons": reasons, "num_episodes": 64, "mean_return": 0.31, **changes}
    steps = line.pop("steps")
    return {**line, "selection": selection, "steps": steps}


def rollout() -> list[dict[str, Any]]:
    """What a rollout leaves: two episodes drawn at random, the best and the worst."""
    return [
        kept(0, 0.25, ["random"]),
        kept(1, 5.0, ["best"]),
        kept(2, -5.0, ["worst", "surprising"]),
        kept(3, 0.5, ["random", "surprising"]),
    ]


def write_lines(run: Path, lines: Sequence[dict[str, Any]], name: str = "train") -> Path:
    """Add an episodes file of lines as they stand."""
    (run / "episodes").mkdir(parents=True, exist_ok=True)
    text = b"".join(map(json_line, [{"schema": 1, "task": TASK}, *lines]))
    (run / "episodes" / f"{name}.jsonl").write_bytes(text)
    return run
