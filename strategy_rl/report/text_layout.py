"""Texts laid out on a grid of cells of one width, each character with the setting it came from."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from strategy_rl.logger.digest import printable

END = "■"  # where a text ended without a word
SPACE = " "


class Cell(NamedTuple):
    """A character, with what is written over it, and the setting that it was written with."""

    text: str
    setting: str

    @property
    def width(self) -> int:
        """Cells of the grid: 2 for Chinese characters and the like."""
        return 2 if unicodedata.east_asian_width(self.text[0]) in "WF" else 1


class Run(NamedTuple):
    """Neighbours on one line that belong together; `start` and `width` in cells."""

    start: int
    width: int
    text: str
    setting: str


def lay_out(pieces: Sequence[Sequence[str]], columns: int) -> list[list[Cell]]:
    """Lines of at most `columns` cells and a space, broken between words where that can be.

    Args:
        pieces: setting and text, in the order of reading.
        columns: of the grid, at least 2.
    """
    lines: list[list[Cell]] = [[]]
    used = 0
    for word in _words(_cells(pieces), columns):
        if used and used + _width(cell for cell in word if cell.text != SPACE) > columns:
            lines.append([])
            used = 0
        lines[-1] += word
        used += _width(word)
    return lines


def settings_of_line(line: Sequence[Cell]) -> list[Run]:
    """Neighbours of one setting: what gets one background."""
    return _runs(line, lambda place: line[place].setting)


def words_of_line(line: Sequence[Cell]) -> list[Run]:
    """Neighbours that are drawn as one text: of one setting, without spaces, wide ones alone."""

    def together(place: int) -> Any:
        cell = line[place]
        return cell.setting, cell.text == SPACE, place if cell.width == 2 else -1

    return [run for run in _runs(line, together) if run.text != SPACE]


def _runs(line: Sequence[Cell], together: Callable[[int], Any]) -> list[Run]:
    runs, start = [], 0
    for _, places in groupby(range(len(line)), together):
        cells = [line[place] for place in places]
        width = _width(cells)
        runs.append(Run(start, width, "".join(cell.text for cell in cells), cells[0].setting))
        start += width
    return runs


def _cells(pieces: Sequence[Sequence[str]]) -> list[Cell]:
    """One cell a character; white space and what is no sign become single spaces."""
    cells: list[Cell] = []
    for place, (setting, text) in enumerate(pieces):
        for character in text or (END if place == len(pieces) - 1 else ""):
            shown = printable(character) or SPACE
            last = cells[-1] if cells else Cell(SPACE, setting)
            if cells and unicodedata.category(shown) in ("Mn", "Me"):
                cells[-1] = Cell(last.text + shown, last.setting)
            elif shown != SPACE or last.text != SPACE:
                cells.append(Cell(shown, setting))
    return cells


def _words(cells: Sequence[Cell], columns: int) -> Iterator[list[Cell]]:
    """What is not broken: a word and the space after it, a wide character, at most a line."""
    word: list[Cell] = []
    for cell in cells:
        ends = bool(word) and (
            word[-1].text == SPACE
            or 2 in (cell.width, word[-1].width)
            or _width(word) + cell.width > columns
        )
        if ends and cell.text != SPACE:
            yield word
            word = []
        word.append(cell)
    if word:
        yield word


def _width(cells: Iterator[Cell] | Sequence[Cell]) -> int:
    return sum(cell.width for cell in cells)
