"""Response tokens generated and trained per second, beside TRL's PPOTrainer and a bound.

    python experiments/benchmarks/token_ppo.py --rival-python VENV/bin/python [--json FILE]

SmolLM2-135M, 8 prompts of 32 tokens, 32 new tokens each, 2 PPO epochs of one minibatch, a KL
penalty to a reference. The rival runs twice: with a value model as large as the policy, as its
documentation has it, and with a useless tiny one, to show what that costs. Every contender runs in
a process of its own, with the same threads; they take turns, and medians of the turns count. The
bound is what the matrix products and the weights that are read would take at the machine's best
measured rates; the README in this folder says what is in it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contest import Figures, machine, median, ratio, take_turns

from strategy_rl.models import resolve_model

HERE = Path(__file__).parent
MODEL = "package:smollm2-135m-instruct"
RIVAL = "TRL PPOTrainer, float32"
RIVAL_TINY = "the same, value model tiny"
SHAPE = {"prompts": 8, "prompt_tokens": 32, "new_tokens": 32, "epochs": 2}
REQUIRED = {"full, float32": (1.4, 1.8), "lora, bfloat16": (2.5, 3.5), "last 2 blocks": (4.0, 6.0)}
OURS: dict[str, dict[str, Any]] = {
    "full, float32": {"train": "full", "dtype": "float32"},
    "lora, bfloat16": {"train": "lora", "dtype": "bfloat16"},
    "last 2 blocks": {"train": "last_n", "dtype": "bfloat16"},
}
BLOCKS, HIDDEN, INNER, KEYS, VOCABULARY = 30, 576, 1536, 192, 49152  # of SmolLM2-135M
BLOCK = 2 * HIDDEN * HIDDEN + 2 * HIDDEN * KEYS + 3 * HIDDEN * INNER
HEAD = VOCABULARY * HIDDEN


@dataclass(frozen=True)
class Contender:
    """A script in a process of its own; its last line is its figures."""

    name: str
    command: list[str]
    threads: int
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self) -> Figures:
        """One measurement."""
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        own = os.environ | dict.fromkeys(names, str(self.threads)) | dict(self.environment)
        done = subprocess.run(self.command, env=own, stdout=subprocess.PIPE, check=True, text=True)
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
        return figures


def contenders(rival_python: str, threads: int, rounds: int) -> list[Contender]:
    """The rival in two ways, ours in three."""
    root = HERE.parents[1]
    paths = {"PYTHONPATH": f"{root}:{root / 'envs'}"}
    common = {"model": MODEL, "last_n": 2, "threads": threads, "rounds": rounds, **SHAPE}
    rival = [rival_python, str(HERE / "token_ppo_rival.py"), "--model", str(resolve_model(MODEL))]
    rival += ["--threads", str(threads), "--updates", str(rounds)]
    script = str(HERE / "token_ppo_ours.py")
    return [
        Contender(RIVAL, rival, threads),
        Contender(RIVAL_TINY, [*rival, "--value", "tiny"], threads),
        *(
            Contender(name, [sys.executable, script, json.dumps(common | own)], threads, paths)
            for name, own in OURS.items()
        ),
    ]


def bound_seconds(name: str, rates: Mapping[str, float]) -> dict[str, float]:
    """The least seconds of a round by phase: products at full rate, weights read once a step."""
    rows, read = SHAPE["prompts"], SHAPE["prompt_tokens"]
    new, epochs = SHAPE["new_tokens"], SHAPE["epochs"]
    half, learns = name != "full, float32", name.partition(",")[0]
    rate = rates["bfloat16" if half else "float32"]
    size = 2 if half else 4
    positions, written = rows * (read + new - 1), rows * new
    trunk = BLOCKS * BLOCK
    top = 2 * BLOCK if learns == "last 2 blocks" else trunk
    top_rate = rates["float32"] if learns == "last 2 blocks" else rate
    step_bytes = (trunk - (top if top != trunk else 0)) * size + HEAD * 4
    step_bytes += top * 4 if top != trunk else 0
    decode = new * step_bytes / rates["bytes"]
    generate = decode + 2 * trunk * rows * read / rate
    reading = 2 * top * positions / top_rate + 2 * HEAD * written / rates["float32"]
    reads = 2 if learns == "lora" else 1  # in bfloat16 the old log-probabilities are read again
    products = {"full": 6, "lora": 4, "last 2 blocks": 6}[learns]
    head = 8 if learns == "full" else 4  # forward, state gradient; weight gradient, forward again
    training = products * top * positions / top_rate + head * HEAD * written / rates["float32"]
    return {"generate": generate, "judge": reads * reading, "update": epochs * training}


def report(runs: Mapping[str, list[Figures]], rates: Mapping[str, float]) -> dict[str, Any]:
    """Print the table; gives the ratios."""
    tokens = SHAPE["prompts"] * SHAPE["new_tokens"]
    print(f"{'':26}{'tokens/s':>9}{'x rival':>9}{'peak MB':>9}{'x rival':>9}{'of bound':>10}")
    found: dict[str, Any] = {}
    for name, own in runs.items():
        speed, peak = median(own, "tokens_per_second"), median(own, "peak_mb")
        times = ratio(own, runs[RIVAL], "tokens_per_second")
        memory = ratio(own, runs[RIVAL], "peak_mb")
        bound = bound_seconds(name, rates) if name in OURS else {}
        share = sum(bound.values()) / (tokens / speed) if bound else None
        printed = "" if share is None else f"{share:.0%}"
        print(f"{name:26}{speed:9.1f}{times:9.2f}{peak:9,.0f}{memory:9.2f}{printed:>10}")
        found[name] = {"times": times, "memory": memory, "share_of_bound": share}
    print("\nseconds of a round by phase: measured (bound)")
    for name in OURS:
        bound = bound_seconds(name, rates)
        parts = [
            f"{phase} {median([run['phases'] for run in runs[name]], phase):.2f} ({least:.2f})"
            for phase, least in bound.items()
        ]
        print(f"{name:26}{', '.join(parts)}")
    print("\nrequired and hoped for, times the rival:")
    for name, (least, goal) in REQUIRED.items():
        print(f"{name:26}{least} and {goal}")
    return found


def main() -> None:
    """Measure, print tables, and write JSON where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rival-python", required=True, help="has TRL 1.12.0")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3, help="of one measurement, after one more")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the result there")
    args = parser.parse_args()
    measured = subprocess.run(
        [sys.executable, str(HERE / "machine_rates.py"), "--threads", str(args.threads)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    given = json.loads(measured.stdout.splitlines()[-1])
    rates = {name: 1e9 * value for name, value in given["gflops"].items()}
    rates["bytes"] = 1e9 * given["read_gb_per_second"]
    every = contenders(args.rival_python, args.threads, args.rounds)
    runs = take_turns(every, args.repeats)  # type: ignore[arg-type]  # both have name and run
    result = {"machine": machine(), "rates": rates, "runs": runs, "ratios": report(runs, rates)}
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
