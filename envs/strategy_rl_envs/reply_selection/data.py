"""Conversations out of data files, prepared for play. Knows nothing of Gymnasium.

A file holds conversations, one a line,

    {"id": .., "group": .., "lang": .., "origin": .., "turns": [TURN, ..]}
    where TURN is {"context": [..], "candidates": [..], "label": .., "kinds": [..]}

or single turns, one a line: `id` and the fields of a TURN. Where they are missing, `group` is the
`id` and `kinds` says gold and other. `label` is the index of the real reply.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random

from strategy_rl_envs.kit.record import Record, Tally
from strategy_rl_envs.kit.rows import Split, read_split

SAMPLE = Path(__file__).parent / "sample"


@dataclass(frozen=True, slots=True)
class Turn:
    """One decision: the texts shown, the index of the real reply, what each candidate is."""

    context: tuple[str, ...]
    candidates: tuple[str, ...]
    label: int
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """What one episode plays: a conversation's turns, or one of them."""

    id: str
    group: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class View:
    """How a file's conversations are made into rows.

    Attributes:
        single: make each turn a row of its own.
        max_turns: a conversation's turns past this many are left out.
        context_turns: how many of the latest texts of the history are shown.
        min_candidates: fewest candidates a turn shows, where the file has that many.
        max_candidates: most candidates a turn shows.
        max_chars: a longer text is cut, a text of the history at its beginning.
    """

    single: bool
    max_turns: int
    context_turns: int
    min_candidates: int
    max_candidates: int
    max_chars: int


def load_split(path: Path, view: View) -> Split[Row]:
    """Read a file's rows; see `rows.read_split`."""
    return read_split(path, view, _rows)


def _rows(record: Record, view: View, tally: Tally) -> Iterator[Row]:
    """Make a line of the file into one row, or into one a turn."""
    name = record.text("id")
    group = record.text("group", default=name)
    parts = record.records("turns") if "turns" in record else [record]
    turns = []
    for number, part in enumerate(parts[: view.max_turns]):
        turn = _read_turn(part, f"{name}/{number}", view, tally)
        if turn is not None:
            turns.append(_share_texts(turn))
    if view.single:
        yield from (Row(f"{name}/{number}", group, (turn,)) for number, turn in enumerate(turns))
    elif turns:
        yield Row(name, group, tuple(turns))


def _read_turn(part: Record, name: str, view: View, tally: Tally) -> Turn | None:
    """Check one turn and choose its candidates; None where it cannot be used."""
    context, candidates = part.texts("context"), part.texts("candidates")
    label = part.integer("label")
    if not 0 <= label < len(candidates):
        raise part.fault("label", f"{label} is not among the {len(candidates)} candidates")
    kinds = part.texts("kinds") if "kinds" in part else _default_kinds(len(candidates), label)
    if len(kinds) != len(candidates):
        raise part.fault("kinds", f"has {len(kinds)} entries for {len(candidates)} candidates")
    reason = _unusable(context, candidates)
    if reason:
        tally.skipped[reason] += 1
        return None
    tally.used += 1
    context = context[-view.context_turns :]
    if max(map(len, chain(context, candidates))) > view.max_chars:
        tally.changed[f"texts cut to {view.max_chars} characters"] += 1
        context = tuple(text[-view.max_chars :] for text in context)
        candidates = tuple(text[: view.max_chars] for text in candidates)
    return _choose_candidates(Turn(context, candidates, label, kinds), name, view)


def _unusable(context: tuple[str, ...], candidates: tuple[str, ...]) -> str | None:
    """Say why a turn gives nothing to decide or to learn; None where it does."""
    if not any(text.strip() for text in context):
        return "empty context"
    if not all(text.strip() for text in candidates):
        return "empty candidate"
    if len(candidates) == 1:
        return "one candidate"
    if len(set(candidates)) == 1:
        return "all candidates equal"
    return None


def _default_kinds(count: int, label: int) -> tuple[str, ...]:
    return tuple("gold" if place == label else "other" for place in range(count))


def _choose_candidates(turn: Turn, name: str, view: View) -> Turn:
    """Draw how many candidates are shown, which, and in which order; the gold one always is.

    The turn's name is the seed, so a turn is the same in every process and at every visit. Only
    `Random.random` is used: Python keeps its stream the same between versions.
    """
    rng = Random(name)
    wanted = view.min_candidates + int(
        rng.random() * (view.max_candidates - view.min_candidates + 1)
    )
    gold = turn.candidates[turn.label]
    places = {text: place for place, text in reversed(list(enumerate(turn.candidates)))}
    others = sorted((places[text] for text in places if text != gold), key=lambda _: rng.random())
    shown = sorted([turn.label, *others[: wanted - 1]], key=lambda _: rng.random())
    return Turn(
        turn.context,
        tuple(turn.candidates[place] for place in shown),
        shown.index(turn.label),
        tuple(turn.kinds[place] for place in shown),
    )


def _share_texts(turn: Turn) -> Turn:
    """Distractors repeat: one object a text."""
    context = tuple(map(sys.intern, turn.context))
    candidates = tuple(map(sys.intern, turn.candidates))
    return Turn(context, candidates, turn.label, turn.kinds)
