"""Package descriptions out of Debian's package lists, cut into sentences. Knows nothing of tasks.

A list is a text of paragraphs ("stanzas") of `Field: value` lines, with an empty line between two.
The value of `Description` or `Description-en` is a one-line synopsis; further lines, each
indented by a space, are the long description: ` .` separates its paragraphs, and deeper
indentation or a bullet marks an item of a list.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from strategy_rl_envs.kit.errors import DataError

_OPENERS: dict[str, Callable[..., IO[str]]] = {
    ".gz": gzip.open,
    ".xz": lzma.open,
    ".bz2": bz2.open,
}
_DESCRIPTIONS = ("Description", "Description-en")
_FIELDS = ("Package", "Source", *_DESCRIPTIONS)
_URL = re.compile(r"<?(?:https?|ftp)://[^\s<>\"]+[^\s<>\".,;:)]>?")
_MAIL = re.compile(r"<?[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+>?")
_BULLET = re.compile(r"[*+o\u2022-]\s+")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|resp|approx|incl|ca|[A-Z])\.)$")
_END = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[\"'(]?[A-Z0-9<])")


@dataclass(frozen=True)
class Package:
    """A binary package: its name, its source, its synopsis and the sentences of the rest."""

    name: str
    source: str
    synopsis: str
    sentences: tuple[str, ...]


def load_packages(files: Iterable[Path]) -> list[Package]:
    """Read all packages of some lists, sorted by name; what several lists say is put together.

    Args:
        files: `Packages` or `Translation-en` lists, plain or with the suffix .gz, .xz or .bz2.

    Raises:
        DataError: A file cannot be read, or none of them holds a long description.
    """
    fields: dict[str, dict[str, str]] = {}
    for file in files:
        for stanza in read_stanzas(file):
            name = stanza.get("Package")
            if name is None:
                continue
            known = fields.setdefault(name, {})
            for key, value in stanza.items():
                if len(value) > len(known.get(key, "")):
                    known[key] = value
    packages = [_package(name.strip(), known) for name, known in sorted(fields.items())]
    if not any(package.sentences for package in packages):
        raise DataError(
            "no long description in the files given; where `Packages` holds synopses alone, give "
            "the `Translation-en` list too"
        )
    return packages


def read_stanzas(file: Path) -> Iterator[dict[str, str]]:
    """Yield the fields of each stanza; both description fields under `Description`.

    Raises:
        DataError: The file cannot be read; the message begins with `file:` or `file:line:`.
    """
    stanza: dict[str, str] = {}
    field = ""
    try:
        with _OPENERS.get(file.suffix, open)(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    if stanza:
                        yield stanza
                    stanza, field = {}, ""
                elif line[0].isspace():
                    if field:
                        stanza[field] += line
                else:
                    name, colon, value = line.partition(":")
                    if not colon:
                        raise DataError(f"{file}:{number}: expected 'Field: value', got {line!r}")
                    field = "" if name not in _FIELDS else name.removesuffix("-en")
                    if field:
                        stanza[field] = value.strip() + "\n"
    except (OSError, EOFError, lzma.LZMAError, UnicodeDecodeError) as error:
        hint = "; unpack it first" if file.suffix not in ("", *_OPENERS) else ""
        raise DataError(f"{file}: cannot be read: {error}{hint}") from error
    if stanza:
        yield stanza


def _package(name: str, fields: dict[str, str]) -> Package:
    synopsis, _, rest = fields.get("Description", "").partition("\n")
    source = fields.get("Source", name).split("(")[0].strip()
    return Package(name, source, _clean(synopsis), tuple(sentences_of(rest)))


def sentences_of(description: str) -> list[str]:
    """Cut a long description into sentences and list items, without bullets and addresses."""
    blocks: list[list[str]] = [[]]
    depth = 0
    for line in description.splitlines():
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if not any(map(str.isalnum, text)):  # " .", or a line drawn under a heading
            blocks.append([])
            depth = 0
            continue
        bullet = _BULLET.match(text)
        if bullet or (indent > 1) != (depth > 1) or (indent > 1 and indent <= depth):
            blocks.append([])
            depth = indent
        blocks[-1].append(text[bullet.end() :] if bullet else text)
    return [sentence for block in blocks if block for sentence in split_sentences(" ".join(block))]


def split_sentences(text: str) -> list[str]:
    """Cut a paragraph at full stops, question and exclamation marks; not after abbreviations."""
    parts: list[str] = []
    for part in _END.split(text):
        if parts and _ABBREVIATION.search(parts[-1]):
            parts[-1] += " " + part
        else:
            parts.append(part)
    return [clean for part in parts if (clean := _clean(part))]


def _clean(text: str) -> str:
    return " ".join(_MAIL.sub("<mail>", _URL.sub("<url>", text)).split())
