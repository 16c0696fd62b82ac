"""Builds data of decoding control out of files that other tasks use.

    python -m strategy_rl_envs.decoding_control.build --descriptions data/debian --out data/x

writes `train.jsonl`, `validation.jsonl`, `test.jsonl` and `manifest.json`; the same files and
arguments give the same bytes. Sources may be put together:

- `--descriptions`: documents with summaries (`summarization.build` makes them of package lists).
  The prompt holds the first sentences and asks what this is; the references are the summaries.
- `--languages`: the same files. Of documents that name the programming language of something, the
  prompt asks for it.
- `--questions`: rows of {"id", "context", "question", "answers", "answer_start", "title"}, as
  SQuAD and its kin are easily brought to. The prompt holds the sentences around the answer.

Each takes what `data=` of an environment takes: a folder, or a pattern with `{split}`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from strategy_rl_envs.kit.errors import DataError, TaskError
from strategy_rl_envs.kit.reader import read_records
from strategy_rl_envs.kit.record import Record
from strategy_rl_envs.kit.splits import split_file
from strategy_rl_envs.kit.writer import write_manifest, write_rows

SENTENCES = 2  # of a description that the prompt holds
CHARS = 600  # of a source; longer ones are left out
BRIEFLY = "Answer in a few words."
Row = dict[str, Any]

_LANGUAGES = ("C++", "C", "Python", "Perl", "Go", "Java", "JavaScript", "Ruby", "Haskell", "Rust",
              "Lua", "PHP", "Tcl", "OCaml", "Erlang", "Vala", "Fortran", "Lisp", "R")  # fmt: skip
_WRITTEN_IN = re.compile(
    r"\b(?:written|implemented) (?:[a-z]+ )?in (?:pure )?"
    rf"({'|'.join(map(re.escape, _LANGUAGES))})(?![\w+#/-]|\.\w)"
)
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")


@dataclass(frozen=True)
class Size:
    """Most rows of each source, by split."""

    train: int = 1150
    validation: int = 200
    test: int = 600


SIZES = {"full": Size(), "sample": Size(train=120, validation=40, test=60)}


def description(record: Record) -> Row | None:
    """What the first sentences are about, in one line."""
    sentences, references = record.texts("sentences"), record.texts("references")
    source = " ".join(sentences[:SENTENCES])
    return {
        "id": record.text("id"),
        "group": record.text("group", default=record.text("id")),
        "kind": "description",
        "prompt": f"{source}\nWhat is this package? {BRIEFLY}",
        "source": source,
        "references": references,
        "origin": record.text("origin", default=""),
    }


def language(record: Record) -> Row | None:
    """In which programming language something is written; None where it does not say."""
    for sentence in record.texts("sentences"):
        found = _WRITTEN_IN.search(sentence)
        if found:
            return {
                "id": f"{record.text('id')}-language",
                "group": record.text("group", default=record.text("id")),
                "kind": "question",
                "prompt": f"{sentence}\nWhich programming language is it written in? {BRIEFLY}",
                "source": sentence,
                "references": [found[1]],
                "origin": record.text("origin", default=""),
            }
    return None


def question(record: Record) -> Row | None:
    """A question on a passage, of which the prompt holds the sentences around the answer."""
    context, answers = record.text("context"), record.texts("answers")
    start = record.integer("answer_start")
    if not answers:
        raise record.fault("answers", "expected one text or more, got none")
    if start < 0 or not context.startswith(answers[0], start):
        raise record.fault("answer_start", f"at {start} the context does not hold {answers[0]!r}")
    source = around(context, start, start + len(answers[0]))
    return {
        "id": record.text("id"),
        "group": record.text("title", default=record.text("id")),
        "kind": "question",
        "prompt": f"{source}\n{record.text('question')} {BRIEFLY}",
        "source": source,
        "references": list(dict.fromkeys(answers)),
        "origin": record.text("origin", default=""),
    }


SOURCES: Mapping[str, Callable[[Record], Row | None]] = {
    "descriptions": description,
    "languages": language,
    "questions": question,
}


def around(text: str, start: int, end: int) -> str:
    """The whole sentences that hold the characters from `start` to `end`."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    first = max((place for place in ends if place <= start), default=0)
    last = min((place for place in ends if place >= end), default=len(text))
    return text[first:last].strip()


def build(sources: Mapping[str, str], out: Path, size: Size) -> dict[str, Any]:
    """Build the three splits and return the manifest, which is written last.

    Args:
        sources: Some of `SOURCES`, with where their files are.
        out: Folder to write to.
        size: How much.

    Raises:
        TaskError: A file cannot be read, or gives no row.
    """
    manifest: dict[str, Any] = {"schema": 1, "size": asdict(size), "splits": {}}
    out.mkdir(parents=True, exist_ok=True)
    for split, count in asdict(size).items():
        files = {name: _file(name, where, split) for name, where in sources.items()}
        rows = {name: _rows(name, file, count) for name, file in files.items()}
        written = write_rows(
            out / f"{split}.jsonl", [row for found in rows.values() for row in found]
        )
        manifest["splits"][split] = {
            "sources": {name: _digest(file) for name, file in files.items()},
            "rows": {name: len(found) for name, found in rows.items()},
            **written,
        }
    write_manifest(out / "manifest.json", manifest)
    return manifest


def _file(name: str, where: str, split: str) -> Path:
    file = split_file(where, split)
    if file is None:
        raise TaskError(f"--{name}: {where} is one file; expected a folder or a pattern {{split}}")
    return file


def _rows(name: str, file: Path, count: int) -> list[Row]:
    """The first rows in an order by hash, so that a smaller draw is part of a larger one."""
    found = [row for record in read_records(file) if (row := SOURCES[name](record)) is not None]
    usable = [row for row in found if len(row["source"]) <= CHARS]
    if not usable:
        raise DataError(f"{file}: gives no row of {name}")
    return sorted(usable, key=lambda row: hashlib.sha256(row["id"].encode()).digest())[:count]


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 2 where the input is refused."""
    parser = argparse.ArgumentParser(
        prog="python -m strategy_rl_envs.decoding_control.build",
        description="Build data of decoding control out of documents and questions.",
    )
    for name in SOURCES:
        parser.add_argument(f"--{name}", help="folder, or a pattern with {split}")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--size", choices=SIZES, default="full", help="how much to build")
    given = parser.parse_args(arguments)
    sources = {name: getattr(given, name) for name in SOURCES if getattr(given, name)}
    if not sources:
        parser.error(f"nothing to build from; give one or more of --{', --'.join(SOURCES)}")
    try:
        manifest = build(sources, given.out, SIZES[given.size])
    except (TaskError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for split, figures in manifest["splits"].items():
        sys.stdout.write(f"{split}: {json.dumps(figures['rows'])}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
