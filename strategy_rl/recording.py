"""Episodes out of rollouts, to be looked at: of training, and of rows that are played again.

Changes nothing of the training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from strategy_rl.actors import Choice
from strategy_rl.env import EnvSlots
from strategy_rl.episodes import Episode, Selection
from strategy_rl.evaluation import Label
from strategy_rl.rollout import Rollout, Transition
from strategy_rl.seeding import generator
from strategy_rl.steps import row_of, step_of
from strategy_rl.token_rollout import TokenRollout

SPLIT = "train"
REASONS = ("random", "best", "worst", "surprising")
MAX_SHARE, MAX_TEXT_SHARE = 0.005, 0.1  # of all steps; those of a text take longer to learn from
CREDIT = "recording_credit"  # steps that may be kept before others come; below 0 it is a debt
MAX_PROBE_STEPS = 200  # at one moment
FIRST_CREDIT = 100.0  # so that short runs too have something to look at

# What stood behind the actions of a rollout, given the advantages of its decisions.
Told: TypeAlias = Callable[[Any, Tensor | None], list[Choice]]
Choices: TypeAlias = dict[int, Choice]  # by the identity of the transition


@dataclass(frozen=True)
class _Piece:
    """The part of one episode that one rollout holds: some of its transitions."""

    rollout: Rollout
    advantages: Tensor | None
    places: Sequence[int]

    @property
    def transitions(self) -> list[Transition]:
        """In order."""
        return [self.rollout.transitions[place] for place in self.places]

    @property
    def final_value(self) -> float:
        """Of what came after the last step."""
        decision = self.rollout.decisions_of(self.places[-1:])[-1]
        return float(self.rollout.next_values[decision])

    def alone(self) -> _Piece:
        """The same without the rest of the rollout."""
        if len(self.places) == len(self.rollout.transitions):
            return self
        decisions = self.rollout.decisions_of(self.places)
        rollout = replace(self.rollout.at(decisions), transitions=tuple(self.transitions))
        advantages = None if self.advantages is None else self.advantages[decisions]
        return _Piece(rollout, advantages, range(len(self.places)))


class _Pieces:
    """A rollout by episode, in the order of their first steps; there may be hundreds.

    Attributes:
        slots: Of each episode.
        sizes: How many transitions it has here.
        ended: Bool, whether it goes no further.
        surprise: How unlikely its least likely decision here was.
    """

    def __init__(self, rollout: Rollout, advantages: Tensor | None) -> None:
        self.rollout, self.advantages = rollout, advantages
        numbers: dict[int, int] = {}
        owners = np.array(
            [numbers.setdefault(id(t.slot), len(numbers)) for t in rollout.transitions]
        )
        self._order = np.argsort(owners, kind="stable")
        self.sizes = np.bincount(owners, minlength=len(numbers))
        self._starts = np.cumsum(self.sizes) - self.sizes
        lasts = [rollout.transitions[i] for i in self._order[self._starts + self.sizes - 1]]
        self.slots = [last.slot for last in lasts]
        self.ended = np.array([last.answer.terminated or last.answer.truncated for last in lasts])
        least = rollout.least_logprobs().cpu().numpy()[self._order]
        self.surprise = -np.minimum.reduceat(least, self._starts)

    def __getitem__(self, number: int) -> _Piece:
        start = self._starts[number]
        places = self._order[start : start + self.sizes[number]].tolist()
        return _Piece(self.rollout, self.advantages, places)


def probe_episodes(
    slots: EnvSlots, told: Told, rollout: Rollout, columns: Sequence[int], label: Label
) -> list[Episode]:
    """The first episodes of a rollout of whole ones, and more while they are not too long.

    Args:
        slots: Where they were played.
        told: See `Told`.
        rollout: Of the columns alone.
        columns: Which; an episode's number is its place here.
        label: What they are called.
    """
    parts = _Pieces(rollout, None)
    fitting = int((np.cumsum(parts.sizes) <= MAX_PROBE_STEPS).sum())
    pieces = [parts[number] for number in range(max(fitting, 1))]
    choices = _choices(told, pieces)
    numbers = {column: str(number) for number, column in enumerate(columns)}
    return [
        _episode(slots, [piece], choices, label, numbers[piece.transitions[0].slot.column])
        for piece in pieces
    ]


@dataclass(frozen=True)
class _Earlier:
    """What earlier rollouts hold of an episode."""

    pieces: tuple[_Piece, ...] = ()
    size: int = 0
    surprise: float = -np.inf

    def followed_by(self, pieces: _Pieces, number: int) -> _Earlier:
        """With what one more holds."""
        piece = pieces[number].alone()
        bare = replace(piece, rollout=piece.rollout.without_observations())
        return _Earlier(
            (*self.pieces, bare),
            self.size + int(pieces.sizes[number]),
            max(self.surprise, float(pieces.surprise[number])),
        )


class TrainingEpisodes:
    """Of each rollout some episodes at random, the best, the worst and the most surprising.

    An episode that several rollouts of fixed length hold is put together again. Of all steps only
    a small share is kept: a long episode is kept whole, and no other for as long as that is ahead
    of the share. What is kept depends on nothing that comes after, so the random ones are a fair
    sample.
    """

    def __init__(
        self,
        slots: EnvSlots,
        told: Told,
        count: int,
        seed: int,
        counters: dict[str, Any],
        *,
        whole: bool = True,
    ) -> None:
        """Takes what it needs for later.

        Args:
            slots: Where rollouts are played.
            told: See `Told`.
            count: How many for each of the four reasons.
            seed: Of the run.
            counters: Of the training; what may be kept next is written there.
            whole: Whether no episode goes on in the next rollout.
        """
        self.slots, self.told, self.count, self.seed = slots, told, count, seed
        self.counters, self.whole = counters, whole
        counters.setdefault(CREDIT, FIRST_CREDIT)
        self._unfinished: dict[int, _Earlier] = {}  # by the identity of the slot

    def pick(self, iteration: int, rollout: Rollout, advantages: Tensor) -> list[Episode]:
        """Some of the episodes that ended in a rollout.

        Args:
            iteration: How many updates the policy had behind it.
            rollout: As it was learnt from.
            advantages: Of its decisions, (N,), not whitened.
        """
        share = MAX_TEXT_SHARE if isinstance(rollout, TokenRollout) else MAX_SHARE
        self.counters[CREDIT] += share * len(rollout.transitions)
        if self.counters[CREDIT] <= 0 and self.whole:
            return []
        pieces = _Pieces(rollout, advantages)
        nothing = _Earlier()
        earlier = [self._unfinished.get(id(slot), nothing) for slot in pieces.slots]
        kept = self._kept(iteration, pieces, earlier)
        episodes = {number: [*earlier[number].pieces, pieces[number]] for number in kept}
        self._unfinished = {
            id(pieces.slots[number]): earlier[number].followed_by(pieces, number)
            for number in np.flatnonzero(~pieces.ended).tolist()
        }
        choices = _choices(self.told, [piece for each in episodes.values() for piece in each])
        label = Label("policy", SPLIT, self.seed, "ppo", iteration)
        returns = rollout.episode_returns
        return [
            _episode(
                self.slots,
                episodes[number],
                choices,
                label,
                f"{iteration}-{number}",
                Selection(tuple(reasons), len(returns), float(returns.mean())),
            )
            for number, reasons in sorted(kept.items())
        ]

    def _kept(
        self, iteration: int, pieces: _Pieces, earlier: Sequence[_Earlier]
    ) -> dict[int, list[str]]:
        """Which of the episodes that ended, and why; takes their steps off the credit."""
        lengths = np.array([len(slot.rewards) for slot in pieces.slots])
        seen = pieces.sizes + [before.size for before in earlier]
        whole = np.flatnonzero(pieces.ended & (seen == lengths))  # no rollout was left out
        returns = np.array([sum(pieces.slots[number].rewards) for number in whole])
        surprise = np.maximum(pieces.surprise, [before.surprise for before in earlier])[whole]
        rng = generator(self.seed, "training-episodes", iteration)
        wanted = candidates(returns, surprise, rng, first=iteration)
        kept: dict[int, list[str]] = {}
        for place, reason in islice(wanted, self.count * len(REASONS)):
            if self.counters[CREDIT] <= 0:
                break
            number = int(whole[place])
            if number not in kept:
                self.counters[CREDIT] -= int(lengths[number])
            kept.setdefault(number, []).append(reason)
        return kept


def candidates(
    returns: np.ndarray, surprise: np.ndarray, rng: np.random.Generator, first: int
) -> Iterator[tuple[int, str]]:
    """Which of n episodes to keep and why, by turns of the reasons; one may come several times.

    Args:
        returns: (n,).
        surprise: (n,), how unlikely the least likely decision was.
        rng: What the random ones are drawn from, whatever the others are.
        first: Which reason begins.
    """
    by_return = np.argsort(returns, kind="stable")
    orders = {
        "random": rng.permutation(len(returns)),
        "best": by_return[::-1],
        "worst": by_return,
        "surprising": np.argsort(-surprise, kind="stable"),
    }
    turns = [REASONS[(first + i) % len(REASONS)] for i in range(len(REASONS))]
    for place in range(len(returns)):
        for reason in turns:
            yield int(orders[reason][place]), reason


@torch.no_grad()
def _choices(told: Told, pieces: Sequence[_Piece]) -> Choices:
    """What stood behind the actions of some pieces, asked for at once for each rollout."""
    groups: dict[int, list[_Piece]] = {}
    for piece in pieces:
        groups.setdefault(id(piece.rollout), []).append(piece)
    found: Choices = {}
    for group in groups.values():
        together = replace(group[0], places=sorted(p for piece in group for p in piece.places))
        part = together.alone()
        behind = told(part.rollout, part.advantages)
        found |= {id(t): choice for t, choice in zip(part.transitions, behind, strict=True)}
    return found


def _episode(
    slots: EnvSlots,
    pieces: Sequence[_Piece],
    choices: Choices,
    label: Label,
    name: str,
    selection: Selection | None = None,
) -> Episode:
    """All steps of one, with what stood behind them."""
    transitions = [transition for piece in pieces for transition in piece.transitions]
    first, last = transitions[0], transitions[-1]
    row, kind = row_of(slots, last.answer.info, first.slot.row), first.info.get("kind")
    terminated = last.answer.terminated
    return Episode(
        episode_id=f"{label.split}-{label.policy}-{name}",
        stage=label.stage,
        iteration=label.iteration,
        seed=label.seed,
        split=label.split,
        row=row,
        group=slots.group(row),
        policy=label.policy,
        terminated=terminated,
        steps=tuple(
            step_of(slots, t.obs, t.info, choices[id(t)], t.answer, keep_texts=True)
            for t in transitions
        ),
        kind=kind if isinstance(kind, str) else None,
        selection=selection,
        final_value=None if terminated else pieces[-1].final_value,
        weights=slots.weights,
    )
