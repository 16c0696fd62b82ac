"""Numbers about sentences that no sentence vector keeps: place, length, centrality, repetition.

They see the document, the picks and statistics of the training split, never the document's own
references. Shapes: n sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from strategy_rl_envs.kit.rows import Split
from strategy_rl_envs.rewards.tokens import tokens
from strategy_rl_envs.summarization.data import Document, mean_lengths
from strategy_rl_envs.summarization.oracle import Picks, Terms, Utility

Floats = NDArray[np.float64]

NUM_FEATURES = 19
NUM_STATE = 6
MAX_FEATURE = 4.0
_PRIOR_DOCUMENTS = 4.0  # how many documents' worth of doubt a word's chance is given
_LONG = 4.0  # mean reference lengths that count as long
_SPREAD = 3.0  # shares to a spread near 1, which gradient descent expects


class WordChances:
    """How likely a word of a document is to stand in its summary, counted on training documents.

    Args:
        documents: Document and summary words of each training document, by its id.
    """

    def __init__(self, documents: dict[str, tuple[frozenset[str], frozenset[str]]]) -> None:
        self._documents = documents
        self._seen: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        for words, summary in documents.values():
            self._seen.update(words)
            self._kept.update(words & summary)
        self._prior = self._kept.total() / max(1, self._seen.total())

    def of(self, words: Iterable[str], name: str) -> dict[str, float]:
        """Chance of each word; a training document does not count for itself.

        Args:
            words: Words of the document.
            name: Its id.
        """
        own, summary = self._documents.get(name, (frozenset(), frozenset()))
        chances = {}
        for word in words:
            seen = self._seen[word] - (word in own)
            kept = self._kept[word] - (word in own and word in summary)
            chances[word] = (kept + _PRIOR_DOCUMENTS * self._prior) / (seen + _PRIOR_DOCUMENTS)
        return chances


@lru_cache(maxsize=4)
def word_chances(train: Split[Document]) -> WordChances:
    """Count the words of the training split, once a process."""
    return WordChances(
        {
            document.id: (_words(document.sentences), _words(document.references))
            for document in train.rows
        }
    )


def _words(texts: Sequence[str]) -> frozenset[str]:
    return frozenset(token for text in texts for token in tokens(text))


class DocumentFeatures:
    """What is known of one document's sentences; most of it is computed once.

    Args:
        document: The document.
        utility: Its tokens and limits.
        chances: Of words to be in a summary.
    """

    def __init__(self, document: Document, utility: Utility, chances: WordChances) -> None:
        self._utility = utility
        distinct = dict.fromkeys(chain.from_iterable(utility.sentences))
        vocabulary = {token: number for number, token in enumerate(distinct)}
        self._has = np.zeros((len(utility.sentences), len(vocabulary)), dtype=bool)
        for place, sentence in enumerate(utility.sentences):
            self._has[place, [vocabulary[token] for token in sentence]] = True
        self._lengths = np.array(utility.lengths, dtype=float)
        self._chance = np.array(list(chances.of(vocabulary, document.id).values()))
        title = np.array([token in set(tokens(document.title)) for token in vocabulary], dtype=bool)
        self._overlap = overlaps(self._has)
        self._static = self._fixed(document, title)

    def of(self, picks: Picks) -> NDArray[np.float32]:
        """Numbers of each sentence after some picks: (n, NUM_FEATURES), 0 to MAX_FEATURE."""
        picked = self._has[list(picks)].any(0)
        places = np.arange(len(self._has))
        fresh = self._has & ~picked
        gain = fresh @ self._chance / self._utility.mean_length
        room = self._lengths + self._utility.length(picks)
        repeats = 1 - fresh.sum(1) / np.maximum(1, self._has.sum(1))
        nearest = self._overlap[:, list(picks)].max(1, initial=0.0)
        beside = [np.isin(places + step, picks) for step in (-1, 1)]
        after = np.sign(places - max(picks)) + 1.0 if picks else np.full(len(places), 2.0)
        moving = np.stack(
            [
                _SPREAD * _SPREAD * gain,
                _SPREAD * repeats,
                _SPREAD * nearest,
                _SPREAD * fresh.sum(1) / self._has.shape[1],
                _SPREAD * room / (_LONG * self._utility.mean_length),
                *beside,
                after,
            ],
            axis=1,
        )
        both = np.concatenate([self._static, moving], axis=1)
        clipped: NDArray[np.float32] = np.clip(both, 0, MAX_FEATURE).astype(np.float32)
        return clipped

    def state(self, picks: Picks) -> NDArray[np.float32]:
        """Numbers of the whole summary so far: (NUM_STATE,), 0 to 1."""
        terms, length = self._utility.terms, self._utility.length(picks)
        limit = (terms.length_limit or _LONG) * self._utility.mean_length
        picked = self._has[list(picks)].any(0)
        numbers = (
            1 - len(picks) / terms.max_picks,
            length / limit,
            picked.mean(),
            1 - picked.sum() / length if length else 0.0,
            self._chance[picked].sum() / self._utility.mean_length / 2,
            len(self._has) / 16,
        )
        return np.clip(numbers, 0, 1).astype(np.float32)

    def _fixed(self, document: Document, title: NDArray[np.bool_]) -> Floats:
        """Numbers that no pick changes: (n, NUM_FEATURES - 8)."""
        count = len(self._has)
        place = np.arange(count)
        distinct = np.maximum(1, self._has.sum(1))
        length = self._lengths / self._utility.mean_length
        centrality = textrank(self._has, self._lengths) * count
        letters = [sum(c.isalpha() for c in text) / len(text) for text in document.sentences]
        columns = (
            _SPREAD * place / (count - 1),
            place == 0,
            place == 1,
            _SPREAD * length / _LONG,
            np.log1p(self._lengths) / 2,
            1.5 * centrality,
            _SPREAD * (self._overlap.sum(1) - 1) / (count - 1),
            _SPREAD * self._overlap[:, 0],
            _SPREAD * (self._has & title).sum(1) / distinct,
            _SPREAD * 2 * (self._has @ self._chance) / distinct,
            _SPREAD * (1 - np.array(letters)),
        )
        return np.stack([np.asarray(column, dtype=float) for column in columns], axis=1)


class Prepared:
    """The documents of a split with their worth and numbers, each made when it is first played.

    Args:
        split: The documents.
        train: The training split, which says what lengths and words are usual.
        terms: Price and limits.
    """

    def __init__(self, split: Split[Document], train: Split[Document], terms: Terms) -> None:
        self._documents = split.rows
        self._lengths = mean_lengths(train)
        self._chances = word_chances(train)
        self._terms = terms
        self._made: dict[int, tuple[Utility, DocumentFeatures]] = {}

    def of(self, row: int) -> tuple[Utility, DocumentFeatures]:
        """What is known of one document."""
        made = self._made.get(row)
        if made is None:
            document = self._documents[row]
            length = self._lengths.get(document.language, self._lengths[""])
            utility = Utility(document, self._terms, length)
            made = utility, DocumentFeatures(document, utility, self._chances)
            self._made[row] = made
        return made


@lru_cache(maxsize=6)
def prepared(split: Split[Document], train: Split[Document], terms: Terms) -> Prepared:
    """One for all environments of a process that play the same documents."""
    return Prepared(split, train, terms)


def overlaps(has: NDArray[np.bool_]) -> Floats:
    """Cosine of the word sets of each two sentences, (n, n)."""
    shared = has.astype(float) @ has.T.astype(float)
    sizes = np.sqrt(np.maximum(1, has.sum(1)))
    cosine: Floats = shared / sizes / sizes[:, None]
    return cosine


def textrank(has: NDArray[np.bool_], lengths: Floats, damping: float = 0.85) -> Floats:
    """Centrality of sentences that adds up to 1 (Mihalcea and Tarau 2004).

    Two sentences are as near as the words they share over the sum of their log lengths; the
    scores are those of a weighted PageRank, found by iteration.

    Args:
        has: Which words each sentence has, (n, words).
        lengths: Tokens of each sentence, (n,).
        damping: Share of the score that comes from the neighbours.
    """
    count = len(has)
    shared = has.astype(float) @ has.T.astype(float)
    np.fill_diagonal(shared, 0.0)
    logs = np.log(np.maximum(lengths, 1.0))
    weights = shared / np.maximum(logs + logs[:, None], np.log(2.0))
    totals = weights.sum(1, keepdims=True)
    moves = np.divide(weights, totals, out=np.full_like(weights, 1 / count), where=totals > 0)
    scores = np.full(count, 1 / count)
    for _ in range(100):
        following = (1 - damping) / count + damping * (scores @ moves)
        if np.abs(following - scores).max() < 1e-9:
            break
        scores = following
    return scores
