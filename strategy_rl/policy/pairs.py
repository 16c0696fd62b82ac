"""Numbers about a pair (candidate, context) that no sentence vector keeps: shared words, lengths.

Knows texts and their frozen vectors, no network.
"""

from __future__ import annotations

import itertools
import re

import numpy as np

from strategy_rl.features import TextTable

_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_]+")
_CJK = re.compile(r"[\u3400-\u9fff]")
_LEXICAL = 6
_SHARE_SCALE, _COSINE_SCALE = 3.0, 5.0  # to a spread near 1, which Adam expects
_MAX_CACHED = 2**28  # bytes
_ENTRY_BYTES = 400  # beside the numbers


def words_of(text: str) -> frozenset[str]:
    """Lower-case words; Chinese characters count as themselves and in adjacent pairs."""
    tokens = _WORD.findall(text.lower())
    adjacent = itertools.pairwise(tokens)
    pairs = {a + b for a, b in adjacent if _CJK.match(a) and _CJK.match(b)}
    return frozenset(tokens) | pairs


def num_pair_features(table: TextTable, num_slots: int) -> int:
    """Columns that `PairFeatures` gives."""
    return _LEXICAL + (num_slots if table.is_frozen else 0)


class PairFeatures:
    """Features of each candidate of an observation, computed once for each set of texts.

    Columns: share of the candidate's words found in the last turn, and in the whole context;
    share of the last turn's words found in the candidate; whether the candidate repeats a turn;
    log length of the candidate; its difference to the last turn's; and with frozen vectors the
    cosine with each context slot.
    """

    def __init__(self, table: TextTable, num_slots: int) -> None:
        self.table = table
        self.num_slots = num_slots
        self.width = num_pair_features(table, num_slots)
        self._words: dict[int, frozenset[str]] = {}
        self._cache: dict[bytes, np.ndarray] = {}
        self._cached = 0  # bytes

    def of(self, context: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Shape (candidates, width), float32."""
        key = context.tobytes() + candidates.tobytes()
        found = self._cache.get(key)
        if found is None:
            found = self._compute(context, candidates)
            self._cached += len(key) + found.nbytes + _ENTRY_BYTES
            if self._cached > _MAX_CACHED:
                self._cache.clear()
                self._cached = 0
            self._cache[key] = found
        return found

    def _compute(self, context: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        turns = [i for i in context.tolist() if i >= 0]
        last = self._words_of(turns[-1]) if turns else frozenset()
        everything = frozenset().union(*(self._words_of(i) for i in turns))
        found = [(i in turns, self._words_of(i)) for i in candidates.tolist()]
        counts = [(len(w), len(w & last), len(w & everything), known) for known, w in found]
        size, shared, anywhere, repeats = np.array(counts, dtype=np.float64).T
        out = np.empty((len(candidates), self.width), dtype=np.float32)
        out[:, 0] = _SHARE_SCALE * shared / np.maximum(size, 1)
        out[:, 1] = _SHARE_SCALE * anywhere / np.maximum(size, 1)
        out[:, 2] = _SHARE_SCALE * shared / max(len(last), 1)
        out[:, 3] = repeats
        out[:, 4] = np.log1p(size) / 3
        out[:, 5] = (np.log1p(size) - np.log1p(len(last))) / 3
        if self.table.is_frozen:
            out[:, _LEXICAL:] = _COSINE_SCALE * self._cosines(context, candidates)
        return out

    def _cosines(self, context: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        vectors = self.table.vectors(np.concatenate([context, candidates]))
        slots, offered = vectors[: len(context)], vectors[len(context) :]
        norms = np.linalg.norm(offered, axis=1)[:, None] * np.linalg.norm(slots, axis=1)[None]
        cosines: np.ndarray = np.zeros_like(norms)
        np.divide(offered @ slots.T, norms, out=cosines, where=norms > 0)
        return cosines

    def _words_of(self, text_id: int) -> frozenset[str]:
        found = self._words.get(text_id)
        if found is None:
            found = self._words[text_id] = words_of(self.table.text(text_id))
        return found
