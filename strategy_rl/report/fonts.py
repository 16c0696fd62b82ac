"""Which installed fonts have the characters of a text. matplotlib is imported when asked."""

from __future__ import annotations

import re
from collections.abc import Iterable

BASE = "DejaVu Sans Mono"  # comes with matplotlib
# Fonts of boxes for what nobody has, and of mathematics, whose letters are not where others are.
_UNFIT = re.compile(r"Last ?Resort.*|cm[a-z]+\d+|STIX(Size|NonUnicode).*")


def families_for(characters: Iterable[str]) -> list[str] | None:
    """Families that together have every character, the monospaced base first.

    Returns:
        What matplotlib takes as a text's `family`; None where no installed font has one of them.
    """
    from matplotlib import font_manager

    base = font_manager.findfont(BASE)
    missing = _missing(str(base), {c for c in characters if not c.isspace()})
    families = [BASE]
    if not missing:
        return families
    for font in sorted(font_manager.fontManager.ttflist, key=lambda font: (font.name, font.fname)):
        is_plain = font.style == "normal" and str(font.weight) in ("400", "normal", "book")
        if not is_plain or font.name in families or _UNFIT.fullmatch(font.name):
            continue
        left = _missing(font.fname, missing)
        if len(left) < len(missing):
            families.append(font.name)
            missing = left
        if not missing:
            return families
    return None


def _missing(path: str, characters: set[str]) -> set[str]:
    """Those of the characters that a font file lacks."""
    from matplotlib.ft2font import FT2Font

    font = FT2Font(path)
    return {character for character in characters if not font.get_char_index(ord(character))}
