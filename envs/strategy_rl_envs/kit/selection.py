"""The spaces and masks that all selection tasks share. Knows no data.

A selection task offers K texts, K changing from step to step, and a few special actions. Its
actions are `Discrete(max_candidates + num_special)`: action `i < K` is candidate `i`, the last
`num_special` indices are the special actions, and those between are illegal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from strategy_rl_envs.kit.errors import SettingError, choices
from strategy_rl_envs.kit.text import UnicodeText

SPLITS = ("train", "validation", "test")


def selection_spaces(
    max_candidates: int, num_special: int, state_size: int, max_chars: int
) -> tuple[spaces.Dict, spaces.Discrete[np.int64]]:
    """Make the observation and action space of a selection task.

    The observation holds `context` and `candidates` (texts), `state` (float32 in [0, 1],
    shape (state_size,); none where that is 0) and `action_mask` (int8, shape (max_candidates +
    num_special,)).
    """
    num_actions = max_candidates + num_special
    fields: dict[str, spaces.Space[Any]] = {
        "context": spaces.Sequence(UnicodeText(max_chars)),
        "candidates": spaces.Sequence(UnicodeText(max_chars)),
    }
    if state_size:
        fields["state"] = spaces.Box(0.0, 1.0, (state_size,), np.float32)
    fields["action_mask"] = spaces.MultiBinary(num_actions)
    return spaces.Dict(fields), spaces.Discrete(num_actions)


def selection_mask(
    num_candidates: int, max_candidates: int, special: tuple[bool, ...]
) -> NDArray[np.int8]:
    """Mark the legal actions: the candidates there are, and the special actions that are open.

    Returns:
        int8 of shape (max_candidates + len(special),).
    """
    mask = np.zeros(max_candidates + len(special), np.int8)
    mask[:num_candidates] = 1
    mask[max_candidates:] = special
    return mask


def row_to_play(options: Mapping[str, Any] | None, num_rows: int, rng: np.random.Generator) -> int:
    """Read `options["row"]` of a reset; without it, any row is as likely.

    Raises:
        IndexError: the row does not exist; the message holds the range.
        SettingError: another option, or a row that is no whole number.
    """
    for key in options or ():
        if key != "row":
            raise SettingError(f"reset option {key!r}: {choices(key, ('row',))}")
    row = (options or {}).get("row")
    if row is None:
        return int(rng.integers(num_rows))
    if isinstance(row, bool) or not isinstance(row, int | np.integer):
        raise SettingError(f"reset option 'row': expected a whole number, got {row!r}")
    if not 0 <= row < num_rows:
        raise IndexError(f"row {row} does not exist; rows are 0 to {num_rows - 1}")
    return int(row)


def random_legal_action(obs: Mapping[str, Any], rng: np.random.Generator) -> int:
    """Pick one of the legal actions, each equally likely."""
    return int(rng.choice(np.flatnonzero(obs["action_mask"])))
