"""Documents with summaries out of data files. Knows nothing of Gymnasium.

A file holds one document a line:

    {"id": .., "sentences": [..], "references": [..], "title": .., "lang": .., "group": ..}

`references` are summaries that people wrote; a single text under `summary` will do. `title` and
`lang` may be missing; without `group`, a document is a group of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from strategy_rl_envs.kit.record import Record, Tally
from strategy_rl_envs.kit.rows import Split, read_split

MIN_SENTENCES = 2


@dataclass(frozen=True, slots=True)
class Document:
    """What one episode plays. `title` is empty where there is none."""

    id: str
    group: str
    language: str
    title: str
    sentences: tuple[str, ...]
    references: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """How a file's documents are shown.

    Attributes:
        max_sentences: Sentences past this many are left out.
        max_chars: A longer sentence is cut.
    """

    max_sentences: int
    max_chars: int


def load_split(path: Path, view: View) -> Split[Document]:
    """Read a file's documents; see `rows.read_split`."""
    return read_split(path, view, _read)


def _read(record: Record, view: View, tally: Tally) -> Iterator[Document]:
    """Check one row; none where it gives nothing to decide or to compare with."""
    given = [text for text in record.texts("sentences") if text.strip()]
    references = _references(record)
    reason = None
    if len(given) < MIN_SENTENCES:
        reason = f"fewer than {MIN_SENTENCES} sentences"
    elif not references:
        reason = "no reference with words"
    elif not any(map(has_words, given)):
        reason = "no sentence with words"
    if reason:
        tally.skipped[reason] += 1
        return
    tally.used += 1
    if len(given) > view.max_sentences:
        tally.changed[f"documents cut to {view.max_sentences} sentences"] += 1
    if max(map(len, given)) > view.max_chars:
        tally.changed[f"sentences cut to {view.max_chars} characters"] += 1
    name = record.text("id")
    yield Document(
        name,
        record.text("group", default=name),
        record.text("lang", default=""),
        record.text("title", default="")[: view.max_chars],
        tuple(text[: view.max_chars] for text in given[: view.max_sentences]),
        references,
    )


def _references(record: Record) -> tuple[str, ...]:
    found = record.texts("references") if "references" in record else (record.text("summary"),)
    return tuple(text for text in found if has_words(text))


def has_words(text: str) -> bool:
    """Whether a text holds a letter or a digit."""
    return any(map(str.isalnum, text))
