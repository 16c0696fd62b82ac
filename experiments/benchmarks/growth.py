"""Decisions per second and peak memory against the number of rows and of candidates.

    python experiments/benchmarks/growth.py [--rows 1000 10000 100000] [--candidates 5 20 80]

A row adds two texts, its context and its right answer; the other candidates are right answers of
other rows. Everything is as in an experiment: pair features, and the KL to a reference.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from contest import Contender, Figures, Settings, machine, median, take_turns


def contender(num_rows: int, num_candidates: int, iterations: int) -> Contender:
    """One size, 64 environments x 16 steps."""
    settings = Settings(
        num_rows=num_rows,
        num_candidates=num_candidates,
        pool=True,
        pair_features=True,
        kl_coef=0.05,
        iterations=iterations,
    )
    return Contender(f"{num_rows} x {num_candidates}", "ours.py", settings)


def show(runs: dict[str, list[Figures]], rows: list[int], candidates: list[int]) -> None:
    """Two tables: speed and memory."""
    for title, key in (("decisions/s", "decisions_per_second"), ("peak MB", "peak_mb")):
        print(f"\n{title:>12}" + "".join(f"{f'K = {k}':>12}" for k in candidates))
        for n in rows:
            cells = (median(runs[f"{n} x {k}"], key) for k in candidates)
            print(f"{n:12,}" + "".join(f"{cell:12,.0f}" for cell in cells))


def main() -> None:
    """Measure, print two tables, and write JSON where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--candidates", type=int, nargs="+", default=[5, 20, 80])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=6, help="rounds of one measurement")
    parser.add_argument("--json", type=Path, help="also write the result there")
    args = parser.parse_args()
    sizes = [contender(n, k, args.iterations) for n in args.rows for k in args.candidates]
    runs = take_turns(sizes, args.repeats)
    show(runs, args.rows, args.candidates)
    result = {"machine": machine(), "repeats": args.repeats, "runs": runs}
    print("\n" + json.dumps(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
