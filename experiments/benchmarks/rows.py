"""A selection task with given vectors: texts are names, and no encoder runs. Knows no trainer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np

from strategy_rl_envs.kit.selection import selection_mask, selection_spaces

WIDTH = 384


@dataclass(frozen=True)
class Rows:
    """Rows of one context and K candidates, as indices of one list of texts.

    A row's right candidate is number `row % K`; its vector is the context's plus noise. With
    `pool` the wrong ones are right ones of other rows, so a row adds two texts, as in reply
    selection; without, no two rows share a text.
    """

    num_rows: int
    num_candidates: int
    pool: bool = False

    @property
    def num_texts(self) -> int:
        """Distinct texts."""
        return self.num_rows * (2 if self.pool else 1 + self.num_candidates)

    def label(self, row: int) -> int:
        """The right candidate of a row."""
        return row % self.num_candidates

    def texts(self, row: int) -> list[int]:
        """Indices of a row's context and candidates, 1 + K of them."""
        if not self.pool:
            width = 1 + self.num_candidates
            return list(range(row * width, (row + 1) * width))
        steps = range(self.num_candidates)
        chosen = [self.num_rows + (row + 1 + 7919 * i) % self.num_rows for i in steps]
        chosen[self.label(row)] = self.num_rows + row
        return [row, *chosen]

    def names(self, row: int) -> tuple[str, ...]:
        """The texts of a row; they are their own names."""
        return tuple(map(self.all_names.__getitem__, self.texts(row)))

    @cached_property
    def all_names(self) -> list[str]:
        """Every text."""
        return [f"text {i}" for i in range(self.num_texts)]

    def vectors(self) -> np.ndarray:
        """One vector a text, (texts, 384) float32, the same in every process."""
        rng = np.random.default_rng(0)
        vectors = rng.standard_normal((self.num_texts, WIDTH), dtype=np.float32)
        rows = np.arange(self.num_rows)
        if self.pool:
            vectors[self.num_rows :] += vectors[: self.num_rows]
        else:
            grid = vectors.reshape(self.num_rows, 1 + self.num_candidates, WIDTH)
            grid[rows, 1 + rows % self.num_candidates] += grid[:, 0]
        return vectors


class PickRight(gymnasium.Env[dict[str, Any], np.int64]):
    """One decision an episode: 1 for the right candidate, else 0.

    row 12 of K = 10: context ("text 132",), candidates ("text 133", ..., "text 142"),
    action 2 -> reward 1.0, terminated.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.num_rows = rows.num_rows
        count = rows.num_candidates
        spaces, self.action_space = selection_spaces(count, 0, state_size=1, max_chars=16)
        kept = ("context", "candidates", "action_mask")
        self.observation_space = gymnasium.spaces.Dict({name: spaces[name] for name in kept})
        self.mask = selection_mask(count, count, ())

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Play row `options["row"]`, else a random one; nothing else is random."""
        row = (options or {}).get("row")
        if row is None:
            super().reset(seed=seed)
            row = int(self.np_random.integers(self.num_rows))
        context, *candidates = self.rows.names(row)
        self.row = row
        self.obs = {"context": (context,), "candidates": candidates, "action_mask": self.mask}
        return self.obs, {"row": row}

    def step(self, action: np.int64) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Pay for the pick; the episode is over, and nothing else is observed."""
        reward = float(action == self.rows.label(self.row))
        return self.obs, reward, True, False, {"row": self.row}
