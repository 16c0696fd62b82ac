"""Decisions per second of collecting and updating, beside MaskablePPO of sb3-contrib and a bound.

    python experiments/benchmarks/decisions_per_second.py [--rival-python PYTHON] [--json FILE]

2,000 rows of 10 candidates, vectors of 384 given numbers, networks of 64-64, 1,024 decisions a
round, 4 epochs of minibatches of 256. Each contender runs in its own process with one thread, all
take turns, and medians are compared. The README in this folder says what each row is.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from contest import Contender, Figures, Settings, machine, median, ratio, take_turns

OURS, RIVAL, BOUND = "ours", "MaskablePPO", "bound"
FEWER = "ours, projections learn in epoch 1"
SHAPES = {"8 x 128": Settings(num_envs=8, num_steps=128), "64 x 16": Settings()}
REQUIRED = {"8 x 128": 1.3, "64 x 16": 1.6}
SPEED, CPU_SPEED = "decisions_per_second", "decisions_per_cpu_second"
COLUMNS = (SPEED, CPU_SPEED, "peak_mb", "mean_return")


def contenders(settings: Settings, rival_python: str) -> list[Contender]:
    """Everything that is compared at one shape of rollouts."""
    frozen = replace(settings, freeze_projections=True)
    fewer = replace(settings, representation_epochs=1)
    whole = replace(settings, pair_features=True, kl_coef=0.05)
    return [
        Contender(OURS, "ours.py", settings),
        Contender(RIVAL, "rival.py", settings, rival_python),
        Contender(BOUND, "bound.py", settings),
        Contender(FEWER, "ours.py", fewer),
        Contender("ours, pair features and reference", "ours.py", whole),
        Contender("ours, projections frozen", "ours.py", frozen),
        Contender("bound, projections frozen", "bound.py", frozen),
    ]


def report(shape: str, runs: dict[str, list[Figures]]) -> dict[str, float]:
    """Print the table of one shape; gives the ratios that count."""
    print(f"\n{shape} (environments x steps)")
    print(f"{'':36}{'decisions/s':>12}{'/cpu s':>9}{'x rival':>9}{'peak MB':>9}{'return':>8}")
    for name, own in runs.items():
        speed, cpu_speed, peak, reached = (median(own, key) for key in COLUMNS)
        times = ratio(own, runs[RIVAL], SPEED)
        print(f"{name:36}{speed:12,.0f}{cpu_speed:9,.0f}{times:9.2f}{peak:9,.0f}{reached:8.2f}")
    ratios = {
        f"{key}: {ours} over {other}": ratio(runs[ours], runs[other], key)
        for ours in (OURS, FEWER)
        for other in (RIVAL, BOUND)
        for key in (SPEED, CPU_SPEED)
    }
    for name, value in ratios.items():
        print(f"{name:80}{value:6.2f}")
    print(f"required over {RIVAL}: {REQUIRED[shape]}; the goal: 2.0, and 0.5 of the bound")
    return ratios


def main() -> None:
    """Measure, print tables, and write JSON where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rival-python", default=sys.executable, help="has sb3-contrib")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=12, help="rounds of one measurement")
    parser.add_argument("--json", type=Path, help="also write the result there")
    args = parser.parse_args()
    result: dict[str, object] = {"machine": machine(), "repeats": args.repeats}
    for shape, settings in SHAPES.items():
        settings = replace(settings, iterations=args.iterations)
        runs = take_turns(contenders(settings, args.rival_python), args.repeats)
        result[shape] = {"runs": runs, "ratios": report(shape, runs)}
    print("\n" + json.dumps(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
