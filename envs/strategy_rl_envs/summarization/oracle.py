"""What a summary is worth, and the best one there is. Knows the references, no environment.

The worth of a set of sentences S, read in the order of the document, is

    U(S) = mean over references of (ROUGE-1 + ROUGE-2 + ROUGE-L recall) / 3
           - price * tokens of S / mean tokens of a training reference

and U of nothing is 0. With a price of 0 and a limit on the tokens it is limited-length recall.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from strategy_rl_envs.rewards.rouge import rouge_l, rouge_n
from strategy_rl_envs.rewards.tokens import tokens
from strategy_rl_envs.summarization.data import Document

Picks = tuple[int, ...]  # indices of sentences, ascending
MIN_GAIN = 1e-9  # a smaller gain is rounding


@dataclass(frozen=True)
class Terms:
    """What words cost and how many there may be.

    Attributes:
        price: Of as many tokens as a mean reference has.
        max_picks: Most sentences.
        length_limit: Most tokens, in mean reference lengths; None for no limit.
    """

    price: float
    max_picks: int
    length_limit: float | None


class Utility:
    """The worth of every set of sentences of one document; each is computed once.

    Args:
        document: Sentences and references.
        terms: Price and limits.
        mean_length: Tokens of a mean training reference.
    """

    def __init__(self, document: Document, terms: Terms, mean_length: float) -> None:
        self.terms = terms
        self.mean_length = mean_length
        self.sentences = tuple(tokens(text) for text in document.sentences)
        self.lengths = tuple(map(len, self.sentences))
        self._references = tuple(tokens(text) for text in document.references)
        self._recalls: dict[Picks, float] = {(): 0.0}
        self._experts: dict[Picks, int | None] = {}

    def length(self, picks: Iterable[int]) -> int:
        """Tokens of a set of sentences."""
        return sum(self.lengths[place] for place in picks)

    def recall(self, picks: Picks) -> float:
        """Mean ROUGE recall of a set of sentences, from 0 to 1."""
        found = self._recalls.get(picks)
        if found is None:
            summary = [token for place in picks for token in self.sentences[place]]
            found = fmean(_recall(summary, reference) for reference in self._references)
            self._recalls[picks] = found
        return found

    def cost(self, picks: Picks) -> float:
        """Price of a set's tokens."""
        return self.terms.price * self.length(picks) / self.mean_length

    def value(self, picks: Picks) -> float:
        """U: recall less cost."""
        return self.recall(picks) - self.cost(picks)

    def legal(self, picks: Picks) -> list[int]:
        """Sentences that may still be picked: not yet picked, and short enough.

        Where not even one sentence is within the limit, the shortest may be the first pick.
        """
        left = [place for place in range(len(self.lengths)) if place not in picks]
        if len(picks) >= self.terms.max_picks:
            return []
        if self.terms.length_limit is None:
            return left
        room = self.terms.length_limit * self.mean_length - self.length(picks)
        fitting = [place for place in left if self.lengths[place] <= room]
        return fitting or ([] if picks else [self.lengths.index(min(self.lengths))])

    def fits(self, picks: Picks) -> bool:
        """Whether a summary may be this set of sentences."""
        if len(picks) == 1:
            return picks[0] in self.legal(())
        limit = self.terms.length_limit
        return limit is None or self.length(picks) <= limit * self.mean_length

    def best_pick(self, picks: Picks) -> int | None:
        """The sentence that gains most; None where stopping gains as much. One must be picked."""
        if picks not in self._experts:
            gains = {place: self.value(with_pick(picks, place)) for place in self.legal(picks)}
            best = max(gains, key=lambda place: gains[place], default=None)
            gain = 0.0 if best is None else gains[best] - self.value(picks)
            self._experts[picks] = None if picks and gain <= MIN_GAIN else best
        return self._experts[picks]


def greedy(utility: Utility) -> Picks:
    """Pick what gains most until nothing does: what `expert_action` plays."""
    picks: Picks = ()
    while (best := utility.best_pick(picks)) is not None:
        picks = with_pick(picks, best)
    return picks


def exhaustive(utility: Utility) -> Picks:
    """The best of all sets that may be picked: sum of C(n, k) of them, so for short documents."""
    places = range(len(utility.lengths))
    sets = (
        picks
        for size in range(1, utility.terms.max_picks + 1)
        for picks in combinations(places, size)
        if utility.fits(picks)
    )
    return max(sets, key=utility.value)


def with_pick(picks: Picks, place: int) -> Picks:
    """The set with one more sentence, in the order of the document."""
    return tuple(sorted((*picks, place)))


def _recall(summary: list[str], reference: list[str]) -> float:
    """Mean of ROUGE-1, ROUGE-2 and ROUGE-L recall; a one-token reference has no ROUGE-2."""
    scores = [rouge_n(summary, reference, 1), rouge_l(summary, reference)]
    if len(reference) > 1:
        scores.append(rouge_n(summary, reference, 2))
    return fmean(score.recall for score in scores)
