"""Rows of decoding control out of data files. Knows nothing of Gymnasium and of models.

A file holds one prompt a line:

    {"id": .., "prompt": .., "kind": .., "references": [..], "source": .., "keywords": [..],
     "window": [fewest, most], "group": ..}

`prompt` is all that the model is told. The rest is what rewards compare with, and may be missing:
`references` are texts that people wrote (a single one under `reference` will do), `source` is the
part of the prompt that is about something, `keywords` are to be named, and `window` holds the
fewest and the most tokens that are wanted. `kind` sorts rows for reports. Without `group`, a row
is a group of its own.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from strategy_rl_envs.kit.documents import has_words
from strategy_rl_envs.kit.reader import read_records
from strategy_rl_envs.kit.record import Record, Tally

SAMPLE = Path(__file__).parent / "sample"
KIND = "text"  # of rows that name none


@dataclass(frozen=True, slots=True)
class Row:
    """What one episode plays.

    Attributes:
        id: Unique in the file.
        group: Rows that share it belong together.
        kind: What sort of text is wanted; any word.
        prompt: The whole instruction.
        source: The part of it that is about something; may be empty.
        references: Texts that people wrote; may be none.
        keywords: Words to be named; may be none.
        window: Fewest and most tokens that are wanted; None where any number is.
    """

    id: str
    group: str
    kind: str
    prompt: str
    source: str
    references: tuple[str, ...]
    keywords: tuple[str, ...]
    window: tuple[int, int] | None

    def facts(self, place: int, output: str, num_tokens: int) -> dict[str, Any]:
        """What reward functions may know of an episode that is over.

        Args:
            place: Number of the row in its split.
            output: The text.
            num_tokens: Tokens that the model wrote.
        """
        return {
            "output": output,
            "prompt": self.prompt,
            "source": self.source,
            "reference": self.references[0] if self.references else None,
            "references": self.references,
            "keywords": self.keywords,
            "window": self.window,
            "kind": self.kind,
            "row": place,
            "num_tokens": num_tokens,
        }


@dataclass(frozen=True, eq=False)
class Split:
    """All rows of a file. It is equal to itself alone, so that caches may go by it.

    Attributes:
        rows: In the order of the file.
        counts: Rows used and skipped, by reason.
        fingerprint: SHA-256 of the file's bytes.
    """

    rows: tuple[Row, ...]
    counts: dict[str, int]
    fingerprint: str


def load_split(path: Path, max_prompt: int = 4000) -> Split:
    """Read a file's rows; the same file is read once a process.

    Args:
        path: JSONL, CSV or parquet.
        max_prompt: Rows with a longer prompt, in characters, are left out and counted: the
            instruction mostly stands at the end, so that a cut would take it away.

    Raises:
        DataError: The file or a row cannot be used, or more than half of the rows are left out.
    """
    try:
        stamp = path.stat()
    except OSError:
        return _load(path, (0, 0), max_prompt)  # the reader says what is wrong
    return _load(path, (stamp.st_mtime_ns, stamp.st_size), max_prompt)


@lru_cache(maxsize=12)
def _load(path: Path, stamp: tuple[int, int], max_prompt: int) -> Split:
    tally = Tally()
    rows: dict[str, Row] = {}
    seen: set[str] = set()
    for record in read_records(path):
        row = _read(record)
        if row.id in seen:
            raise record.fault("id", f"{row.id!r} stands twice in the file")
        seen.add(row.id)
        if len(row.prompt) > max_prompt:
            tally.skipped[f"prompt of more than {max_prompt} characters"] += 1
        else:
            rows[row.id] = row
            tally.used += 1
    tally.close(str(path))
    with path.open("rb") as file:
        fingerprint = hashlib.file_digest(file, "sha256").hexdigest()
    return Split(tuple(rows.values()), tally.counts(), fingerprint)


def _read(record: Record) -> Row:
    name, prompt = record.text("id"), record.text("prompt")
    if not has_words(prompt):
        raise record.fault("prompt", f"expected a text with words, got {prompt!r}")
    return Row(
        id=name,
        group=record.text("group", default=name),
        kind=record.text("kind", default=KIND),
        prompt=prompt,
        source=record.text("source", default=""),
        references=_references(record),
        keywords=_worded(record, "keywords"),
        window=_window(record),
    )


def _references(record: Record) -> tuple[str, ...]:
    if "references" in record:
        return _worded(record, "references")
    single = record.text("reference", default="")
    return (single,) if has_words(single) else ()


def _worded(record: Record, field: str) -> tuple[str, ...]:
    """The texts of a list; each must hold a word."""
    found = record.texts(field) if field in record else ()
    for place, text in enumerate(found):
        if not has_words(text):
            raise record.fault(f"{field}[{place}]", f"expected a text with words, got {text!r}")
    return found


def _window(record: Record) -> tuple[int, int] | None:
    if "window" not in record:
        return None
    given = record.get("window")
    whole = isinstance(given, list | tuple) and all(type(number) is int for number in given)
    if not whole or len(given) != 2 or not 1 <= given[0] <= given[1]:
        raise record.fault("window", f"expected [fewest, most] tokens from 1 on, got {given!r}")
    return given[0], given[1]
