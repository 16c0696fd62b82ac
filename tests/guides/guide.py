"""What a guide of docs/ shows, and a new user's folder in which it is tried."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
_NAME = re.compile(r"# (\S+\.(?:py|yaml))\n")


def guide(name: str) -> str:
    """The text of `docs/NAME.md`."""
    return (ROOT / "docs" / f"{name}.md").read_text("utf-8")


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each block between fences."""
    return _BLOCK.findall(text)


def named_files(text: str) -> dict[str, str]:
    """The blocks that begin with their file's name, by that name."""
    named = [(_NAME.match(block), block) for _, block in blocks(text)]
    return {match.group(1): block for match, block in named if match}


def commands(text: str) -> list[list[str]]:
    """The words of each `strategy-rl` line, without the program."""
    return [shlex.split(line)[1:] for line in re.findall(r"^strategy-rl .*", text, re.M)]


@contextmanager
def users_folder(path: Path, text: str) -> Iterator[Path]:
    """Work in `path`, with the files that `text` shows; what is imported there is forgotten."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(sys, "path", list(sys.path))
        patch.setenv("STRATEGY_RL_CACHE", str(path / "cache"))
        for name, block in named_files(text).items():
            (path / name).write_text(block, "utf-8")
        try:
            yield path
        finally:
            _forget_modules(path.resolve())


def _forget_modules(folder: Path) -> None:
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        if origin and folder in Path(origin).resolve().parents:
            del sys.modules[name]
