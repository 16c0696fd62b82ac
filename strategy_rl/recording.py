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
from strategy_rl.rollout import Rollout, Slot, Transition
from strategy_rl.seeding import generator
from strategy_rl.steps import step_of

SPLIT = "train"
REASONS = ("random", "best", "worst", "surprising")
MAX_SHARE = 0.05  # of all steps
CREDIT = "recording_credit"  # steps that may be kept before others come; below 0 it is a debt

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
    def slot(self) -> Slot:
        """Of the episode."""
        return self.rollout.transitions[self.places[0]].slot

    @property
    def has_ended(self) -> bool:
        """Whether the episode goes no further."""
        last = self.rollout.transitions[self.places[-1]].answer
        return last.terminated or last.truncated

    @property
    def final_value(self) -> float:
        """Of what came after the last step."""
        decision = self.rollout.decisions_of(self.places[-1:])[-1]
        return float(self.rollout.next_values[decision])

    def alone(self) -> _Piece:
        """The same without the rest of the rollout."""
        decisions = self.rollout.decisions_of(self.places)
        rollout = replace(self.rollout.at(decisions), transitions=tuple(self.transitions))
        advantages = None if self.advantages is None else self.advantages[decisions]
        return _Piece(rollout, advantages, range(len(self.places)))


def probe_episodes(slots: EnvSlots, told: Told, rollout: Rollout, label: Label) -> list[Episode]:
    """All of a rollout of whole episodes."""
    pieces = list(_pieces(rollout, None).values())
    choices = _choices(told, pieces)
    return [
        _episode(slots, [piece], choices, label, str(number)) for number, piece in enumerate(pieces)
    ]


class TrainingEpisodes:
    """Of each rollout some episodes at random, the best, the worst and the most surprising.

    An episode that several rollouts of fixed length hold is put together again. Of all steps only
    a small share is kept: a long episode is kept whole, and no other for as long as that is ahead
    of the share. What is kept depends on nothing that comes after, so the random ones are a fair
    sample.
    """

    def __init__(
        self, slots: EnvSlots, told: Told, count: int, seed: int, counters: dict[str, Any]
    ) -> None:
        """Takes what it needs for later.

        Args:
            slots: Where rollouts are played.
            told: See `Told`.
            count: How many for each of the four reasons.
            seed: Of the run.
            counters: Of the training; what may be kept next is written there.
        """
        self.slots, self.told, self.count, self.seed = slots, told, count, seed
        self.counters = counters
        counters.setdefault(CREDIT, 0.0)
        self._unfinished: dict[int, list[_Piece]] = {}  # by the identity of the slot

    def pick(self, iteration: int, rollout: Rollout, advantages: Tensor) -> list[Episode]:
        """Some of the episodes that ended in a rollout.

        Args:
            iteration: How many updates the policy had behind it.
            rollout: As it was learnt from.
            advantages: Of its decisions, (N,), not whitened.
        """
        self.counters[CREDIT] += MAX_SHARE * len(rollout.transitions)
        ended = self._ended(rollout, advantages)
        if not ended:
            return []
        label = Label("policy", SPLIT, self.seed, "ppo", iteration)
        whole = len(rollout.episode_returns), float(rollout.episode_returns.mean())
        kept = self._kept(iteration, ended)
        choices = _choices(self.told, [piece for number in kept for piece in ended[number]])
        return [
            _episode(
                self.slots,
                ended[number],
                choices,
                label,
                f"{iteration}-{number}",
                Selection(tuple(kept[number]), *whole),
            )
            for number in sorted(kept)
        ]

    def _ended(self, rollout: Rollout, advantages: Tensor) -> list[list[_Piece]]:
        """The pieces of each episode that ended, where no rollout was left out on the way."""
        found = {
            key: [*self._unfinished.get(key, []), piece]
            for key, piece in _pieces(rollout, advantages).items()
        }
        self._unfinished = {
            key: [*earlier, last.alone()]
            for key, (*earlier, last) in found.items()
            if not last.has_ended
        }
        return [
            pieces
            for pieces in found.values()
            if pieces[-1].has_ended
            and sum(len(piece.places) for piece in pieces) == len(pieces[0].slot.rewards)
        ]

    def _kept(self, iteration: int, ended: Sequence[Sequence[_Piece]]) -> dict[int, list[str]]:
        """Which episodes, and why; takes their steps off the credit."""
        returns = np.array([sum(pieces[0].slot.rewards) for pieces in ended])
        rng = generator(self.seed, "training-episodes", iteration)
        wanted = candidates(returns, _surprise(ended), rng, first=iteration)
        kept: dict[int, list[str]] = {}
        for number, reason in islice(wanted, self.count * len(REASONS)):
            if self.counters[CREDIT] <= 0:
                break
            if number not in kept:
                self.counters[CREDIT] -= len(ended[number][0].slot.rewards)
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


def _pieces(rollout: Rollout, advantages: Tensor | None) -> dict[int, _Piece]:
    """A rollout by episode, in the order of their first steps."""
    places: dict[int, list[int]] = {}
    for place, transition in enumerate(rollout.transitions):
        places.setdefault(id(transition.slot), []).append(place)
    return {key: _Piece(rollout, advantages, own) for key, own in places.items()}


def _surprise(episodes: Sequence[Sequence[_Piece]]) -> np.ndarray:
    """How unlikely the least likely decision of each was, (n,)."""
    rollouts = {id(piece.rollout): piece.rollout for pieces in episodes for piece in pieces}
    least = {key: rollout.least_logprobs().tolist() for key, rollout in rollouts.items()}
    return np.array(
        [
            -min(least[id(piece.rollout)][place] for piece in pieces for place in piece.places)
            for pieces in episodes
        ]
    )


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
    row, kind = last.answer.info.get("row", first.slot.row), first.info.get("kind")
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
    )
