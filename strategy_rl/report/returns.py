"""The returns of policies on rows, and their paired comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from strategy_rl.episodes import Episode
from strategy_rl.errors import RunError
from strategy_rl.report.bootstrap import Floats, bootstrap_interval


@dataclass(frozen=True)
class Returns:
    """The mean return of one policy on each row, in the order of the rows. Shapes: (rows,)."""

    policy: str
    rows: tuple[int, ...]
    groups: tuple[str, ...]
    values: Floats

    @property
    def mean(self) -> float:
        """Mean over the rows."""
        return float(self.values.mean())


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn."""

    samples: int = 10_000
    seed: int = 0

    def interval(self, values: Floats, groups: Sequence[str]) -> list[float]:
        """95% interval of the mean; groups are drawn as a whole."""
        return list(bootstrap_interval(values, groups, samples=self.samples, seed=self.seed))


def rows_of(episodes: Sequence[Episode]) -> list[int]:
    """What each episode is paired by: its data row, or its number where the task has no rows."""
    return [
        number if episode.row is None else episode.row for number, episode in enumerate(episodes)
    ]


def returns_of(policy: str, episodes: Sequence[Episode]) -> Returns:
    """The returns of one evaluation; a row that was played more than once counts once.

    Raises:
        RunError: there is no episode.
    """
    if not episodes:
        raise RunError(f"policy {policy!r} has no episodes; run `strategy-rl evaluate` again")
    played: dict[int, list[float]] = {}
    groups: dict[int, str] = {}
    for row, episode in zip(rows_of(episodes), episodes, strict=True):
        played.setdefault(row, []).append(episode.return_)
        groups[row] = str(row) if episode.group is None else episode.group
    rows = tuple(sorted(played))
    values = np.array([float(np.mean(played[row])) for row in rows])
    return Returns(policy, rows, tuple(groups[row] for row in rows), values)


def mean_over_seeds(runs: Sequence[Returns]) -> Returns:
    """The same policy in several runs: its mean return on each row.

    Raises:
        RunError: the rows differ between the runs; names the policy.
    """
    first = runs[0]
    for other in runs[1:]:
        if (other.rows, other.groups) != (first.rows, first.groups):
            raise RunError(
                f"policy {first.policy!r} was evaluated on other rows in another run: "
                f"{_difference(first, other)}; only runs on the same test rows can be combined"
            )
    values = np.mean([returns.values for returns in runs], axis=0)
    return Returns(first.policy, first.rows, first.groups, values)


def compare(
    first: Returns, second: Returns, expert: Returns | None, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Paired difference `first - second`, row by row.

    Returns:
        `mean_difference`, `ci95`, `rows`, and `share_of_gap_to_expert` =
        (first - second) / (expert - second), None where the divisor is not positive.

    Raises:
        RunError: the two were not evaluated on the same rows; names both.
    """
    if first.rows != second.rows:
        raise RunError(
            f"policies {first.policy!r} and {second.policy!r} were evaluated on different rows: "
            f"{_difference(first, second)}; run `strategy-rl evaluate` again"
        )
    differences = first.values - second.values
    gap = 0.0 if expert is None else expert.mean - second.mean
    return {
        "mean_difference": float(differences.mean()),
        "ci95": bootstrap.interval(differences, first.groups),
        "rows": len(first.rows),
        "share_of_gap_to_expert": float(differences.mean()) / gap if gap > 0 else None,
    }


def default_comparisons(means: dict[str, float]) -> dict[str, tuple[str, str]]:
    """Which policies are compared, by name of the comparison.

    PPO (or SFT, where PPO did not run) against SFT, against every other policy, against the best
    rival; SFT against random. `all_rows_*` see gold labels where PPO sees rewards and `expert`
    is the ceiling: neither counts as the best rival.
    """
    subject = next((name for name in ("ppo", "sft") if name in means), None)
    if subject is None:
        return {}
    others = [n for n in means if n not in ("expert", "ppo", "ppo_sampled")]
    fair = [n for n in others if not n.startswith("all_rows")]
    rivals = [n for n in means if n not in ("ppo", "sft") and not n.endswith("_sampled")]
    named: dict[str, tuple[str, str]] = {}
    if subject == "ppo" and fair:
        named["ppo_vs_sft"] = ("ppo", "sft")
        named["ppo_vs_best_rival"] = ("ppo", max(fair, key=lambda name: means[name]))
    named |= {f"{subject}_vs_{rival}": (subject, rival) for rival in rivals}
    named["sft_vs_random"] = ("sft", "random")
    return {name: pair for name, pair in named.items() if set(pair) <= means.keys()}


def _difference(first: Returns, second: Returns) -> str:
    apart = sorted(set(first.rows) ^ set(second.rows))
    if not apart:
        return "the rows are grouped differently"
    return f"{len(apart)} rows are in one of them only, e.g. row {apart[0]}"
