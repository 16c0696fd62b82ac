"""ROUGE-1, -2 and -L over tokens. Knows no text and no language.

Equal to the `rouge-score` package on the same tokens. Source: Lin 2004, "ROUGE: a package for
automatic evaluation of summaries".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from rapidfuzz.distance import LCSseq

from strategy_rl_envs.rewards.tokens import ngrams


class PRF(NamedTuple):
    """Precision, recall and their harmonic mean, each from 0 to 1."""

    precision: float
    recall: float
    f1: float


NOTHING = PRF(0.0, 0.0, 0.0)


def rouge_n(candidate: Sequence[str], reference: Sequence[str], n: int) -> PRF:
    """Share of n-grams in common, each counted as often as both hold it.

    Precision is their share of the candidate's n-grams, recall of the reference's; 0 where either
    has none.
    """
    if n < 1:
        raise ValueError(f"n: expected 1 or more, got {n}")
    num_candidate, num_reference = len(candidate) - n + 1, len(reference) - n + 1
    if num_candidate <= 0 or num_reference <= 0:
        return NOTHING
    ours, theirs = _counts(candidate, n), _counts(reference, n)
    # three times as fast as the `&` of two counters
    common = sum(min(ours[gram], theirs[gram]) for gram in ours.keys() & theirs.keys())
    return _prf(common, num_candidate, num_reference)


def rouge_l(candidate: Sequence[str], reference: Sequence[str]) -> PRF:
    """Longest common subsequence: precision is its share of the candidate, recall of the reference.

    Of the whole texts, as `rougeL` of `rouge-score`; not sentence by sentence (`rougeLsum`).
    """
    if not candidate or not reference:
        return NOTHING
    return _prf(LCSseq.similarity(candidate, reference), len(candidate), len(reference))


KINDS: dict[str, Callable[[Sequence[str], Sequence[str]], PRF]] = {
    "1": partial(rouge_n, n=1),
    "2": partial(rouge_n, n=2),
    "l": rouge_l,
}


def limited_recall(
    candidate: Sequence[str], reference: Sequence[str], num_tokens: int, kind: str = "l"
) -> float:
    """Recall of the candidate's first `num_tokens` tokens: what lies behind them earns nothing.

    The measure of the DUC contests, where every summary had the same room.

    Args:
        candidate: Tokens of the text to score.
        reference: Tokens of the text to cover.
        num_tokens: Tokens of the candidate that count.
        kind: `1`, `2` or `l`.
    """
    if num_tokens < 0:
        raise ValueError(f"num_tokens: expected 0 or more, got {num_tokens}")
    return KINDS[kind](candidate[:num_tokens], reference).recall


def _counts(words: Sequence[str], n: int) -> Counter[object]:
    return Counter(words if n == 1 else ngrams(words, n))


def _prf(common: int, num_candidate: int, num_reference: int) -> PRF:
    if not common:
        return NOTHING
    precision, recall = common / num_candidate, common / num_reference
    return PRF(precision, recall, 2 * precision * recall / (precision + recall))
