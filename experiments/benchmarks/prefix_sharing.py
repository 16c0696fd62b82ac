"""How much time reading a context once saves when its candidates are scored.

    python experiments/benchmarks/prefix_sharing.py [--repeats 5] [--threads 1] [--json FILE]

One context, K candidates, a decoder in float32. `whole`: K rows of context and candidate in one
batch, the plain way. `rows`: the context once, then K rows over copies of the key-value cache.
`one row`: the context once, then the candidates one behind the other, kept apart by a mask, which
is what `CandidateScorer` does. They take turns in one process; each ratio is the median over the
turns. The head scores candidate tokens alone in all of them. Tokens are counted in the decoder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from contest import machine
from torch import Tensor

from strategy_rl.backbone import BackboneSettings, LanguageModel, load_language_model
from strategy_rl.generation.engine import head_of
from strategy_rl.generation.likelihood import first_that_agrees, logprobs_of
from strategy_rl.generation.prefix_sharing import read_in_one_row, read_in_rows, read_whole
from strategy_rl.models import resolve_model

WAYS = {"whole": read_whole, "rows": read_in_rows, "one row": read_in_one_row}
EVERYTHING = 2**31  # tokens: the plain way is one batch


class TokenCount:
    """Counts the tokens that a decoder is fed."""

    def __init__(self, decoder: Any) -> None:
        self.tokens = 0
        decoder.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self.tokens += kwargs["input_ids"].numel()


def drawn(size: int, vocabulary: int, draw: torch.Generator) -> list[int]:
    """Any tokens: how long they take does not depend on which."""
    ids: list[int] = torch.randint(vocabulary, (size,), generator=draw).tolist()
    return ids


@torch.no_grad()
def score(name: str, model: LanguageModel, context: Sequence[int], offered: Any) -> Tensor:
    """Log-probabilities of the candidates' tokens."""
    states = WAYS[name](model, [context], [offered], EVERYTHING)
    tokens = torch.tensor([token for ids in offered for token in ids])
    return logprobs_of(states, head_of(model), tokens)


def measure(
    model: LanguageModel, context: Sequence[int], offered: Any, repeats: int
) -> dict[str, dict[str, Any]]:
    """Seconds of each turn, tokens, and how far the figures are from those of the plain way."""
    count = TokenCount(model.network.get_decoder())
    figures: dict[str, dict[str, Any]] = {}
    expected = score("whole", model, context, offered)  # also warms up
    for name in WAYS:
        count.tokens = 0
        found = score(name, model, context, offered)
        off = float((found - expected).abs().max())
        figures[name] = {"tokens": count.tokens, "off": off, "seconds": [], "cpu_seconds": []}
    for _ in range(repeats):
        for name in WAYS:
            wall, cpu = time.perf_counter(), time.process_time()
            score(name, model, context, offered)
            figures[name]["seconds"].append(time.perf_counter() - wall)
            figures[name]["cpu_seconds"].append(time.process_time() - cpu)
    return figures


def times_faster(figures: dict[str, dict[str, Any]], name: str, clock: str) -> float:
    """The median over the turns."""
    pairs = zip(figures["whole"][clock], figures[name][clock], strict=True)
    return statistics.median(whole / own for whole, own in pairs)


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="package:smollm2-135m-instruct")
    parser.add_argument("--context", type=int, default=200, help="tokens of the context")
    parser.add_argument("--candidate", type=int, default=20, help="tokens of a candidate")
    parser.add_argument("--candidates", type=int, default=10, help="how many")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the result there")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = BackboneSettings(train="frozen", dtype="float32")
    model = load_language_model(str(resolve_model(args.model)), settings)
    draw = torch.Generator().manual_seed(0)
    vocabulary = len(model.head_weight)
    context = drawn(args.context, vocabulary, draw)
    offered = [drawn(args.candidate, vocabulary, draw) for _ in range(args.candidates)]
    taken = first_that_agrees(model)
    figures = measure(model, context, offered, args.repeats)
    print(
        f"{args.model}, float32, {args.threads} thread(s), {args.candidates} candidates of "
        f"{args.candidate} tokens after {args.context}; CandidateScorer takes {taken.__name__}\n"
    )
    print(f"{'':10}{'tokens':>8}{'seconds':>10}{'x whole':>10}{'by CPU':>10}{'difference':>14}")
    for name, own in figures.items():
        own["times"] = times_faster(figures, name, "seconds")
        own["cpu_times"] = times_faster(figures, name, "cpu_seconds")
        print(
            f"{name:10}{own['tokens']:8}{statistics.median(own['seconds']):10.3f}"
            f"{own['times']:10.2f}{own['cpu_times']:10.2f}{own['off']:14.1e}"
        )
    result = {"settings": vars(args) | {"json": None}, "ways": figures, "machine": machine()}
    print("\n" + json.dumps(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
