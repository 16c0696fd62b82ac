"""Run folders with invented episodes, as the front end's tests need them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

SCRIPT = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
CHINESE = "你好，我的订单还没有到。"
REPLIES = ("It is on its way.", CHINESE, SCRIPT, "Please ask a colleague of mine.")
SETTINGS = ("T 0", "T 0, keywords 6", "T 0.7")
WORDS = (" A", " small", " library", " that", " reads", "\n", "中文", " <b>files</b>", ".")


def write_runs(root: Path) -> None:
    """`replies` (candidates, probabilities, probes), `decoding` (pieces), `tokens`, `summaries`."""
    _write(
        root / "replies",
        "Replies-v0",
        {
            "probe": [
                _reply("probe", "sft", i, row, 0.1 * i) for i in range(0, 50, 5) for row in (0, 1)
            ],
            "test-sft": [_reply("test", "sft", 0, row, 0.2) for row in range(24)],
            "test-ppo": [_reply("test", "ppo", 0, row, 0.9) for row in range(24)],
        },
    )
    _write(root / "decoding", "Decoding-v0", {"test-ppo": [_decoded(row) for row in range(6)]})
    _write(root / "tokens", "Writing-v0", {"test-ppo": [_tokens(row) for row in range(3)]})
    _write(root / "summaries", "Summaries-v0", {"test-ppo": [_summary(row) for row in range(3)]})


def append_episode(root: Path) -> None:
    """One more test episode of `replies`, as a run that goes on writes it."""
    with (root / "replies" / "episodes" / "test-ppo.jsonl").open("a", encoding="utf-8") as file:
        file.write(_line(_reply("test", "ppo", 0, 24, 0.9)))


def _write(run: Path, task: str, files: dict[str, list[dict[str, Any]]]) -> None:
    (run / "episodes").mkdir(parents=True)
    (run / "config.yaml").write_text(f"task: {{id: {task}}}\nseed: 0\n", encoding="utf-8")
    (run / "status.json").write_text('{"status": "complete"}', encoding="utf-8")
    for name, episodes in files.items():
        lines = [_line({"schema": 1, "task": task}), *map(_line, episodes)]
        (run / "episodes" / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"


def _episode(split: str, policy: str, iteration: int, row: int, steps: list[Any]) -> dict[str, Any]:
    return {
        "episode_id": f"{split}-{policy}-{iteration}-{row}",
        "stage": "evaluation" if split == "test" else "ppo",
        "iteration": iteration,
        "seed": 0,
        "split": split,
        "row": row,
        "group": f"group-{row // 2}",
        "policy": policy,
        "terminated": True,
        "kind": "question" if row % 3 else "complaint",
        "return": sum(step["reward"] for step in steps),
        "steps": steps,
    }


def _step(reward: dict[str, float], **fields: Any) -> dict[str, Any]:
    return {
        "reward": sum(reward.values()),
        "components": reward,
        "observation": {},
        "value": None,
        "legal_actions": None,
        "probabilities": None,
        "expert_action": None,
        **fields,
    }


def _reply(split: str, policy: str, iteration: int, row: int, skill: float) -> dict[str, Any]:
    draw = random.Random(f"{split}{policy}{iteration}{row}")
    steps = [_turn(draw, skill, turn) for turn in range(1 + row % 4)]
    return _episode(split, policy, iteration, row, steps)


def _turn(draw: random.Random, skill: float, turn: int) -> dict[str, Any]:
    right = draw.randrange(4)
    action = right if draw.random() < skill else draw.randrange(4)
    weights = [draw.random() + (2 if i == action else 0) for i in range(4)]
    probabilities = [weight / sum(weights) for weight in weights]
    correct = 1.0 if action == right else -0.5
    return _step(
        {"correct": correct, "length": -0.05 * len(REPLIES[action]) / 10, "manners": 0.1},
        reward_values={"correct": correct, "length": len(REPLIES[action]) / 10, "manners": 0.5},
        action=action,
        action_name=f"candidate {action}" if action < 3 else "hand_over",
        legal_actions=[0, 1, 2, 3],
        probabilities=probabilities,
        legal_names=["candidate 0", "candidate 1", "candidate 2", "hand_over"],
        reference_probabilities=[0.25] * 4,
        reference_action=0,
        reference_name="candidate 0",
        kl=draw.random(),
        expert_action=right,
        value=draw.uniform(-0.5, 1.5),
        observation={
            "context": ["Where is my parcel?", SCRIPT, CHINESE][: turn + 1],
            "candidates": list(REPLIES[:3]),
            "state": [1.0 - turn / 4, 0.0, 1.0],
        },
        reward_inputs={"reference": REPLIES[right], "row": 3, "_tuples": []},
    )


def _decoded(row: int) -> dict[str, Any]:
    draw = random.Random(row)
    steps = [_piece(draw, place) for place in range(len(WORDS))]
    return _episode("test", "ppo", 0, row, steps)


def _piece(draw: random.Random, place: int) -> dict[str, Any]:
    chosen, expert = draw.randrange(3), draw.randrange(3)
    return _step(
        {"keyword_coverage": draw.uniform(-0.2, 0.5), "surprisal": draw.uniform(-0.3, 0.1)},
        action=[chosen, 0],
        action_name=SETTINGS[chosen],
        expert_action=[expert, 0],
        expert_name=SETTINGS[expert],
        text=WORDS[place],
        value=draw.uniform(0, 2),
        observation={"observation": [draw.gauss(0, 1) for _ in range(48)]},
    )


def _tokens(row: int) -> dict[str, Any]:
    draw = random.Random(row)
    tokens = [
        {
            "text": word,
            "logprob": -draw.expovariate(1),
            "reference_logprob": -draw.expovariate(1),
            "advantage": draw.gauss(0, 1),
            "value": draw.random(),
        }
        for word in WORDS
    ]
    text = "".join(WORDS)
    step = _step(
        {"overlap": 0.62},
        action=text,
        action_name=text,
        text=text,
        tokens=tokens,
        value=0.5,
        expert_action="A library.",
        log_ratio=0.3,
        observation={"observation": "Summarize in one short line: a library that reads files."},
    )
    return _episode("test", "ppo", 0, row, [step])


def _summary(row: int) -> dict[str, Any]:
    sentences = [
        "It reads files.",
        "This is useful for two reasons.",
        SCRIPT,
        CHINESE,
        "It is fast.",
    ]
    steps: list[dict[str, Any]] = [
        _step(
            {"recall_gain": 0.4 - 0.1 * turn},
            action=action,
            action_name=name,
            value=0.3,
            legal_actions=[0, 2, 5],
            legal_names=["candidate 0", "candidate 2", "stop"],
            probabilities=[0.6, 0.3, 0.1],
            expert_action=[0, 3, 5][turn],
            observation={"context": [], "candidates": sentences},
            reward_inputs={"reference": "It reads files fast."},
        )
        for turn, (action, name) in enumerate([(0, "candidate 0"), (2, "candidate 2"), (5, "stop")])
    ]
    return _episode("test", "ppo", 0, row, steps)
