"""Run folders with invented episodes, as the front end's tests need them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

SCRIPT = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"
CHINESE = "你好，我的订单还没有到。"
REPLIES = ("It is on its way.", CHINESE, SCRIPT, "Please ask a colleague of mine.")
TEMPERATURES, KEYWORDS = (0, 0.7, 1.2), (0, 6)
DECODING = "strategy_rl_envs:strategy_rl/DecodingControl-v0"
SUMMARIES = "strategy_rl_envs:strategy_rl/Summarization-v0"
WORDS = (" A", " small", " library", " that", " reads", "\n", "中文", " <b>files</b>", ".")


def write_runs(root: Path) -> None:
    """`replies` (candidates, probabilities, probes, training), `decoding`, `tokens`, `summaries`.

    `decoding` has texts in pieces and actions of two factors, `tokens` one written action each,
    `long` many iterations.
    """
    _write(
        root / "replies",
        "Replies-v0",
        {
            "probe": [
                _reply("probe", "sft", i, row, 0.1 * i) for i in range(0, 50, 5) for row in (0, 1)
            ],
            "test-sft": [_reply("test", "sft", 0, row, 0.2) for row in range(24)],
            "test-ppo": [_reply("test", "ppo", 0, row, 0.9) for row in range(24)],
            "train": [_kept(i, row) for i in range(10) for row in range(4)],
        },
    )
    kept = [_kept(i, row) for i in range(300) for row in (0, 1)]
    _write(root / "long", "Replies-v0", {"probe": _probed_for_long(), "train": kept})
    knobs = {"temperature": [0.0, 0.7, 1.2], "keyword_bonus": [0.0, 6.0], "top_p": [1.0]}
    _write(root / "decoding", DECODING, {"test-ppo": [_decoded(row) for row in range(6)]}, knobs)
    _write(root / "tokens", "Writing-v0", {"test-ppo": [_tokens(row) for row in range(3)]})
    for name in ("summaries", "growing"):
        _write(root / name, SUMMARIES, {"test-ppo": [_summary(row) for row in range(3)]})


def append_episodes(root: Path, first: int = 3) -> None:
    """Thirty more test episodes of `growing`, of a new iteration, as a run writes them."""
    with (root / "growing" / "episodes" / "test-ppo.jsonl").open("a", encoding="utf-8") as file:
        made = ({**_summary(row), "iteration": first} for row in range(first, first + 30))
        file.writelines(map(_line, made))


def _write(
    run: Path,
    task: str,
    files: dict[str, list[dict[str, Any]]],
    knobs: dict[str, list[float]] | None = None,
) -> None:
    (run / "episodes").mkdir(parents=True)
    config = {"task": {"id": task, "settings": {"knobs": knobs}}, "seed": 0}
    (run / "config.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
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


def _kept(iteration: int, row: int) -> dict[str, Any]:
    """One of four out of a rollout of 64; that of row 1 was cut."""
    found = _reply("train", "policy", iteration, row, 0.1 * iteration)
    reasons = (["random"], ["random", "surprising"], ["best"], ["worst", "surprising"])[row]
    change = {2: 3.0, 3: -3.0}.get(row, 0.0)
    found["steps"][-1]["reward"] += change
    found["steps"][-1]["components"]["correct"] += change
    for step in found["steps"]:
        step["advantage"] = step["reward"] - step["value"]
    selection = {"reasons": reasons, "num_episodes": 64, "mean_return": 0.1 * iteration}
    cut = {"terminated": row != 1, "final_value": 0.75 if row == 1 else None}
    steps = found.pop("steps")
    total = found["return"] + change
    return {**found, **cut, "return": total, "selection": selection, "steps": steps}


def _probed_for_long() -> list[dict[str, Any]]:
    """Two rows at 104 moments: before training, after three epochs, every third iteration."""
    epochs, iterations = (1, 2, 3), range(0, 300, 3)
    moments = [("untrained", 0), *(("sft", i) for i in epochs), *(("ppo", i) for i in iterations)]
    return [
        {**_reply("probe", "policy", i, row, i / 300), "stage": stage}
        for stage, i in moments
        for row in (0, 1)
    ]


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


def _setting(action: list[int]) -> str:
    keywords = f", keywords {KEYWORDS[action[1]]}" if action[1] else ""
    return f"T {TEMPERATURES[action[0]]:g}{keywords}"


def _piece(draw: random.Random, place: int) -> dict[str, Any]:
    chosen, expert = ([draw.randrange(3), draw.randrange(2)] for _ in range(2))
    return _step(
        {"keyword_coverage": draw.uniform(-0.2, 0.5), "surprisal": draw.uniform(-0.3, 0.1)},
        action=chosen,
        action_name=_setting(chosen),
        greedy_action=[1, 0],
        greedy_name=_setting([1, 0]),
        reference_action=[0, 1],
        reference_name=_setting([0, 1]),
        factor_probabilities=[[0.2, 0.5, 0.3], [0.6, 0.4]],
        reference_factor_probabilities=[[0.7, 0.2, 0.1], [0.1, 0.9]],
        expert_action=expert,
        expert_name=_setting(expert),
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
            "value": draw.random(),  # advantages are computed from them
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
            reward_inputs={"reference": "It reads files fast.", "output": "It reads files."},
        )
        for turn, (action, name) in enumerate([(0, "candidate 0"), (2, "candidate 2"), (5, "stop")])
    ]
    return _episode("test", "ppo", 0, row, steps)
