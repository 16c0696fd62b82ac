"""PPO against SFT by kind of row, where the task tells rows apart (`info["kind"]` at reset)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from strategy_rl.episodes import Episode
from strategy_rl.report.returns import Bootstrap, compare, mean_over_seeds, returns_of
from strategy_rl.report.values import EpisodesOfSeeds, compare_values

MOST_KINDS = 12  # more is no table that anyone reads


def compare_kinds(
    first: EpisodesOfSeeds, second: EpisodesOfSeeds, bootstrap: Bootstrap
) -> dict[str, dict[str, Any]]:
    """The paired difference of the returns and of each guard, kind by kind.

    Args:
        first: Episodes of one policy, seed by seed.
        second: Of the other one, on the same rows.
        bootstrap: How intervals are drawn.

    Returns:
        By kind: `rows`, `means` of both, `mean_difference`, `ci95`, and `guards` as
        `compare_values` has them. Empty with fewer than two kinds, or more than `MOST_KINDS`.
    """
    kinds = sorted({episode.kind for episode in first[0] if episode.kind is not None})
    if not 2 <= len(kinds) <= MOST_KINDS:
        return {}
    return {kind: _of_kind(kind, first, second, bootstrap) for kind in kinds}


def _of_kind(
    kind: str, first: EpisodesOfSeeds, second: EpisodesOfSeeds, bootstrap: Bootstrap
) -> dict[str, Any]:
    one, other = ([_only(kind, episodes) for episodes in seeds] for seeds in (first, second))
    ours, theirs = (mean_over_seeds([returns_of(kind, e) for e in es]) for es in (one, other))
    figures = compare(ours, theirs, None, bootstrap)
    values = compare_values(one, other, bootstrap)
    return {
        "rows": figures["rows"],
        "means": [ours.mean, theirs.mean],
        "mean_difference": figures["mean_difference"],
        "ci95": figures["ci95"],
        "guards": {name: found for name, found in values.items() if found["is_guard"]},
    }


def _only(kind: str, episodes: Sequence[Episode]) -> list[Episode]:
    return [episode for episode in episodes if episode.kind == kind]
