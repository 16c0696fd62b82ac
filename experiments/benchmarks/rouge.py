"""ROUGE of this package beside `rouge-score`, on the same tokens, in one thread.

    python experiments/benchmarks/rouge.py [--pairs 200] [--candidate 220] [--reference 80]

Both get tokens that are ready; `from texts` adds the splitting of a candidate not seen before, as
in training, where references come again and candidates do not.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from rouge_score.rouge_scorer import RougeScorer

from strategy_rl_envs.rewards.overlap import rouge_1, rouge_2, rouge_l
from strategy_rl_envs.rewards.rouge import KINDS

REWARDS = {"1": rouge_1, "2": rouge_2, "l": rouge_l}


class _Ready:
    """Hands `rouge-score` tokens that were split before."""

    def tokenize(self, tokens: list[str]) -> list[str]:
        return tokens


def invented_words(count: int, rng: random.Random) -> list[str]:
    """Words of 2,000, a few of them frequent as in any language."""
    return [f"w{min(1999, int(rng.paretovariate(0.8)))}" for _ in range(count)]


def pairs_per_second(
    score: Callable[[Any, Any], object], pairs: Sequence[tuple[Any, Any]]
) -> float:
    """Score every pair once."""
    start = time.perf_counter()
    for candidate, reference in pairs:
        score(candidate, reference)
    return len(pairs) / (time.perf_counter() - start)


def measure(kind: str, pairs: Sequence[tuple[list[str], list[str]]], repeats: int) -> None:
    """Take turns, compare the scores, print the medians."""
    name = f"rouge{kind.upper()}"
    rival = RougeScorer([name], tokenizer=_Ready())
    reward = REWARDS[kind]
    rates: dict[str, list[float]] = {"ours": [], "rouge-score": [], "from texts": []}
    for repeat in range(repeats):
        rates["ours"].append(pairs_per_second(KINDS[kind], pairs * 20))
        rates["rouge-score"].append(pairs_per_second(lambda c, r: rival.score(r, c), pairs))
        texts = [(f"{' '.join(c)} {kind}x{repeat}", " ".join(r)) for c, r in pairs]
        for _, reference in texts:
            reward("", reference)
        rates["from texts"].append(pairs_per_second(reward, texts))
    gap = max(abs(KINDS[kind](c, r).f1 - rival.score(r, c)[name].fmeasure) for c, r in pairs)
    ours, theirs, whole = (median(rates[key]) for key in ("ours", "rouge-score", "from texts"))
    print(
        f"ROUGE-{kind.upper()}: {ours:9,.0f} pairs/s   rouge-score {theirs:7,.0f}   "
        f"ratio {ours / theirs:6.1f}   from texts {whole:8,.0f}   largest difference {gap:.1e}"
    )


def main() -> None:
    """Measure the three kinds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--candidate", type=int, default=220, help="tokens of a candidate")
    parser.add_argument("--reference", type=int, default=80, help="tokens of a reference")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    rng = random.Random(0)
    pairs = [
        (invented_words(given.candidate, rng), invented_words(given.reference, rng))
        for _ in range(given.pairs)
    ]
    print(f"{given.candidate} x {given.reference} tokens, {given.pairs} pairs, one thread")
    for kind in KINDS:
        measure(kind, pairs, given.repeats)


if __name__ == "__main__":
    main()
