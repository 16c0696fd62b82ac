"""What this machine can do at most: matrix products and reading memory, to bound other figures.

    python experiments/benchmarks/machine_rates.py [--threads 2] [--json FILE]

Products x W^T of the layers of a small language model (hidden size 576, inner size 1,536,
49,152 tokens): 512 rows as in training, 8 rows as in decoding. The best of several repeats counts,
since a neighbour can only slow it down; a bound uses the best shape. Memory is read through
vectors larger than any cache, once as a sum and once as a matrix times a vector, as decoding does.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn.functional import linear

SHAPES = {  # rows, inputs, outputs
    "hidden to hidden": (512, 576, 576),
    "hidden to inner": (512, 576, 1536),
    "inner to hidden": (512, 1536, 576),
    "hidden to vocabulary": (512, 576, 49152),
    "hidden to inner, 8 rows": (8, 576, 1536),
    "hidden to vocabulary, 8 rows": (8, 576, 49152),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def best_seconds(work: Callable[[], object], budget: float) -> float:
    """The shortest of the calls that fit into `budget` seconds, after one that warms up."""
    work()
    end, best = time.perf_counter() + budget, float("inf")
    while (start := time.perf_counter()) < end:
        work()
        best = min(best, time.perf_counter() - start)
    return best


def product_rate(shape: tuple[int, int, int], dtype: torch.dtype, budget: float) -> float:
    """GFLOP per second of one product, a multiplication and an addition counted as two."""
    rows, inputs, outputs = shape
    x, weight = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    seconds = best_seconds(lambda: linear(x, weight), budget)
    return 2 * rows * inputs * outputs / seconds / 1e9


def read_rates(gibibytes: float, budget: float) -> dict[str, float]:
    """GB per second, float32."""
    columns = 4096
    matrix = torch.ones(int(gibibytes * 2**30) // 4 // columns, columns)
    vector, size = torch.ones(columns), matrix.numel() * 4 / 1e9
    return {
        "sum": size / best_seconds(matrix.sum, budget),
        "matrix times vector": size / best_seconds(lambda: matrix @ vector, budget),
    }


def measure(gibibytes: float, budget: float) -> dict[str, object]:
    """All rates with the threads that are set."""
    products = {
        name: {shape: product_rate(SHAPES[shape], dtype, budget) for shape in SHAPES}
        for name, dtype in DTYPES.items()
    }
    reads = read_rates(gibibytes, budget)
    return {
        "threads": torch.get_num_threads(),
        "gflops": {name: max(rates.values()) for name, rates in products.items()},
        "read_gb_per_second": max(reads.values()),
        "gflops_by_shape": products,
        "read_by_kind": reads,
    }


@torch.inference_mode()
def main() -> None:
    """Measure and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure")
    parser.add_argument("--gib", type=float, default=1.0, help="memory that is read")
    parser.add_argument("--json", type=Path, help="also write the result there")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rates = measure(args.gib, args.seconds)
    print(json.dumps(rates))
    if args.json:
        args.json.write_text(json.dumps(rates, indent=2) + "\n")


if __name__ == "__main__":
    main()
