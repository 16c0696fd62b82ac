"""Fits the weights of `scorer` to people's ratings and prints how far scorers agree with people.

    python -m strategy_rl_envs.controlled_generation.fit --ratings vaderSentiment-3.3.2.tar.gz

writes `sentiment_weights.csv` (`--out` for elsewhere). Only the training part of `ratings` is
fitted; the table is of the test part. The same archive gives the same file.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strategy_rl_envs.controlled_generation.ratings import Rated, load_ratings
from strategy_rl_envs.controlled_generation.scorer import WEIGHTS, features, rate
from strategy_rl_envs.kit.errors import TaskError
from strategy_rl_envs.rewards.lexicon import sentiment

Floats = NDArray[np.float64]
MIN_TEXTS = 3  # an n-gram of fewer training texts is left out
RIDGE = 1.0
_CLOSE = 1e-12  # share of the first squared residual at which the search ends
_CLEAR = 0.5  # a mean rating nearer to 0 has no polarity


class _Sparse:
    """Texts by n-grams: entry 1 / sqrt(known n-grams of the text) where it holds one.

    Args:
        texts: The rows.
        places: The column of each n-gram.
    """

    def __init__(self, texts: Sequence[Rated], places: Mapping[str, int]) -> None:
        known = [[places[gram] for gram in features(t.text) if gram in places] for t in texts]
        counts = [len(row) for row in known]
        self.shape = (len(texts), len(places))
        self._rows = np.repeat(np.arange(len(texts)), counts)
        self._columns = np.concatenate([np.array(row, dtype=np.int64) for row in known])
        self._values = np.repeat(1 / np.sqrt(np.maximum(1, counts)), counts)

    def times(self, weights: Floats) -> Floats:
        """Shape (columns,) -> (rows,)."""
        products = self._values * weights[self._columns]
        return np.bincount(self._rows, products, self.shape[0]).astype(np.float64)

    def transposed_times(self, errors: Floats) -> Floats:
        """Shape (rows,) -> (columns,)."""
        products = self._values * errors[self._rows]
        return np.bincount(self._columns, products, self.shape[1]).astype(np.float64)


def fit(texts: Sequence[Rated]) -> dict[str, float]:
    """Weights by n-gram: ridge regression without intercept, by conjugate gradients.

    Texts above 0 and the others count the same in all, so that a doubtful text is rated near 0.
    """
    counts = Counter(gram for text in texts for gram in features(text.text))
    names = sorted(gram for gram, count in counts.items() if count >= MIN_TEXTS)
    matrix = _Sparse(texts, {gram: place for place, gram in enumerate(names)})
    ratings = np.array([text.score for text in texts])
    above = float(np.mean(ratings > 0))
    worth = np.where(ratings > 0, 0.5 / above, 0.5 / (1 - above))
    weights = np.zeros(len(names))
    residual = matrix.transposed_times(worth * ratings)
    direction, size = residual.copy(), float(residual @ residual)
    least = _CLOSE * size
    while size > least:
        image = matrix.transposed_times(worth * matrix.times(direction)) + RIDGE * direction
        step = size / float(direction @ image)
        weights += step * direction
        residual -= step * image
        before, size = size, float(residual @ residual)
        direction = residual + size / before * direction
    rounded = (round(float(weight), 2) for weight in weights)
    return {name: weight for name, weight in zip(names, rounded, strict=True) if weight}


def agreement(texts: Sequence[Rated], scorer: Callable[[str], float]) -> dict[str, float]:
    """How far a scorer agrees with people.

    Returns:
        `pearson` with the mean rating; of the texts whose rating is clear, `polarity`: share with
        the right sign, and `auc`: share of pairs of a positive and a negative one in the right
        order; `silent`: share of all texts to which it gives 0.
    """
    given = np.array([scorer(text.text) for text in texts])
    people = np.array([text.score for text in texts])
    high, low = given[people >= _CLEAR][:, None], given[people <= -_CLEAR][None]
    clear = np.abs(people) >= _CLEAR
    return {
        "pearson": float(np.corrcoef(given, people)[0, 1]),
        "polarity": float(np.mean(np.sign(given[clear]) == np.sign(people[clear]))),
        "auc": float(np.mean(high > low) + np.mean(high == low) / 2),
        "silent": float(np.mean(given == 0)),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 2 where the input is refused."""
    parser = argparse.ArgumentParser(
        prog="python -m strategy_rl_envs.controlled_generation.fit",
        description="Fit the sentiment scorer and hold it against people's ratings.",
    )
    parser.add_argument("--ratings", type=Path, required=True, help="vaderSentiment-3.3.2.tar.gz")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="CSV file to write")
    given = parser.parse_args(arguments)
    try:
        splits = load_ratings(given.ratings)
        weights = fit(splits["train"])
        with given.out.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(weights.items())
    except (TaskError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for name, scorer in (("n-grams", partial(rate, weights=weights)), ("lexicon", sentiment)):
        for domain in ("all", "tweets", "reviews"):
            texts = [t for t in splits["test"] if domain in ("all", t.domain)]
            figures = agreement(texts, scorer)
            shown = "  ".join(f"{key} {value:.3f}" for key, value in figures.items())
            sys.stdout.write(f"{name} {domain:8} {len(texts):5} texts  {shown}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
