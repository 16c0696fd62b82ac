"""Wrong candidates for a turn, drawn from the real replies of the same split.

Three kinds: another turn of the same conversation, a reply that is near in words, and any reply.
Near in words means: it shares a rare word with the context or with the real reply. All that share
one are drawn alike, without weights, so that the tf-idf baseline is not played against itself.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import NamedTuple

RARE_SHARE = 0.005  # a word is rare if at most this share of the replies holds it,
RARE_COUNT = 5  # or at most so many
_WORD = re.compile(r"[^\W\d_]{3,}")


class Reply(NamedTuple):
    """A reply that was really given, and the conversation it is from."""

    text: str
    group: str


class Pool:
    """All real replies of a split, by conversation and by rare word.

    Args:
        replies: in a fixed order; draws depend on it.
    """

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._replies = list(dict.fromkeys(replies))
        self._by_group: dict[str, list[Reply]] = defaultdict(list)
        holders: dict[str, list[Reply]] = defaultdict(list)
        for reply in self._replies:
            self._by_group[reply.group].append(reply)
            for word in words(reply.text):
                holders[word].append(reply)
        most = max(RARE_COUNT, int(RARE_SHARE * len(self._replies)))
        self._by_word = {word: held for word, held in holders.items() if 2 <= len(held) <= most}

    def draw(
        self, rng: Random, gold: Reply, context: Sequence[str], counts: tuple[int, int, int]
    ) -> list[tuple[str, str]]:
        """Draw (text, kind) pairs, none equal to the real reply, to the context or to each other.

        Args:
            rng: where chance comes from.
            gold: the real reply.
            context: the texts shown before it.
            counts: how many of the same conversation, near in words, and random; where one of the
                first two runs short, random ones stand in.
        """
        taken = {gold.text, *context}
        chosen: list[tuple[str, str]] = []
        same_conversation, near, number_random = counts
        near_words = sorted(words(" ".join([gold.text, *context])) & self._by_word.keys())
        near_replies = [
            reply
            for word in near_words
            for reply in self._by_word[word]
            if reply.group != gold.group
        ]
        sources = (
            ("same_conversation", same_conversation, self._by_group[gold.group]),
            ("near", near, list(dict.fromkeys(near_replies))),
        )
        for kind, count, replies in sources:
            _take(chosen, taken, kind, count, shuffled(replies, rng))
        missing = same_conversation + near + number_random - len(chosen)
        others = (reply for reply in self._endless(rng) if reply.group != gold.group)
        _take(chosen, taken, "random", missing, others)
        return chosen

    def _endless(self, rng: Random) -> Iterator[Reply]:
        for _ in range(100 * len(self._replies)):
            yield self._replies[int(rng.random() * len(self._replies))]


def words(text: str) -> set[str]:
    """Return a text's words of three letters and more, in lower case."""
    return set(_WORD.findall(text.lower()))


def shuffled(items: Sequence[Reply], rng: Random) -> list[Reply]:
    """Shuffle by `rng.random()` alone, whose stream Python keeps the same between versions."""
    return sorted(items, key=lambda _: rng.random())


def _take(
    chosen: list[tuple[str, str]], taken: set[str], kind: str, count: int, replies: Iterable[Reply]
) -> None:
    """Move `count` replies that are not taken yet to the chosen ones, as far as they reach."""
    for reply in replies:
        if count <= 0:
            return
        if reply.text not in taken:
            taken.add(reply.text)
            chosen.append((reply.text, kind))
            count -= 1
