"""Rows of controlled generation out of data files. Knows nothing of Gymnasium.

A file holds one row a line:

    {"id": .., "control": KIND, "prompt": .., "target": {..}, "reference": .., "group": ..}

    control     prompt                      target
    sentiment   first words of a text       sentiment: positive | negative
    keywords    (not read)                  keywords: [..], and perhaps max_words
    length      a text to be summarized     words, and perhaps tolerance
    poem_form   first couplet of a poem     chars_per_line, couplets: still to be written

`reference` is a real text that does what is asked; null or left out where there is none. Without
`group`, a row is a group of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.kit.record import Record, Tally
from strategy_rl_envs.kit.rows import Split, read_split

SAMPLE = Path(__file__).parent / "sample"
POLARITIES = ("positive", "negative")
SENTIMENT_WORDS = (4, 24)
KEYWORDS_WORDS = (5, 30)
TOLERANCE = 3
MOST_KEYWORDS = 200  # characters of all of a row's keywords


@dataclass(frozen=True, slots=True)
class Row:
    """What one episode plays.

    Attributes:
        id: Unique in the file.
        group: Rows that share it belong together.
        kind: One of `KINDS`.
        source: What the prompt is made of: first words, a document, a couplet; else empty.
        target: What is wanted, as in the file.
        window: Fewest and most tokens of a text that can keep to it.
        reference: A real text that does; None where there is none.
    """

    id: str
    group: str
    kind: str
    source: str
    target: dict[str, Any]
    window: tuple[int, int]
    reference: str | None


@dataclass(frozen=True)
class View:
    """Which rows of a file are played.

    Attributes:
        kinds: Those of these kinds.
        expert_only: Those with a reference alone.
        max_source: A longer source is cut, in characters.
    """

    kinds: tuple[str, ...]
    expert_only: bool
    max_source: int


def load_split(path: Path, view: View) -> Split[Row]:
    """Read the rows of a file that a view shows; see `rows.read_split`.

    Raises:
        SettingError: It holds no row of the wanted kinds.
    """
    return _shown(path, read_split(path, view.max_source, _read), view)


@lru_cache(maxsize=12)
def _shown(path: Path, split: Split[Row], view: View) -> Split[Row]:
    wanted = [row for row in split.rows if row.kind in view.kinds]
    shown = tuple(row for row in wanted if row.reference is not None or not view.expert_only)
    if not shown:
        kinds = sorted({row.kind for row in split.rows})
        raise SettingError(
            f"{path}: none of its {len(split.rows)} rows is of the kinds {', '.join(view.kinds)}"
            f"{' and has a reference' if wanted else ''}; it holds {', '.join(kinds)}"
        )
    return Split(shown, split.counts | {"shown": len(shown)}, split.fingerprint)


def _read(record: Record, max_source: int, tally: Tally) -> Iterator[Row]:
    kind, name = record.text("control"), record.text("id")
    if kind not in KINDS:
        raise record.fault("control", f"got {kind!r}; known: {', '.join(KINDS)}")
    target = record.get("target")
    if not isinstance(target, dict):
        raise record.fault("target", f"expected an object, got {type(target).__name__}")
    window = KINDS[kind](Record(f"{record.place}: target", target))
    tally.used += 1
    if len(record.text("prompt", default="")) > max_source:
        tally.changed[f"sources cut to {max_source} characters"] += 1
    yield Row(
        id=name,
        group=record.text("group", default=name),
        kind=kind,
        source="" if kind == "keywords" else record.text("prompt")[:max_source],
        target=target,
        window=window,
        reference=record.text("reference", default="") or None,
    )


def _sentiment(target: Record) -> tuple[int, int]:
    wanted = target.text("sentiment")
    if wanted not in POLARITIES:
        raise target.fault("sentiment", f"expected {' or '.join(POLARITIES)}, got {wanted!r}")
    return SENTIMENT_WORDS


def _keywords(target: Record) -> tuple[int, int]:
    words = target.texts("keywords")
    if not words or not all(any(map(str.isalnum, word)) for word in words):
        raise target.fault("keywords", f"expected one word or more, got {list(words)}")
    if sum(map(len, words)) > MOST_KEYWORDS:
        raise target.fault("keywords", f"expected {MOST_KEYWORDS} characters at most in all")
    low, high = KEYWORDS_WORDS
    return low, _count(target, "max_words", low) if "max_words" in target else high


def _length(target: Record) -> tuple[int, int]:
    words = _count(target, "words", 1)
    tolerance = _count(target, "tolerance", 0) if "tolerance" in target else TOLERANCE
    return max(1, words - tolerance), words + tolerance


def _poem_form(target: Record) -> tuple[int, int]:
    characters = 2 * _count(target, "couplets", 1) * _count(target, "chars_per_line", 1)
    return characters, characters


def _count(target: Record, field: str, low: int) -> int:
    number = target.integer(field)
    if number < low:
        raise target.fault(field, f"expected {low} or more, got {number}")
    return number


# kind of control -> checks a target and tells the fewest and most tokens of a text that keeps to it
KINDS: dict[str, Callable[[Record], tuple[int, int]]] = {
    "sentiment": _sentiment,
    "keywords": _keywords,
    "length": _length,
    "poem_form": _poem_form,
}
