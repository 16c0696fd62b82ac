"""How much a second epoch over a frozen encoder saves: texts encoded cold against looked up warm.

    python experiments/benchmarks/feature_cache.py [--texts 2000] [--threads 2] [--json FILE]

One process. `cold` encodes, `disk` is a fresh cache over the shards that were written, `memory` the
same cache asked again, `table` the lookup of ids on the policy's hot path.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from strategy_rl.backbone import Backbone, BackboneSettings, load_backbone
from strategy_rl.features import FeatureCache, TextTable
from strategy_rl.models import resolve_model

_WORDS = (
    *("I", "you", "we", "they", "think", "like", "want", "need", "see", "know", "really", "maybe"),
    *("never", "always", "today", "music", "film", "food", "friend", "work", "school", "house"),
    *("city", "good", "bad", "new", "old", "what", "why", "how", "when", "great", "fun"),
)


def invented_texts(count: int, seed: int = 0) -> list[str]:
    """Distinct texts of 3 to 30 words, about as long as the turns of a chat."""
    rng = random.Random(seed)
    texts: set[str] = set()
    while len(texts) < count:
        length = min(30, 3 + int(rng.expovariate(1 / 12)))
        texts.add(" ".join(rng.choices(_WORDS, k=length)))
    return sorted(texts)


def seconds(work: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(backbone: Backbone, texts: list[str], directory: Path) -> dict[str, float]:
    """Seconds of each way to come to the features of the texts."""
    cache = FeatureCache(backbone, directory, 2**31)
    cold = seconds(lambda: cache.features(texts))
    memory = min(seconds(lambda: cache.features(texts)) for _ in range(5))
    disk = min(
        seconds(lambda: FeatureCache(backbone, directory, 2**31).features(texts)) for _ in range(5)
    )
    table = TextTable(backbone, cache)
    table.prepare(texts)
    lookup = min(seconds(lambda: table.ids(texts)) for _ in range(20))
    return {"cold": cold, "disk": disk, "memory": memory, "table": lookup}


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="package:all-minilm-l6-v2")
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--json", type=Path, help="also write the result there")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    backbone = load_backbone(resolve_model(args.model), BackboneSettings(dtype=args.dtype))
    texts = invented_texts(args.texts)
    with tempfile.TemporaryDirectory() as directory:
        times = measure(backbone, texts, Path(directory))
    result = {
        "model": args.model,
        "parameters": sum(p.numel() for p in backbone.parameters()),
        "dtype": str(next(backbone.parameters()).dtype).removeprefix("torch."),
        "threads": args.threads,
        "texts": args.texts,
        "seconds": times,
        "texts_per_second": {name: args.texts / took for name, took in times.items()},
        "times_faster_than_cold": {name: times["cold"] / took for name, took in times.items()},
    }
    print(f"{result['model']}, {result['dtype']}, {args.threads} thread(s), {args.texts} texts\n")
    print(f"{'':8}{'seconds':>12}{'texts/s':>14}{'x cold':>10}")
    for name, took in times.items():
        print(f"{name:8}{took:12.5f}{args.texts / took:14,.0f}{times['cold'] / took:10,.0f}")
    print("\n" + json.dumps(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
