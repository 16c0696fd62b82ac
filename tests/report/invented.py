"""A small invented evaluation: eight conversations of two turns under four policies."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from strategy_rl.episodes import Episode, Step

MakeEpisode = Callable[..., Episode]
MakeRun = Callable[..., Path]

RIGHT, WRONG, HAND_OVER = 1.0, -0.5, -0.25


def make_step(choice: str, *, turn: int = 0, observed: bool = True) -> Step:
    """A step that chose the `right` or `wrong` candidate, or to `hand_over`."""
    action = {"right": 0, "wrong": 1, "hand_over": 2}[choice]
    reward = {"right": RIGHT, "wrong": WRONG, "hand_over": HAND_OVER}[choice]
    observation = {
        "context": ["hello", f"question {turn}"],
        "candidates": ["the right reply", "a wrong | reply"],
        "state": [1.0 - turn / 2, 0.0],
    }
    return Step(
        action=action,
        action_name="hand_over" if choice == "hand_over" else f"candidate {action}",
        reward=reward,
        components={choice: reward},
        observation=observation if observed else None,
        legal_actions=[0, 1, 2],
        probabilities=[0.5, 0.3, 0.2],
        value=0.0,
        expert_action=0,
        candidate_kinds=["gold", "random"],
    )


def make_episode(
    policy: str, row: int, choices: Sequence[str], *, group: str | None = None
) -> Episode:
    """An episode of a selection task, one word a step."""
    return Episode(
        episode_id=f"{policy}-{row}",
        stage="evaluation",
        iteration=0,
        seed=row,
        split="test",
        row=row,
        group=group,
        policy=policy,
        terminated=True,
        steps=tuple(make_step(choice, turn=turn) for turn, choice in enumerate(choices)),
    )


def policies(rows: int, seed: int) -> dict[str, list[Episode]]:
    """Each policy's episodes; PPO hands over where SFT errs, most of the time."""
    rng = np.random.default_rng(seed)
    chances = {"random": 0.3, "sft": 0.6, "threshold": 0.65, "ppo": 0.8, "expert": 1.0}
    played = {}
    for policy, chance in chances.items():
        other = "hand_over" if policy in ("ppo", "threshold") else "wrong"
        draws = rng.random((rows, 2)) < chance
        played[policy] = [
            make_episode(
                policy, row, ["right" if hit else other for hit in hits], group=f"talk {row // 2}"
            )
            for row, hits in enumerate(draws)
        ]
    return played


def metrics_line(i: int) -> dict[str, Any]:
    scalars = {
        "ppo/validation_return": 0.1 * i if i % 2 else None,
        "ppo/ref_kl": 0.01 * i,
        "ppo/entropy": 1.0 - 0.1 * i,
        "ppo/approx_kl": 0.005,
        "ppo/explained_variance": 0.5,
        "ppo/early_stopped": 0.0,
        "rollout/reward_spread_mean": 0.4,
    }
    return {"stage": "ppo", "step": 100 * i, "scalars": scalars}


def write_lines(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
