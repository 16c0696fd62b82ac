"""What each component of the reward says of PPO and of SFT, before weights: guards among them.

A component of weight 0 is a guard: nobody trains on it. Where the return rises and a guard falls,
the policy has found a weakness of the reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from strategy_rl.episodes import Episode
from strategy_rl.report.returns import Bootstrap, Returns, mean_over_seeds, returns_of

EpisodesOfSeeds = Sequence[Sequence[Episode]]


def compare_values(
    first: EpisodesOfSeeds, second: EpisodesOfSeeds, bootstrap: Bootstrap
) -> dict[str, dict[str, Any]]:
    """Mean value of each component over the steps of a row, and the paired difference.

    Args:
        first: Episodes of one policy, seed by seed.
        second: Of the other one, on the same rows.
        bootstrap: How intervals are drawn.

    Returns:
        By component: `means` of both, `mean_difference` and `ci95`; rows on which it abstains
        for either are left out.
    """
    found = {}
    for name in _names(first[0]):
        one, other = (mean_over_seeds([_of(name, e) for e in es]) for es in (first, second))
        known = np.isfinite(one.values) & np.isfinite(other.values)
        if not known.any():
            continue
        difference = (one.values - other.values)[known]
        groups = [group for group, kept in zip(one.groups, known, strict=True) if kept]
        found[name] = {
            "means": [float(one.values[known].mean()), float(other.values[known].mean())],
            "mean_difference": float(difference.mean()),
            "ci95": bootstrap.interval(difference, groups),
            "is_guard": _is_guard(name, first[0]),
        }
    return found


def _names(episodes: Sequence[Episode]) -> list[str]:
    steps = [step for episode in episodes for step in episode.steps]
    return list(dict.fromkeys(name for step in steps for name in step.reward_values or {}))


def _of(name: str, episodes: Sequence[Episode]) -> Returns:
    """The component's mean value on each row, NaN where it abstains."""
    whole = returns_of(name, episodes)
    values: dict[int, list[float]] = {row: [] for row in whole.rows}
    for number, episode in enumerate(episodes):
        row = number if episode.row is None else episode.row
        given = [(step.reward_values or {}).get(name) for step in episode.steps]
        values[row] += [value for value in given if value is not None]
    means = [float(np.mean(v)) if v else np.nan for v in (values[row] for row in whole.rows)]
    return replace(whole, values=np.array(means))


def _is_guard(name: str, episodes: Sequence[Episode]) -> bool:
    """Whether it moves and adds nothing to the reward: its weight is 0."""
    steps = [step for episode in episodes for step in episode.steps]
    component = name.partition("/")[0]
    adds = any(step.components.get(component, 0.0) for step in steps)
    return not adds and any((step.reward_values or {}).get(name) for step in steps)
