"""Keywords: which ones a real sentence is to be written from, and how a text uses them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from strategy_rl_envs.kit.descriptions import Package
from strategy_rl_envs.rewards.prose import FUNCTION_WORDS
from strategy_rl_envs.rewards.tokens import frozen_tokens

WORDS = (8, 20)  # of a sentence
NUM_KEYWORDS = 3
ONE_IN = 1000  # a word that stands in a smaller share of packages is jargon to a small model
_PLAIN = re.compile(r"[A-Z][A-Za-z,' -]+\.")  # no names in brackets, numbers, options or addresses
_USUAL = ("This package", "This is the", "These are", "It is part of")


def plain_sentence(package: Package) -> str | None:
    """The first sentence of a package that is plain English of the wanted length, if any is."""
    for sentence in package.sentences:
        count = len(frozen_tokens(sentence, "en"))
        plain = _PLAIN.fullmatch(sentence) and not sentence.startswith(_USUAL)
        if plain and WORDS[0] <= count <= WORDS[1]:
            return sentence
    return None


def document_counts(packages: Iterable[Package]) -> Counter[str]:
    """In how many packages each word stands."""
    counts: Counter[str] = Counter()
    for package in packages:
        counts.update({word for text in package.sentences for word in frozen_tokens(text, "en")})
    return counts


def keywords(sentence: str, counts: Counter[str], num_packages: int) -> list[str]:
    """The rarest words of a sentence that are no jargon, as they follow each other; or none.

    Words with a capital are left out: they are mostly names. A sentence that does no more than
    list the words gives none.
    """
    found = frozen_tokens(" ".join(_lower_words(sentence)), "en")
    fit = {
        word
        for word in found
        if len(word) > 3 and word not in FUNCTION_WORDS and ONE_IN * counts[word] >= num_packages
    }
    rarest = sorted(fit, key=lambda word: (counts[word], word))[:NUM_KEYWORDS]
    if len(rarest) < NUM_KEYWORDS or longest_row(sentence, rarest) == NUM_KEYWORDS:
        return []
    return sorted(rarest, key=found.index)


def longest_row(text: str, wanted: Iterable[str]) -> int:
    """Most different wanted words that stand in a row, with function words at most between them."""
    known = {token for word in wanted for token in frozen_tokens(word)}
    longest, row = 0, set[str]()
    for token in frozen_tokens(text):
        if token in known:
            row.add(token)
            longest = max(longest, len(row))
        elif token not in FUNCTION_WORDS:
            row.clear()
    return longest


def _lower_words(sentence: str) -> Sequence[str]:
    return [word for word in sentence.split() if word == word.lower() and "-" not in word]
