"""Responses of like length read together. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from strategy_rl.backbone import Row


def cut_by_tokens(
    rows: Sequence[Row], numbers: Sequence[int], most_tokens: int
) -> Iterator[list[int]]:
    """Numbers of rows, sorted by length, cut where the padded size would pass `most_tokens`.

    Args:
        rows: Prompts with what was written after them.
        numbers: Which of them.
        most_tokens: Of one cut; a single longer row is one by itself.
    """
    sizes = {i: len(rows[i].prompt) + len(rows[i].response) for i in numbers}
    chunk: list[int] = []
    for number in sorted(numbers, key=lambda i: (sizes[i], i)):
        if chunk and (len(chunk) + 1) * sizes[number] > most_tokens:
            yield chunk
            chunk = []
        chunk.append(number)
    if chunk:
        yield chunk
