"""Builds a data set of controlled generation: wanted sentiment and wanted keywords.

    pip download vaderSentiment==3.3.2 --no-deps --no-binary :all:
    python -m strategy_rl_envs.controlled_generation.build --ratings vaderSentiment-3.3.2.tar.gz \
        --packages Packages Translation-en --out data/controlled

writes `train.jsonl`, `validation.jsonl`, `test.jsonl` and `manifest.json`. The same files and
arguments give the same bytes.

- sentiment: the first words of a sentence of a product review that people rated. Each gives two
  rows of one group: to be continued as people rated it (the real rest is the reference), and the
  other way round (there is no reference).
- keywords: three rare words of a real sentence out of a package description. `apt-get update -o
  Acquire::Languages=en` fetches the lists (`/usr/lib/apt/apt-helper cat-file LIST` unpacks them).
- `--add` takes over rows of other files in the form that `data` tells, as poems.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from strategy_rl_envs.controlled_generation.keywords import (
    document_counts,
    keywords,
    plain_sentence,
)
from strategy_rl_envs.controlled_generation.ratings import SHARES, Rated, load_ratings
from strategy_rl_envs.kit.descriptions import Package, load_packages
from strategy_rl_envs.kit.errors import TaskError
from strategy_rl_envs.kit.reader import read_records
from strategy_rl_envs.kit.splits import share_groups
from strategy_rl_envs.kit.writer import write_manifest, write_rows
from strategy_rl_envs.rewards.lexicon import sentiment

FIRST_WORDS = 5
REVIEW_WORDS = (8, 24)
CLEAR = 0.8  # a rating nearer to 0 can hardly be told from the rest of the sentence alone
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Size:
    """Most rows of each kind, by split."""

    train: int = 4000
    validation: int = 200
    test: int = 600


SIZES = {"full": Size(), "sample": Size(train=600, validation=110, test=220)}


def build(
    ratings: Path, packages: Sequence[Path], out: Path, size: Size, added: str | None = None
) -> dict[str, Any]:
    """Build the three splits and return the manifest, which is written last.

    Args:
        ratings: The archive that `ratings` reads.
        packages: Debian's package lists.
        out: Folder to write to.
        size: How much.
        added: Pattern with `{split}`: files whose rows are taken over.

    Raises:
        TaskError: A file cannot be read, or gives no row.
    """
    rated, described = load_ratings(ratings), _keyword_rows(load_packages(packages))
    manifest: dict[str, Any] = {
        "schema": 1,
        "sources": [_digest(file) for file in (ratings, *packages)],
        "size": asdict(size),
        "splits": {},
    }
    out.mkdir(parents=True, exist_ok=True)
    for split, count in asdict(size).items():
        rows = {
            "sentiment": list(_sentiment_rows(_in_order(rated[split], count // 2))),
            "keywords": described[split][:count],
            "added": [] if added is None else _added(Path(added.replace("{split}", split))),
        }
        if not rows["sentiment"] or not rows["keywords"]:
            raise TaskError(f"{split}: the sources give no row of sentiment or of keywords")
        counts = {kind: len(found) for kind, found in rows.items()}
        every = [row for found in rows.values() for row in found]
        manifest["splits"][split] = {**counts, **write_rows(out / f"{split}.jsonl", every)}
    write_manifest(out / "manifest.json", manifest)
    return manifest


def _in_order(texts: Iterable[Rated], count: int) -> list[Rated]:
    """The first texts that can be used, in an order by hash; as many positive as negative ones."""
    usable = sorted(filter(_fits, texts), key=lambda text: _hash(text.id))
    above = [text for text in usable if text.score > 0]
    below = [text for text in usable if text.score < 0]
    pairs = list(zip(above, below, strict=False))[: count // 2]
    return [text for pair in pairs for text in pair]


def _fits(text: Rated) -> bool:
    """A whole sentence of a review, short enough, whose rest does not deny its clear polarity."""
    low, high = REVIEW_WORDS
    rest = " ".join(text.text.split()[FIRST_WORDS:])
    return (
        text.domain == "reviews"
        and abs(text.score) >= CLEAR
        and sentiment(rest) * text.score >= 0
        and low <= len(text.text.split()) <= high
        and text.text.isascii()
        and text.text[0].isalpha()
        and text.text[-1] in ".!?"
        and not set('()[]":;/#@*') & set(text.text)
    )


def _sentiment_rows(texts: Iterable[Rated]) -> Iterator[dict[str, Any]]:
    for text in texts:
        words = text.text.split()
        real = "positive" if text.score > 0 else "negative"
        for wanted in ("positive", "negative"):
            rest = " ".join(words[FIRST_WORDS:])
            yield {
                "id": f"{text.id}-{wanted}",
                "group": text.group,
                "lang": "en",
                "control": "sentiment",
                "prompt": " ".join(words[:FIRST_WORDS]),
                "target": {"sentiment": wanted},
                "reference": rest if wanted == real else None,
                "origin": "vader",
            }


def _keyword_rows(packages: Sequence[Package]) -> dict[str, Rows]:
    """Rows by split, in an order by hash: one a source package, no set of keywords twice."""
    counts = document_counts(packages)
    share = share_groups((package.source for package in packages), SHARES)
    seen: set[str] = set()
    rows: dict[str, Rows] = {"train": [], "validation": [], "test": []}
    for package in sorted(packages, key=lambda package: _hash(package.name)):
        sentence = plain_sentence(package)
        words = [] if sentence is None else keywords(sentence, counts, len(packages))
        marks = {f"source {package.source}", " ".join(sorted(words)), sentence or ""}
        if words and not marks & seen:
            seen |= marks
            rows[share[package.source]].append(
                {
                    "id": f"debian-{package.name}",
                    "group": package.source,
                    "lang": "en",
                    "control": "keywords",
                    "target": {"keywords": words, "max_words": 24},
                    "reference": sentence,
                    "origin": "debian",
                }
            )
    return rows


def _added(file: Path) -> Rows:
    return [dict(record.values) for record in read_records(file)]


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 2 where the input is refused."""
    parser = argparse.ArgumentParser(
        prog="python -m strategy_rl_envs.controlled_generation.build",
        description="Build data of controlled generation out of rated reviews and package lists.",
    )
    parser.add_argument("--ratings", type=Path, required=True, help="vaderSentiment-3.3.2.tar.gz")
    parser.add_argument("--packages", type=Path, nargs="+", required=True,
                        help="Packages and Translation-en lists; .gz, .xz, .bz2 too")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--size", choices=SIZES, default="full", help="how much to build")
    parser.add_argument("--add", help="files with more rows, as 'poems.{split}.jsonl'")
    given = parser.parse_args(arguments)
    try:
        manifest = build(given.ratings, given.packages, given.out, SIZES[given.size], given.add)
    except (TaskError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for split, figures in manifest["splits"].items():
        sys.stdout.write(f"{split}: {json.dumps(figures)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
