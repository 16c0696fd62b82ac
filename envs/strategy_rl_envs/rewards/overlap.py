"""Rewards for what an output has in common with a reference. Knows no task.

All run from 0 to 1, higher is better. Where a step has several `references`, the best counts. They
abstain where no reference has anything to compare with.

Costs: microseconds on one core for texts of 60 words, the output not seen before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Literal

from rapidfuzz.distance import Levenshtein

from strategy_rl_envs.rewards.function import reward
from strategy_rl_envs.rewards.rouge import KINDS, PRF
from strategy_rl_envs.rewards.tokens import Tokens, frozen_tokens, without_spaces

Measure = Literal["f1", "precision", "recall"]
Texts = Sequence[str] | None


@reward(bounds=(0.0, 1.0))
def rouge_1(
    output: str,
    reference: str | None,
    references: Texts = None,
    *,
    measure: Measure = "f1",
    language: str = "auto",
    max_tokens: int | None = None,
) -> float | None:
    """Words in common (ROUGE-1).

    Range: 0 to 1. Cost: about 16 us. Source: Lin 2004. With `measure: recall` and `max_tokens`, the
    output's first tokens alone count: the recall of limited length.
    """
    return _rouge("1", output, _all(reference, references), (measure, language, max_tokens))


@reward(bounds=(0.0, 1.0))
def rouge_2(
    output: str,
    reference: str | None,
    references: Texts = None,
    *,
    measure: Measure = "f1",
    language: str = "auto",
    max_tokens: int | None = None,
) -> float | None:
    """Pairs of neighbouring words in common (ROUGE-2); a reference of one word has none.

    Range: 0 to 1. Cost: about 27 us. Source: Lin 2004. Settings as for `rouge_1`.
    """
    return _rouge("2", output, _all(reference, references), (measure, language, max_tokens))


@reward(bounds=(0.0, 1.0))
def rouge_l(
    output: str,
    reference: str | None,
    references: Texts = None,
    *,
    measure: Measure = "f1",
    language: str = "auto",
    max_tokens: int | None = None,
) -> float | None:
    """Longest common subsequence of words (ROUGE-L).

    Range: 0 to 1. Cost: about 10 us. Source: Lin 2004. Settings as for `rouge_1`.
    """
    return _rouge("l", output, _all(reference, references), (measure, language, max_tokens))


@reward(bounds=(0.0, 1.0))
def bleu(
    output: str, reference: str | None, references: Texts = None, *, language: str = "auto"
) -> float | None:
    """Precision of runs of 1 to 4 words, with a penalty for brevity; all references at once.

    Range: 0 to 1. Cost: about 170 us. Source: Papineni et al. 2002; sacrebleu's sentence BLEU,
    which smooths orders without a match and leaves out those that the output is too short for.
    """
    return _sacrebleu("bleu", output, _all(reference, references), language)


@reward(bounds=(0.0, 1.0))
def chrf(
    output: str, reference: str | None, references: Texts = None, *, language: str = "auto"
) -> float | None:
    """F-score (recall counts double) of runs of 1 to 6 characters, spaces left out.

    Range: 0 to 1. Cost: about 930 us. Source: Popovic 2015; sacrebleu's sentence chrF2.
    """
    return _sacrebleu("chrf", output, _all(reference, references), language)


@reward(bounds=(0.0, 1.0))
def ter(
    output: str,
    reference: str | None,
    references: Texts = None,
    *,
    language: str = "auto",
    max_words: int = 25,
) -> float | None:
    """One less the translation edit rate: word edits and shifts by words of the reference.

    The search for shifts takes minutes on long texts. Where a text has more than `max_words` words
    (characters in Chinese), none are sought: one less the word error rate, which is never above.

    Range: 0 (as many edits as words, or more) to 1 (equal). Cost: about 18,000 us at 20 words.
    Source: Snover et al. 2006; sacrebleu's sentence TER.
    """
    texts = _comparable(_all(reference, references))
    if not texts:
        return None
    spaceless = _by_character(texts[0], language)
    ours, *theirs = (_words(text, spaceless) for text in (output, *texts))
    if max(map(len, (ours, *theirs))) > max_words:
        return max(_word_accuracy(ours, words) for words in theirs)
    percent: float = _metric("ter", spaceless).sentence_score(output, texts).score
    return 1 - min(1.0, percent / 100)


@reward(bounds=(0.0, 1.0))
def token_f1(
    output: str, reference: str | None, references: Texts = None, *, language: str = "auto"
) -> float | None:
    """Words in common, as SQuAD scores an answer: no case, punctuation or English article.

    Range: 0 to 1; of two empty texts 1. Cost: about 24 us. Source: Rajpurkar et al. 2016; single
    characters for Chinese, as in CMRC (Cui et al. 2019).
    """
    scores = [_f1(output, text, language) for text in _all(reference, references)]
    return max(scores, default=None)


@reward(bounds=(0.0, 1.0))
def exact_match(
    output: str, reference: str | None, references: Texts = None, *, language: str = "auto"
) -> float | None:
    """1 where output and reference are the same after SQuAD's normalisation, else 0.

    Range: 0 or 1. Cost: about 14 us. Source: Rajpurkar et al. 2016.
    """
    found = [_same(output, text, language) for text in _all(reference, references)]
    return float(any(found)) if found else None


_PUNCTUATION = re.compile(r"[^\w\s]|_")
_ARTICLES = frozenset({"a", "an", "the"})


@lru_cache(maxsize=4096)
def normalized(text: str, language: str = "auto") -> Tokens:
    """A text as SQuAD compares it: lower-case, punctuation deleted, no English article.

    Punctuation is deleted, not split at, so "don't" is "dont". Chinese becomes single characters.
    """
    found = frozen_tokens(_PUNCTUATION.sub("", text), language)
    return tuple(token for token in found if token not in _ARTICLES)


def _all(reference: str | None, references: Texts) -> list[str]:
    """The texts to compare with: `references` where there are any, else `reference`."""
    texts: Iterable[str | None] = references or (reference,)
    return [text for text in texts if text is not None]


def _rouge(
    kind: str, output: str, references: Sequence[str], how: tuple[Measure, str, int | None]
) -> float | None:
    measure, language, max_tokens = how
    candidate = frozen_tokens(output, language)[:max_tokens]
    shortest = 2 if kind == "2" else 1
    scored: Callable[..., PRF] = KINDS[kind]
    values = [
        getattr(scored(candidate, tokens), measure)
        for tokens in (frozen_tokens(text, language) for text in references)
        if len(tokens) >= shortest
    ]
    return max(values, default=None)


def _same(output: str, reference: str, language: str) -> bool:
    ours, theirs = normalized(output, language), normalized(reference, language)
    if ours or theirs:
        return ours == theirs
    return output.strip() == reference.strip()  # "" is no answer to "?"


def _f1(output: str, reference: str, language: str) -> float:
    ours, theirs = normalized(output, language), normalized(reference, language)
    if ours and theirs:
        return KINDS["1"](ours, theirs).f1
    return float(_same(output, reference, language))


def _sacrebleu(name: str, output: str, references: Sequence[str], language: str) -> float | None:
    texts = _comparable(references)
    if not texts:
        return None
    spaceless = _by_character(texts[0], language)
    percent: float = _metric(name, spaceless).sentence_score(output, texts).score
    return min(1.0, percent / 100)


def _comparable(references: Sequence[str]) -> list[str]:
    return [text for text in references if text.strip()]


def _by_character(text: str, language: str) -> bool:
    return without_spaces(text) if language == "auto" else language == "zh"


def _words(text: str, spaceless: bool) -> list[str]:
    """Words as TER splits them, near enough to count and compare long texts."""
    return list("".join(text.lower().split())) if spaceless else text.lower().split()


def _word_accuracy(ours: Sequence[str], theirs: Sequence[str]) -> float:
    return max(0.0, 1 - Levenshtein.distance(ours, theirs) / len(theirs))


@lru_cache
def _metric(name: str, spaceless: bool) -> Any:
    """A metric of sacrebleu with the tokens of a language with or without spaces."""
    from sacrebleu.metrics.bleu import BLEU  # imported here: a quarter of a second
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    if name == "bleu":
        return BLEU(effective_order=True, tokenize="zh" if spaceless else "13a")
    if name == "ter":
        return TER(normalized=spaceless, asian_support=spaceless)
    return CHRF()
