"""Documents with summaries out of data files. Knows nothing of Gymnasium.

A file holds one document a line:

    {"id": .., "sentences": [..], "references": [..], "title": .., "lang": .., "group": ..}

`references` are summaries that people wrote; a single text under `summary` will do. `title` and
`lang` may be missing; without `group`, a document is a group of its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from strategy_rl_envs.kit.reader import read_records
from strategy_rl_envs.kit.record import Record, Tally

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


@dataclass(frozen=True, eq=False)
class Split:
    """All documents of a file. It is equal to itself alone, so that caches may go by it.

    Attributes:
        documents: In the order of the file.
        counts: Documents used, skipped and changed, by reason.
        fingerprint: SHA-256 of the file's bytes.
    """

    documents: tuple[Document, ...]
    counts: dict[str, int]
    fingerprint: str


def load_split(path: Path, view: View) -> Split:
    """Read a file's documents; the same file and view are read once a process.

    Raises:
        DataError: The file or a row cannot be used, or more than half of the rows are skipped.
    """
    try:
        stamp = path.stat()
    except OSError:
        return _load(path, (0, 0), view)  # the reader says what is wrong
    return _load(path, (stamp.st_mtime_ns, stamp.st_size), view)


@lru_cache(maxsize=12)
def _load(path: Path, stamp: tuple[int, int], view: View) -> Split:
    tally = Tally()
    documents: dict[str, Document] = {}
    seen: set[str] = set()
    for record in read_records(path):
        name = record.text("id")
        if name in seen:
            raise record.fault("id", f"{name!r} stands twice in the file")
        seen.add(name)
        document = _read(record, name, view, tally)
        if document is not None:
            documents[name] = document
    tally.close(str(path))
    with path.open("rb") as file:
        fingerprint = hashlib.file_digest(file, "sha256").hexdigest()
    return Split(tuple(documents.values()), tally.counts(), fingerprint)


def _read(record: Record, name: str, view: View, tally: Tally) -> Document | None:
    """Check one row; None where it gives nothing to decide or to compare with."""
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
        return None
    tally.used += 1
    if len(given) > view.max_sentences:
        tally.changed[f"documents cut to {view.max_sentences} sentences"] += 1
    if max(map(len, given)) > view.max_chars:
        tally.changed[f"sentences cut to {view.max_chars} characters"] += 1
    return Document(
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
