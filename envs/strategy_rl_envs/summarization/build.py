"""Builds a data set of summarization out of Debian's package lists.

    python -m strategy_rl_envs.summarization.build --packages Packages Translation-en --out data/x

writes `train.jsonl`, `validation.jsonl`, `test.jsonl` and `manifest.json`. A document is the long
description of a package, its summary the one-line synopsis. The same lists and arguments give
the same bytes. There is one document a source package, so splits share none.

On Debian and its kin `apt-get update -o Acquire::Languages=en` fetches the lists to
/var/lib/apt/lists (`/usr/lib/apt/apt-helper cat-file LIST` unpacks them); /var/lib/dpkg/status
holds the installed packages alone.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from strategy_rl_envs.kit.descriptions import Package, load_packages
from strategy_rl_envs.kit.errors import TaskError
from strategy_rl_envs.kit.writer import write_manifest, write_rows
from strategy_rl_envs.rewards.tokens import tokens

SENTENCES = (4, 14)
SUMMARY_TOKENS = (3, 20)
ORIGIN = "debian"


@dataclass(frozen=True)
class Size:
    """How much to build.

    Attributes:
        train: Most documents of the training split.
        validation: Documents of the validation split.
        test: Documents of the test split.
        family_share: Most of each split that packages of one family (`python3-`, `-perl`) may be.
    """

    train: int = 8000
    validation: int = 400
    test: int = 2000
    family_share: float = 0.06


SIZES = {"full": Size(), "sample": Size(train=300, validation=60, test=100)}


def build(files: Sequence[Path], out: Path, size: Size, seed: int = 0) -> dict[str, Any]:
    """Build the three splits and return the manifest, which is written last.

    Raises:
        TaskError: The lists cannot be read or hold too few usable packages.
    """
    splits = deal(usable(load_packages(files), seed), size)
    manifest: dict[str, Any] = {
        "schema": 1,
        "sources": [hashlib.sha256(file.read_bytes()).hexdigest() for file in files],
        "seed": seed,
        "size": asdict(size),
        "splits": {},
    }
    out.mkdir(parents=True, exist_ok=True)
    for split, packages in splits.items():
        written = write_rows(out / f"{split}.jsonl", map(_row, packages))
        manifest["splits"][split] = {
            "documents": len(packages),
            "sentences": sum(len(package.sentences) for package in packages),
            **written,
        }
    write_manifest(out / "manifest.json", manifest)
    return manifest


def usable(packages: Iterable[Package], seed: int) -> list[Package]:
    """Keep one package a source, no first sentence or synopsis twice, in an order by hash."""

    def place(package: Package) -> bytes:
        return hashlib.sha256(f"{seed}/{package.name}".encode()).digest()

    kept: list[Package] = []
    seen: set[str] = set()
    for package in sorted(filter(_fits, packages), key=place):
        marks = {
            f"source {package.source}",
            f"synopsis {package.synopsis.lower()}",
            f"first {package.sentences[0].lower()}",
        }
        if not marks & seen:
            seen |= marks
            kept.append(package)
    return kept


def deal(packages: Sequence[Package], size: Size) -> dict[str, list[Package]]:
    """Fill test, validation and training split in turn, each with few of any one family.

    Raises:
        TaskError: There is nothing left to train on.
    """
    wanted = {"test": size.test, "validation": size.validation, "train": size.train}
    dealt: dict[str, list[Package]] = {}
    left = list(packages)
    for split, count in wanted.items():
        most = max(1, int(size.family_share * count))
        families: Counter[str] = Counter()
        dealt[split], rest = [], []
        for package in left:
            name = family(package.name)
            if len(dealt[split]) < count and families[name] < most:
                families[name] += 1
                dealt[split].append(package)
            else:
                rest.append(package)
        left = rest
    if not dealt["train"] or len(dealt["test"]) < size.test:
        raise TaskError(
            f"{len(packages)} packages can be used; expected over {size.test + size.validation}: "
            "ask for fewer test documents with --test, or give more lists"
        )
    return dict(reversed(dealt.items()))


def family(name: str) -> str:
    """What packages of one kind share in their names: `-perl` of a library, else the first part."""
    parts = name.split("-")
    return f"-{parts[-1]}" if name.startswith("lib") and len(parts) > 1 else parts[0]


def _fits(package: Package) -> bool:
    """Whether there is something to pick, and a summary that is neither empty nor endless."""
    low, high = SUMMARY_TOKENS
    return (
        SENTENCES[0] <= len(package.sentences) <= SENTENCES[1]
        and low <= len(tokens(package.synopsis)) <= high
        and "transitional" not in package.synopsis.lower()
        and "dummy" not in package.synopsis.lower()
    )


def _row(package: Package) -> dict[str, Any]:
    return {
        "id": f"debian-{package.name}",
        "group": package.source,
        "lang": "en",
        "sentences": package.sentences,
        "references": [package.synopsis],
        "origin": ORIGIN,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 2 where the input is refused."""
    parser = argparse.ArgumentParser(
        prog="python -m strategy_rl_envs.summarization.build",
        description="Build summarization data out of Debian's package lists.",
    )
    parser.add_argument("--packages", type=Path, nargs="+", required=True,
                        help="Packages and Translation-en lists; .gz, .xz, .bz2 too")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="decides documents and splits")
    parser.add_argument("--size", choices=SIZES, default="full", help="how much to build")
    for split in ("train", "validation", "test"):
        parser.add_argument(f"--{split}", type=int, help=f"most documents of the {split} split")
    given = parser.parse_args(arguments)
    counts = {split: getattr(given, split) for split in ("train", "validation", "test")}
    size = replace(SIZES[given.size], **{k: v for k, v in counts.items() if v is not None})
    try:
        manifest = build(given.packages, given.out, size, given.seed)
    except (TaskError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for split, figures in manifest["splits"].items():
        sys.stdout.write(f"{split}: {figures['documents']} documents, "
                         f"{figures['sentences']} sentences\n")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
