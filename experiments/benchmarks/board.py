"""How long the Policy tab takes over many episodes: the first index, a list, one episode.

    python experiments/benchmarks/board.py --episodes 50000

Episodes are invented, three steps each, and written as a run writes them. Times are the best of
five, but for the index, which is made once, and for the search, whose first time reads the disk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from strategy_rl.board.catalog import Catalog
from strategy_rl.board.routes import ROUTES
from strategy_rl.episodes import Episode, Step, write_episodes

NAMES = ("candidate 0", "candidate 1", "hand_over")
QUERIES = {
    "first page": ("/episodes", {}),
    "sorted": ("/episodes", {"sort": "return"}),
    "sorted by a component": ("/episodes", {"sort": "-component:bleu"}),
    "filtered and sorted": ("/episodes", {"policy": "ppo", "action": NAMES[2], "sort": "row"}),
    "searched": ("/episodes", {"text": "question 4999"}),
    "histogram": ("/histogram", {"component": "bleu"}),
    "curve": ("/curve", {}),
    "map": ("/map", {"by": "iteration"}),
    "warnings": ("/warnings", {}),
    "comparison": ("/compare", {"run_a": ".", "run_b": ".", "policy_a": "sft", "policy_b": "ppo"}),
    "runs": ("/runs", {}),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=50_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "episodes")
        folder.mkdir()
        path = folder / "test-all.jsonl"
        write_episodes(path, invented(options.episodes), {"task": "invented"})
        print(f"{options.episodes} episodes of 3 steps, {path.stat().st_size / 1e6:.0f} MB")
        measure(Path(name), path)


def measure(folder: Path, path: Path) -> None:
    """Print what each thing takes."""
    catalog = Catalog({folder: None})
    tell("first index", took(catalog.refresh))
    tell("nothing new", took(catalog.refresh))
    with path.open("ab") as file:
        file.write(path.read_bytes()[-100_000:].partition(b"\n")[2])
    tell("100 kB appended", took(catalog.refresh))
    key = catalog.run(".").entries()[0].head["key"]
    for label, (route, params) in {
        **QUERIES,
        "one episode": ("/episode", {"key": str(key)}),
    }.items():
        answer, given = ROUTES[route], {"run": ".", **params}
        times = [took(partial(answer, catalog, given)) for _ in range(5)]
        tell(label, min(times), times[0])


def invented(count: int) -> Iterator[Episode]:
    """Episodes of four policies over iterations and rows."""
    for number in range(count):
        policy = ("sft", "ppo", "random", "expert")[number % 4]
        yield Episode(
            episode_id=f"test-{policy}-{number}",
            stage="evaluation",
            iteration=number // 4 % 20,
            seed=0,
            split="test",
            row=number // 4,
            group=f"talk {number // 8}",
            policy=policy,
            terminated=True,
            steps=tuple(_step(number, turn) for turn in range(3)),
            kind=("question", "greeting")[number // 4 % 2],
        )


def _step(number: int, turn: int) -> Step:
    action = (number * 7 + turn * number // 3) % 3
    reward = (number * 37 % 1000) / 1000 - turn / 3
    return Step(
        action=action,
        action_name=NAMES[action],
        reward=reward,
        components={"bleu": reward + 0.1, "price": -0.1},
        observation={
            "context": ["hello there", f"question {number} of {turn}"],
            "state": [0.0, 1.0],
        },
        legal_actions=[0, 1, 2],
        probabilities=[0.5, 0.3, 0.2],
        value=0.25,
        expert_action=0,
        candidate_kinds=["gold", "random"],
        legal_names=list(NAMES),
        reward_values={"bleu": reward + 0.1, "price": 1.0},
        special=action == 2,
        expert_name=NAMES[0],
    )


def took(function: Callable[[], Any]) -> float:
    """Seconds that a call took."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def tell(label: str, seconds: float, first: float | None = None) -> None:
    """Print one row."""
    more = "" if first is None else f"   first {1000 * first:8.1f} ms"
    print(f"{label:24}{1000 * seconds:10.1f} ms{more}")


if __name__ == "__main__":
    main()
