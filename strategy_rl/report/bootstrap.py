"""Means with percentile-bootstrap intervals over groups of rows. Knows nothing of policies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Draws held in memory at once: 32 MB of indices.
_CHUNK = 4_000_000


def bootstrap_interval(
    values: Floats, groups: Sequence[str], *, samples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """95% interval of the mean of `values`, whole groups drawn with replacement.

    Rows of one conversation or document are no independent evidence, so they are drawn together
    (cluster bootstrap; Efron & Tibshirani 1993, percentile method).

    Args:
        values: one number a row. Shape: (rows,), at least one.
        groups: the group of each row. Length: rows.
        samples: bootstrap resamples.
        seed: of the draws; the same seed gives the same interval.

    Returns:
        The 2.5th and the 97.5th percentile of the resampled means.
    """
    _, index = np.unique(np.array(groups, dtype=str), return_inverse=True)
    sums: Floats = np.bincount(index, weights=values).astype(np.float64)
    sizes: Floats = np.bincount(index).astype(np.float64)
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(sums))
    means = [
        _resampled(sums, sizes, rng, min(step, samples - start))
        for start in range(0, samples, step)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def _resampled(sums: Floats, sizes: Floats, rng: np.random.Generator, samples: int) -> Floats:
    drawn = rng.integers(0, len(sums), size=(samples, len(sums)))
    means: Floats = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return means
