"""Run folders with invented episodes: what a training logs, its probe rows, what was judged."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from strategy_rl.episodes import Episode, Selection, Step, write_episodes

POLICIES = ("sft", "ppo", "random", "expert")
NAMES = ("candidate 0", "candidate 1", "candidate 2", "hand_over")
TASK = "Invented-v0"
PROBE_ROWS, PROBE_PERIOD = 6, 10
TURNS = 3


def write_run(folder: Path, seed: int, episodes: int, iterations: int) -> None:
    """A fifth of the episodes judge four policies; PPO logged the rest, and six probe rows."""
    (folder / "episodes").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"task: {{id: {TASK}}}\nseed: {seed}\n", "utf-8")
    (folder / "status.json").write_text('{"status": "complete"}', "utf-8")
    draw = random.Random(seed)
    probes, rows = list(probed(draw, iterations)), episodes // 5 // len(POLICIES)
    left = episodes - len(probes) - rows * len(POLICIES)
    files = {
        "train": trained(draw, left, iterations),
        "probe": probes,
        **{f"test-{name}": judged(draw, name, rows) for name in POLICIES},
    }
    for name, written in files.items():
        path = folder / "episodes" / f"{name}.jsonl"
        write_episodes(path, written, {"task": TASK, "split": name.partition("-")[0]})


def trained(draw: random.Random, count: int, iterations: int) -> Iterator[Episode]:
    """Episodes that PPO kept of its rounds."""
    for number in range(count):
        iteration = number * iterations // count
        yield _episode(draw, "ppo", "train", "policy", iteration, number, draw.randrange(5000))


def probed(draw: random.Random, iterations: int) -> Iterator[Episode]:
    """The same rows before SFT and whenever PPO was judged."""
    moments = [("untrained", 0), ("sft", 0)]
    moments += [("ppo", i) for i in range(PROBE_PERIOD, iterations + 1, PROBE_PERIOD)]
    for stage, iteration in moments:
        for row in range(PROBE_ROWS):
            yield _episode(draw, stage, "probe", "policy", iteration, row, row)


def judged(draw: random.Random, policy: str, rows: int) -> Iterator[Episode]:
    """One policy on every test row."""
    for row in range(rows):
        yield _episode(draw, "evaluation", "test", policy, 0, row, row)


def _episode(
    draw: random.Random,
    stage: str,
    split: str,
    policy: str,
    iteration: int,
    number: int,
    row: int,
) -> Episode:
    return Episode(
        episode_id=f"{split}-{policy}-{number}",
        stage=stage,
        iteration=iteration,
        seed=0,
        split=split,
        row=row,
        group=f"talk {row // 2}",
        policy=policy,
        terminated=True,
        steps=tuple(_step(draw, row, turn) for turn in range(TURNS)),
        kind=("question", "greeting")[row % 2],
        selection=Selection(("random",), 64, draw.random()) if split == "train" else None,
    )


def _step(draw: random.Random, row: int, turn: int) -> Step:
    action, expert, reference, greedy = (draw.randrange(len(NAMES)) for _ in range(4))
    bleu, price = draw.random() / TURNS, -0.1 * draw.random()
    return Step(
        action=action,
        action_name=NAMES[action],
        reward=bleu + price,
        components={"bleu": bleu, "price": price},
        observation={
            "context": ["hello there", f"question {row} of turn {turn}"],
            "candidates": [f"answer {name} to question {row}" for name in NAMES[:3]],
            "state": [draw.random(), 1.0],
        },
        legal_actions=[0, 1, 2, 3],
        probabilities=_distribution(draw),
        value=draw.random(),
        expert_action=expert,
        candidate_kinds=["gold", "random", "random"],
        legal_names=list(NAMES),
        reward_values={"bleu": bleu, "price": price},
        special=action == 3,
        expert_name=NAMES[expert],
        logprob=-draw.expovariate(1.0),
        entropy=draw.random(),
        greedy_action=greedy,
        greedy_name=NAMES[greedy],
        reference_action=reference,
        reference_name=NAMES[reference],
        reference_probabilities=_distribution(draw),
        kl=draw.random(),
    )


def _distribution(draw: random.Random) -> list[float]:
    weights = [draw.random() for _ in NAMES]
    return [weight / sum(weights) for weight in weights]
