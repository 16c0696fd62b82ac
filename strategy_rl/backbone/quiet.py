"""What loading says: less than transformers would, and lists of names cut short."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import transformers


def some(names: Sequence[str]) -> str:
    """Names for a message, the first five of many."""
    listed = ", ".join(sorted(names)[:5]) or "none"
    return listed + (f" and {len(names) - 5} more" if len(names) > 5 else "")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing reports, and progress bars where no one looks on."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    if not sys.stderr.isatty():
        log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
