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

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strategy_rl_envs.kit.documents import has_words
from strategy_rl_envs.kit.record import Record, Tally
from strategy_rl_envs.kit.rows import Split, read_split

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

    def facts(
        self, place: int, output: str, num_tokens: int, surprisal: float = 0.0
    ) -> dict[str, Any]:
        """What reward functions may know of an episode that is over.

        Args:
            place: Number of the row in its split.
            output: The text.
            num_tokens: Tokens that the model wrote.
            surprisal: Of what was drawn, to the model as it is: mean, nats.
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
            "surprisal": surprisal,
        }


def load_split(path: Path, max_prompt: int = 4000) -> Split[Row]:
    """Read a file's rows; see `rows.read_split`.

    Args:
        path: JSONL, CSV or parquet.
        max_prompt: Rows with a longer prompt, in characters, are left out and counted: the
            instruction mostly stands at the end, so that a cut would take it away.

    Raises:
        DataError: The file or a row cannot be used, or more than half of the rows are left out.
    """
    return read_split(path, max_prompt, _read)


def _read(record: Record, max_prompt: int, tally: Tally) -> Iterator[Row]:
    name, prompt = record.text("id"), record.text("prompt")
    if not has_words(prompt):
        raise record.fault("prompt", f"expected a text with words, got {prompt!r}")
    row = Row(
        id=name,
        group=record.text("group", default=name),
        kind=record.text("kind", default=KIND),
        prompt=prompt,
        source=record.text("source", default=""),
        references=_references(record),
        keywords=_worded(record, "keywords"),
        window=_window(record),
    )
    if len(prompt) > max_prompt:
        tally.skipped[f"prompt of more than {max_prompt} characters"] += 1
        return
    tally.used += 1
    yield row


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
