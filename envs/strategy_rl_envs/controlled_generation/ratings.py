"""Texts with the mean of 20 people's ratings of their sentiment, out of the archive of VADER.

`pip download vaderSentiment==3.3.2 --no-deps --no-binary :all:` fetches the source archive, which
holds them (MIT; Hutto and Gilbert, ICWSM 2014). Posts and sentences of product reviews are read;
nothing is unpacked to disk.
"""

from __future__ import annotations

import html
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from strategy_rl_envs.kit.errors import DataError
from strategy_rl_envs.kit.splits import share_groups

INNER = "additional_resources/hutto_ICWSM_2014.tar.gz"
DOMAINS = {"tweets": "tweets", "reviews": "amazonReviewSnippets"}
MAX_SPREAD = 1.6  # standard deviation of a text's ratings; above it people disagree
SHARES = (0.7, 0.1, 0.2)
_SPACED = re.compile(r"\s+([.,!?;:%)]|'s\b)")


@dataclass(frozen=True)
class Rated:
    """A text, the review that it is from, and its mean rating from -4 to 4."""

    id: str
    group: str
    domain: str
    text: str
    score: float


def load_ratings(archive: Path) -> dict[str, list[Rated]]:
    """Read the texts on which people agree and share them out by review, the same way each time.

    Returns:
        Texts by split: 70 % of the reviews and posts train, 10 % validate, 20 % test.

    Raises:
        DataError: The archive cannot be read, or is another one.
    """
    try:
        with tarfile.open(archive) as outer:
            inner = next((name for name in outer.getnames() if name.endswith(INNER)), None)
            if inner is None:
                found = [text for domain in DOMAINS for text in _domain(outer, domain)]
            else:
                with tarfile.open(fileobj=outer.extractfile(inner)) as within:
                    found = [text for domain in DOMAINS for text in _domain(within, domain)]
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError) as error:
        problem = " ".join(str(error).split())
        raise DataError(
            f"{archive}: cannot be read: {problem}; expected vaderSentiment-3.3.2.tar.gz, or the "
            f"{Path(INNER).name} in it"
        ) from error
    share = share_groups((text.group for text in found), SHARES)
    splits: dict[str, list[Rated]] = {"train": [], "validation": [], "test": []}
    for text in found:
        splits[share[text.group]].append(text)
    return splits


def _domain(archive: tarfile.TarFile, domain: str) -> Iterator[Rated]:
    spread = {name: float(rest[1]) for name, *rest in _table(archive, domain, "anonDataRatings")}
    for name, score, text in _table(archive, domain, "GroundTruth"):
        if spread[name] <= MAX_SPREAD:
            group = f"vader-{domain}-{name.split('_')[0]}"
            clean = _SPACED.sub(r"\1", " ".join(html.unescape(text).split()))
            yield Rated(f"vader-{domain}-{name}", group, domain, clean, float(score))


def _table(archive: tarfile.TarFile, domain: str, what: str) -> Iterator[list[str]]:
    """Lines of a member: an id and two more columns at least, with tabs between."""
    ending = f"/{DOMAINS[domain]}_{what}.txt"
    member = next((name for name in archive.getnames() if name.endswith(ending)), None)
    if member is None:
        raise ValueError(f"it holds no *{ending}")
    file: IO[bytes] | None = archive.extractfile(member)
    if file is None:
        raise ValueError(f"{member} is no file")
    for line in file.read().decode("utf-8-sig", "replace").splitlines():
        columns = line.split("\t", 3 if what == "anonDataRatings" else 2)
        if len(columns) < 3:
            raise ValueError(f"{member}: expected 3 columns, got {line[:60]!r}")
        yield columns
