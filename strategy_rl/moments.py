"""Running mean and spread of the values that reward components give. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Sums = dict[str, list[float]]  # by component: count, mean, sum of squared deviations


def one_part(component: str) -> str:
    """`component/score` as one part of a metric's name."""
    return component.replace("/", ".")


def merged(sums: Mapping[str, list[float]], values: Mapping[str, np.ndarray]) -> Sums:
    """Add one rollout's values, NaN left out, in float64 (Chan et al. 1979)."""
    result = {name: list(known) for name, known in sums.items()}
    for name, given in values.items():
        fresh = given[np.isfinite(given)].astype(np.float64)
        if not len(fresh):
            continue
        count, mean, squares = result.get(name, [0.0, 0.0, 0.0])
        total, shift = count + len(fresh), float(fresh.mean()) - mean
        squares += float(fresh.var()) * len(fresh) + shift**2 * count * len(fresh) / total
        result[name] = [total, mean + shift * len(fresh) / total, squares]
    return result


def mean_and_std(sums: Mapping[str, list[float]]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation by component."""
    return {name: (mean, (squares / count) ** 0.5) for name, (count, mean, squares) in sums.items()}


def figures(values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """What one rollout's values are like, as metrics `reward_value/<component>/<figure>`.

    Floor and ceiling are the least and the greatest value seen; where all are equal both shares
    are 1.
    """
    found: dict[str, float] = {}
    for component, given in values.items():
        name, known = one_part(component), given[np.isfinite(given)]
        found[f"reward_value/{name}/abstained_share"] = 1 - len(known) / max(len(given), 1)
        if len(known):
            found |= {
                f"reward_value/{name}/mean": float(known.mean()),
                f"reward_value/{name}/std": float(known.std()),
                f"reward_value/{name}/floor_share": float((known == known.min()).mean()),
                f"reward_value/{name}/ceiling_share": float((known == known.max()).mean()),
            }
    return found
