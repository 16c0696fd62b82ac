"""What an engineer would do without reinforcement learning: the rules that a policy must beat.

Each is a heuristic of the environment, called with one observation, and is tuned on training rows
when it is first asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from strategy_rl_envs.decoding_control.knobs import Menu
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
from strategy_rl_envs.decoding_control.targets import TARGETS

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


class ByTarget:
    """What one would write by hand where a text has something to reach.

    It pushes the keywords while one is missing, holds the end back until the text has all that is
    wanted, and then stops at the first end of a sentence, or once there are too many words.

    Args:
        menu: What can be chosen.
        feature_names: Of an observation's entries, `targets.TARGETS` among them.
    """

    def __init__(self, menu: Menu, feature_names: Sequence[str]) -> None:
        self._columns = {name: feature_names.index(name) for name in (*TARGETS, SENTENCE)}
        settings = [menu.setting(action) for action in menu.actions]
        writes = [setting for setting in settings if not setting.stop]
        push = min((s.keyword_bonus for s in writes if s.keyword_bonus > 0), default=0.0)
        hold = min(s.end_bonus for s in writes)
        self._actions = {
            (missing, short): closest(menu, push * missing, min(0.0, hold) * short)
            for missing in (False, True)
            for short in (False, True)
        }
        self._stop = next((a for a in menu.actions if menu.setting(a).stop), None)

    def __call__(self, obs: Any, rng: np.random.Generator) -> Any:
        """The action for an observation."""
        seen = {name: float(obs[column]) for name, column in self._columns.items()}
        missing = seen["keywords_missing"] > 0
        short = missing or seen["words_missing"] > 0
        is_done = seen["words_left"] <= 0 or (not short and seen[SENTENCE] > 0)
        if is_done and self._stop is not None:
            return self._stop
        return self._actions[missing, short]


def closest(menu: Menu, keyword_bonus: float = 0.0, end_bonus: float = 0.0) -> Any:
    """The action with these bonuses that comes closest to the most probable token each time."""

    def distance(action: Any) -> tuple[float, ...]:
        setting = menu.setting(action)
        return (
            abs(setting.keyword_bonus - keyword_bonus),
            abs(setting.end_bonus - end_bonus),
            setting.temperature,
            abs(setting.repetition_penalty - 1),
        )

    return min((a for a in menu.actions if not menu.setting(a).stop), key=distance)


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
