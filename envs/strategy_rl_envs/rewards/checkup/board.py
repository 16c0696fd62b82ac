"""The scores of all scripted outputs on the same steps."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from strategy_rl_envs.rewards.checkup.material import Facts
from strategy_rl_envs.rewards.checkup.scoring import Composition, Scored, score_all
from strategy_rl_envs.rewards.checkup.strategies import (
    OWN,
    STRATEGIES,
    Item,
    corpus_of,
    item_of,
    saying,
)

GOLD = "reference"
NEAR_MISS = "near miss"
SOURCE = "copy of the source"


@dataclass(frozen=True)
class Entry:
    """How one strategy did on the steps on which its text is not the reference.

    Attributes:
        score: Mean reward: the reference's on all steps, plus the mean of `gains`.
        components: Mean weighted components.
        gains: The reward less the reference's, with the row.
    """

    score: float
    components: Mapping[str, float]
    gains: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True)
class Board:
    """Entries by strategy; `failed` names those on which the reward gave no number at all."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def gold(self) -> float:
        """Mean score of the reference."""
        return self.entries[GOLD].score

    @property
    def floor(self) -> float:
        """The lowest score of all strategies."""
        return min(entry.score for entry in self.entries.values())

    @property
    def spread(self) -> float:
        """The highest score of all less the lowest."""
        return max(entry.score for entry in self.entries.values()) - self.floor

    @property
    def unit(self) -> float:
        """What margins are measured in: the reference's score above the lowest.

        An unbounded winner does not move it. Where nothing is below the reference: the spread.
        """
        return self.gold - self.floor if self.gold > self.floor else self.spread


def make_board(
    reward: Composition, golds: Sequence[Facts], following: Sequence[str], seed: int
) -> Board:
    """Score the reference and every strategy on the same steps.

    Args:
        reward: What scores.
        golds: Steps; those without a reference are left out.
        following: Facts that change with the output.
        seed: Of the random strategies.
    """
    steps = [(facts, item) for facts in golds if (item := item_of(facts)) is not None]
    golden = _score(reward, [(facts, item.gold) for facts, item in steps], following)
    usable = [(*step, s.reward) for step, s in zip(steps, golden, strict=True) if s.fault is None]
    if not usable:
        return Board()
    mean = float(np.mean([gold for _, _, gold in usable]))
    entries = {GOLD: Entry(mean, _components(golden))}
    failed = {}
    for name, variants in _texts([item for _, item, _ in usable], seed).items():
        tried = [_entry(reward, usable, texts, following) for texts in variants]
        found = [entry for entry in tried if isinstance(entry, Entry)]
        if found:
            choose = min if name == NEAR_MISS else max
            entries[name] = choose(found, key=lambda entry: entry.score)
        elif faults := [fault for fault in tried if isinstance(fault, str)]:
            failed[name] = faults[0]
    return Board(entries, failed)


def own_gains(
    reward: Composition, steps: Sequence[Facts], following: Sequence[str]
) -> dict[str, float]:
    """What a policy would gain a step, on average, by treating its own output so.

    Returns:
        By name of the strategy: repetition, filler and, in place of its output, the source.
    """
    spoken = [facts for facts in steps if isinstance(facts.get("output"), str) and facts["output"]]
    own = _score(reward, [(facts, facts["output"]) for facts in spoken], following)
    gains: dict[str, float] = {}
    changes: dict[str, list[list[str]]] = {
        name: [list(texts) for texts in zip(*(change(f["output"]) for f in spoken), strict=True)]
        for name, change in OWN.items()
    }
    sources = [item.source if (item := item_of(facts)) else None for facts in spoken]
    if spoken and all(sources):
        changes[SOURCE] = [[source or "" for source in sources]]
    for name, variants in changes.items():
        for texts in variants:
            said = _score(reward, list(zip(spoken, texts, strict=True)), following)
            apart = [new.reward - old.reward for new, old in zip(said, own, strict=True)]
            finite = [gain for gain in apart if np.isfinite(gain)]
            if finite:
                gains[name] = max(gains.get(name, -np.inf), float(np.mean(finite)))
    return gains


def reads_output(reward: Composition, steps: Sequence[Facts]) -> bool:
    """Whether any component changes, or fails, when the output alone is another."""
    for facts in steps[:8]:
        texts = [str(facts.get("output", "")), "", ".", "zq zq vx", "word " * 50]
        said = _score(reward, [(facts, text) for text in texts], ())
        if any((s.values, s.fault) != (said[0].values, said[0].fault) for s in said):
            return True
    return False


def _texts(items: Sequence[Item], seed: int) -> dict[str, list[list[str | None]]]:
    """By strategy: for each variant one text an item, None where the item allows none."""
    corpus = corpus_of(items)
    made: dict[str, list[list[str | None]]] = {}
    for name, variants in STRATEGIES.items():
        rng = Random(zlib.crc32(name.encode()) + seed)
        given = [list(variants(item, corpus, rng)) for item in items]
        count = max(len(texts) for texts in given)
        made[name] = [
            [texts[place] if place < len(texts) else None for texts in given]
            for place in range(count)
        ]
    return made


def _entry(
    reward: Composition,
    steps: Sequence[tuple[Facts, Item, float]],
    texts: Sequence[str | None],
    following: Sequence[str],
) -> Entry | str | None:
    """The score of one variant; the fault where all fail; None where it always is the reference."""
    differing = [
        (facts, text, gold)
        for (facts, item, gold), text in zip(steps, texts, strict=True)
        if text is not None and text != item.gold
    ]
    if not differing:
        return None
    scores = _score(reward, [(facts, text) for facts, text, _ in differing], following)
    gains = tuple(
        (score.reward - gold, _row(facts, place))
        for place, ((facts, _, gold), score) in enumerate(zip(differing, scores, strict=True))
        if score.fault is None
    )
    if not gains:
        return str(scores[0].fault)
    base = float(np.mean([gold for _, _, gold in steps]))
    return Entry(base + float(np.mean([gain for gain, _ in gains])), _components(scores), gains)


def _score(
    reward: Composition, pairs: Sequence[tuple[Facts, str]], following: Sequence[str]
) -> list[Scored]:
    return score_all(reward, [saying(facts, text, following) for facts, text in pairs])


def _components(scores: Sequence[Scored]) -> dict[str, float]:
    good = [score.components for score in scores if score.fault is None]
    names = good[0] if good else ()
    return {name: float(np.mean([components[name] for components in good])) for name in names}


def _row(facts: Mapping[str, Any], place: int) -> int:
    row = facts.get("row")
    return row if isinstance(row, int) else place
