"""The documents of this task, which `kit.documents` reads, and how long their summaries are."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from statistics import fmean

from strategy_rl_envs.kit.documents import Document, View, load_split
from strategy_rl_envs.kit.rows import Split
from strategy_rl_envs.rewards.tokens import tokens

__all__ = ["SAMPLE", "Document", "View", "load_split", "mean_lengths"]

SAMPLE = Path(__file__).parent / "sample"


@lru_cache(maxsize=4)
def mean_lengths(train: Split[Document]) -> dict[str, float]:
    """Mean tokens of a training reference, by language; under `` that of all languages."""
    lengths: dict[str, list[int]] = {}
    for document in train.rows:
        for text in document.references:
            for language in {document.language, ""}:
                lengths.setdefault(language, []).append(len(tokens(text)))
    return {language: fmean(found) for language, found in lengths.items()}
