"""When to stop, where what stopping gives is known afterwards: rules and how they are fitted.

Pure functions of arrays; knows no model and no environment. N texts have D decisions in all, each
with F numbers to go by. A rule says for each of them whether to stop there; the first stop counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Observations = NDArray[np.float32]
Whole = NDArray[np.int64]
Mask = NDArray[np.bool_]
# observations (D, F) and steps (D,) to whether each stops
Rule = Callable[[Observations, Whole], Mask]

PENALTIES = (1.0, 10.0, 100.0, 1e3, 1e4)
FOLDS = 5
SWEEPS = 20


@dataclass(frozen=True, eq=False)
class Stops:
    """Texts, and what stopping gives at every decision in them.

    Attributes:
        observations: Shape (D, F), the decisions of one text after those of another.
        starts: Shape (N + 1,); text i has the decisions `starts[i]` to `starts[i + 1]`, one at
            least.
        stop: Shape (D,), the return of stopping there.
        end: Shape (N,), the return of never stopping.
    """

    observations: Observations
    starts: Whole
    stop: Floats
    end: Floats

    @cached_property
    def lengths(self) -> Whole:
        """Decisions of each text, (N,)."""
        return np.diff(self.starts)

    @cached_property
    def texts(self) -> Whole:
        """The text of each decision, (D,)."""
        return np.repeat(np.arange(len(self.end)), self.lengths)

    @cached_property
    def steps(self) -> Whole:
        """Number of each decision in its text, (D,)."""
        return np.arange(len(self.stop)) - self.starts[self.texts]

    def part(self, texts: Whole) -> Stops:
        """Some of the texts."""
        lengths = self.lengths[texts]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        index = np.arange(starts[-1]) + np.repeat(self.starts[texts] - starts[:-1], lengths)
        return Stops(self.observations[index], starts, self.stop[index], self.end[texts])

    def returns(self, stops: Mask) -> Floats:
        """Return of each text, (N,), for whether each decision (D,) would stop."""
        places = np.where(stops, np.arange(len(stops)), len(stops))
        first = np.minimum.reduceat(places, self.starts[:-1])
        inside = first < self.starts[1:]
        return np.where(inside, self.stop[np.minimum(first, len(stops) - 1)], self.end)

    def mean_return(self, rule: Rule) -> float:
        """Mean return of a rule."""
        return float(self.returns(rule(self.observations, self.steps)).mean())

    def after(self, stops: Mask) -> Floats:
        """Return of going on at each decision and keeping to `stops` from there on, (D,)."""
        following, value = np.empty(len(stops)), self.end.copy()
        for texts, here in self.backwards():
            following[here] = value[texts]
            value[texts] = np.where(stops[here], self.stop[here], value[texts])
        return following

    def by_hindsight(self) -> Mask:
        """Where nothing that comes later gives more, (D,): the oracle."""
        best, value = np.empty(len(self.stop), bool), self.end.copy()
        for texts, here in self.backwards():
            best[here] = self.stop[here] >= value[texts]
            value[texts] = np.maximum(self.stop[here], value[texts])
        return best

    def backwards(self) -> Iterable[tuple[Whole, Whole]]:
        """The texts that have a decision of a number, and that decision, from the last one on."""
        for step in reversed(range(int(self.lengths.max()))):
            texts = np.flatnonzero(self.lengths > step)
            yield texts, self.starts[texts] + step


@dataclass(frozen=True)
class Threshold:
    """Stop where one number is beyond a threshold, from a step on."""

    column: int
    above: bool
    threshold: float
    first_step: int

    def __call__(self, observations: Observations, steps: Whole) -> Mask:
        """Whether each decision stops."""
        number = observations[:, self.column]
        beyond = number > self.threshold if self.above else number < self.threshold
        stops: Mask = beyond & (steps >= self.first_step)
        return stops


@dataclass(frozen=True)
class FromStep:
    """Stop at a step, whatever is seen."""

    step: int

    def __call__(self, observations: Observations, steps: Whole) -> Mask:
        """Whether each decision stops."""
        return steps >= self.step


def best_of(rules: Sequence[Rule], stops: Stops) -> Rule:
    """The rule with the highest mean return; of equal ones the first."""
    return max(rules, key=stops.mean_return)


def best_step(stops: Stops) -> Rule:
    """The best number of decisions after which every text is stopped; or never."""
    rules: list[Rule] = [FromStep(step) for step in range(int(stops.lengths.max()) + 1)]
    return best_of(rules, stops)


def threshold_rules(
    stops: Stops, signals: Iterable[tuple[int, bool]], first_steps: Sequence[int]
) -> list[Rule]:
    """A grid: each signal, at six quantiles of its values, from each of some steps on.

    Args:
        stops: Whose quantiles.
        signals: Column, and whether a text is to be stopped above the threshold.
        first_steps: From which decision on.
    """
    rules: list[Rule] = []
    for column, above in signals:
        shares = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
        values = stops.observations[:, column].astype(np.float64)
        thresholds = np.quantile(values, shares if above else [1 - share for share in shares])
        for threshold, step in product(thresholds.tolist(), first_steps):
            rules.append(Threshold(column, above, threshold, step))
    return rules


class Ridge:
    """Least squares with a penalty on the squared weights, for many targets of the same inputs.

    Args:
        inputs: Shape (n, F).
    """

    def __init__(self, inputs: Floats) -> None:
        self._mean = inputs.mean(0)
        self._inputs = inputs - self._mean
        self._squares, self._axes = np.linalg.eigh(self._inputs.T @ self._inputs)

    def fit(self, targets: Floats, penalty: float) -> Floats:
        """Weights and, last and without a penalty, the intercept: (F + 1,)."""
        along = self._axes.T @ (self._inputs.T @ (targets - targets.mean()))
        weights = self._axes @ (along / (np.maximum(self._squares, 0) + penalty))
        return np.append(weights, targets.mean() - self._mean @ weights)


@dataclass(frozen=True, eq=False)
class Continuation:
    """Stop where going on is expected to gain nothing; linear in what is seen.

    Attributes:
        mean: Shape (F,), of the observations that it was fitted to.
        scale: Shape (F,), their deviation.
        weights: Shape (S, F + 1), of each step, or (1, F + 1) for all of them; the intercept last.
    """

    mean: Floats
    scale: Floats
    weights: Floats

    def __call__(self, observations: Observations, steps: Whole) -> Mask:
        """Whether each decision stops."""
        inputs = (observations - self.mean) / self.scale
        weights = self.weights[np.minimum(steps, len(self.weights) - 1)]
        gains: Floats = (inputs * weights[:, :-1]).sum(1) + weights[:, -1]
        return gains <= 0


@dataclass(frozen=True, eq=False)
class LongstaffSchwartz:
    """Regression of what going on gains over stopping (Longstaff and Schwartz 2001).

    They regress the value of going on and compare it with that of stopping, which in their case is
    seen. Here neither is seen, so their difference is regressed. `by_step` fits the steps one after
    the other from the last to the first, as they do; else one regression serves all steps, fitted
    again and again to the returns of the rule that it gave, of which the best is kept.

    Args:
        stops: What to fit to.
    """

    stops: Stops

    @cached_property
    def _moments(self) -> tuple[Floats, Floats]:
        seen = self.stops.observations.astype(np.float64)
        deviation = seen.std(0)
        return seen.mean(0), np.where(deviation > 1e-9, deviation, 1.0)

    @cached_property
    def _inputs(self) -> Floats:
        mean, scale = self._moments
        inputs: Floats = (self.stops.observations - mean) / scale
        return inputs

    @cached_property
    def _regressions(self) -> list[tuple[Whole, Whole, Ridge]]:
        """Texts, decisions and inputs of each step, from the last to the first."""
        return [(texts, here, Ridge(self._inputs[here])) for texts, here in self.stops.backwards()]

    @cached_property
    def _pooled(self) -> Ridge:
        return Ridge(self._inputs)

    def fit(self, penalty: float, by_step: bool) -> Continuation:
        """The rule for one penalty."""
        weights = self._by_step(penalty) if by_step else self._for_all(penalty)
        return Continuation(*self._moments, weights)

    def _by_step(self, penalty: float) -> Floats:
        value, found = self.stops.end.copy(), []
        for texts, here, regression in self._regressions:
            stop = self.stops.stop[here]
            weights = regression.fit(value[texts] - stop, penalty)
            gains = self._inputs[here] @ weights[:-1] + weights[-1]
            value[texts] = np.where(gains <= 0, stop, value[texts])
            found.append(weights)
        return np.array(found[::-1])

    def _for_all(self, penalty: float) -> Floats:
        best, best_return = np.zeros((1, self._inputs.shape[1] + 1)), -np.inf
        stops = np.zeros(len(self.stops.stop), bool)
        for _ in range(SWEEPS):
            gains = self.stops.after(stops) - self.stops.stop
            weights = self._pooled.fit(gains, penalty)
            before, stops = stops, self._inputs @ weights[:-1] + weights[-1] <= 0
            mean = float(self.stops.returns(stops).mean())
            if mean > best_return:
                best, best_return = weights[None], mean
            if (before == stops).all():
                break
        return best


def fit_longstaff_schwartz(stops: Stops) -> Rule:
    """The regression whose penalty and kind do best on texts that it was not fitted to."""
    order = np.random.default_rng(0).permutation(len(stops.end)) % FOLDS
    choices = list(product(PENALTIES, (True, False)))
    totals = np.zeros(len(choices))
    for fold in range(FOLDS) if len(stops.end) >= FOLDS else ():
        fitted = LongstaffSchwartz(stops.part(np.flatnonzero(order != fold)))
        held_out = stops.part(np.flatnonzero(order == fold))
        totals += [held_out.mean_return(fitted.fit(*choice)) for choice in choices]
    penalty, by_step = choices[int(totals.argmax())]
    return LongstaffSchwartz(stops).fit(penalty, by_step)
