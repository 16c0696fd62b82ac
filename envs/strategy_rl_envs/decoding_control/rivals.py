"""What an engineer would do without reinforcement learning: the rules that a policy must beat.

Each is a heuristic of the environment, called with one observation, and is tuned on training rows
when it is first asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from strategy_rl_envs.decoding_control.stopping import (
    Observations,
    Rule,
    Stops,
    Threshold,
    best_of,
    best_step,
    fit_longstaff_schwartz,
    threshold_rules,
)

Heuristic = Callable[[Any, np.random.Generator], Any]

# Feature, and whether a text is to be stopped above the threshold.
SIGNALS = (("entropy", True), ("end", True), ("copied", False))
SENTENCE = "last_ends_sentence"
FIRST_TOKENS = (1, 4, 8, 12)  # a rule may stop after as many


class Fixed:
    """The same action, whatever is seen."""

    def __init__(self, action: Any) -> None:
        self._action = action

    def __call__(self, obs: Any, rng: np.random.Generator) -> Any:
        """The action."""
        return self._action


class Stopping:
    """A stopping rule on one observation; it is fitted when it is first asked.

    Args:
        fit: Gives the rule.
        step_of: Observation to the number of decisions before it.
        go: The action that goes on.
        stop: The action that stops.
    """

    def __init__(
        self, fit: Callable[[], Rule], step_of: Callable[[Observations], int], go: Any, stop: Any
    ) -> None:
        self._fit = lru_cache(maxsize=1)(fit)
        self._step_of, self._go, self._stop = step_of, go, stop

    def __call__(self, obs: Observations, rng: np.random.Generator) -> Any:
        """Go on or stop."""
        steps = np.array([self._step_of(obs)])
        return self._stop if self._fit()(obs[None], steps)[0] else self._go


def stopping_rivals(
    stops: Callable[[], Stops],
    feature_names: Sequence[str],
    actions: tuple[Any, Any],
    hold: int,
    max_new_tokens: int,
) -> Mapping[str, Heuristic]:
    """Rivals where the policy says when to stop, and nothing else.

    Args:
        stops: Gives what stopping earns on training rows.
        feature_names: Of an observation's entries.
        actions: The one that goes on, the one that stops.
        hold: Tokens of a decision.
        max_new_tokens: The most tokens of a text.
    """
    written = feature_names.index("written")
    decisions = max_new_tokens / hold

    def step_of(obs: Observations) -> int:
        return round(float(obs[written]) * decisions)

    fits: dict[str, Callable[[], Rule]] = {
        "static_best": lambda: best_step(stops()),
        "entropy": lambda: best_of(grid(stops(), feature_names, hold), stops()),
        "longstaff_schwartz": lambda: fit_longstaff_schwartz(stops()),
    }
    return {
        "greedy": Fixed(actions[0]),
        **{name: Stopping(fit, step_of, *actions) for name, fit in fits.items()},
    }


def grid(stops: Stops, feature_names: Sequence[str], hold: int) -> list[Rule]:
    """75 rules: thresholds of certainty and of copying, and the end of a sentence."""
    first = list(dict.fromkeys(-(-tokens // hold) for tokens in FIRST_TOKENS))
    signals = [(feature_names.index(name), above) for name, above in SIGNALS]
    sentence = feature_names.index(SENTENCE)
    rules = threshold_rules(stops, signals, first)
    rules += [Threshold(sentence, True, 0.5, step) for step in first[:3]]
    return rules
