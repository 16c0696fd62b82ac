"""Builds data of decoding control out of files that other tasks use.

    python -m strategy_rl_envs.decoding_control.build --descriptions data/debian --out data/x

writes `train.jsonl`, `validation.jsonl`, `test.jsonl` and `manifest.json`; the same files and
arguments give the same bytes. Sources may be put together:

- `--descriptions`: documents with summaries (`summarization.build` makes them of package lists).
  The prompt holds the first sentences and asks what this is; the references are the summaries.
- `--languages`: the same files. Of documents that name the programming language of something, the
  prompt asks for it.
- `--copies`: the same files. The prompt asks for a sentence of the text word for word.
- `--lists`: the same files. The prompt asks for ten words that have to do with the first summary;
  there is no reference.
- `--keywords`: rows of controlled generation (its shipped sample will do). The prompt asks for a
  sentence with the keywords of a row.
- `--lengths`: the same files. The prompt asks to say in few words, or in many, what
  a row's real sentence is about.
- `--questions`: rows of {"id", "context", "question", "answers", "answer_start", "title"}, as
  SQuAD and its kin are easily brought to. The prompt holds the sentences around the answer.

Each takes what `data=` of an environment takes: a folder, or a pattern with `{split}`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from strategy_rl_envs.decoding_control.sources import SOURCES, Row, by_hash
from strategy_rl_envs.kit.errors import DataError, TaskError
from strategy_rl_envs.kit.reader import read_records
from strategy_rl_envs.kit.splits import split_file
from strategy_rl_envs.kit.writer import write_manifest, write_rows

CHARS = 600  # of a source; longer ones are left out


@dataclass(frozen=True)
class Size:
    """Most rows of each source, by split."""

    train: int = 1150
    validation: int = 200
    test: int = 600


SIZES = {
    "full": Size(),
    "mixture": Size(train=150, validation=25, test=75),
    "sample": Size(train=120, validation=40, test=60),
}


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
    return sorted(usable, key=lambda row: by_hash(row["id"]))[:count]


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
