"""Returns and advantages of an episode's decisions: as recorded, else as training computes them.

A decision is a step, or a token where a step wrote some whose values are known: PPO decides there,
and pays and ends a step at its last token. Pure functions of data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from strategy_rl.board.heads import number_of

Step = Mapping[str, Any]

_OF_TOKENS = ("logprob", "reference_logprob", "value", "advantage")


class Estimates(NamedTuple):
    """Of one step; None where something was not recorded.

    Attributes:
        return_to_go: Discounted, from its first decision on.
        advantage: As recorded; of a step whose tokens have values it is not computed, since they
            have their own.
        tokens: With their advantages; None where it wrote none.
    """

    return_to_go: float | None
    advantage: float | None
    tokens: list[dict[str, Any]] | None


def estimates_of(
    steps: Sequence[Step],
    gamma: float,
    gae_lambda: float,
    after: float | None,
    scaled_values: bool = False,
) -> list[Estimates]:
    """Of each step.

    Args:
        steps: As they were recorded.
        gamma: Discount for each decision.
        gae_lambda: Of generalised advantage estimation.
        after: What the critic expected after the last step, 0 where nothing follows. None where
            that is unknown: returns are of what was recorded then, and advantages None.
        scaled_values: Whether values are in other units than rewards: where there are any, nothing
            is computed, since returns would stand beside what they cannot be compared with.
    """
    written = [tokens_in(step) for step in steps]
    decisions = [
        tokens if _valued(tokens) else [step] for tokens, step in zip(written, steps, strict=True)
    ]
    ends = list(accumulate(map(len, decisions)))
    values = [number_of(decision.get("value")) for own in decisions for decision in own]
    rewards: list[float | None] = [0.0] * len(values)
    for end, step in zip(ends, steps, strict=True):
        rewards[end - 1] = number_of(step.get("reward"))
    if scaled_values and any(value is not None for value in values):
        rewards = [None] * len(values)
    returns = returns_to_go(rewards, gamma, after or 0.0)
    advantages = advantages_of(rewards, values, gamma, gae_lambda, after)
    return [
        _of_step(step, tokens, returns[begin], advantages[begin:end])
        for step, tokens, begin, end in zip(steps, written, [0, *ends], ends, strict=False)
    ]


def tokens_in(step: Step) -> list[dict[str, Any]]:
    """The tokens of a written action, each a text and numbers."""
    tokens = step.get("tokens")
    return [
        {**token, **{name: number_of(token.get(name)) for name in _OF_TOKENS}}
        for token in (tokens if isinstance(tokens, list) else [])
        if isinstance(token, dict) and isinstance(token.get("text"), str)
    ]


def returns_to_go(
    rewards: Sequence[float | None], gamma: float, after: float
) -> list[float | None]:
    """The discounted return from each decision on; None from where a reward is missing."""
    found: list[float | None] = []
    following: float | None = after
    for reward in reversed(rewards):
        following = None if reward is None or following is None else reward + gamma * following
        found.append(following)
    return found[::-1]


def advantages_of(
    rewards: Sequence[float | None],
    values: Sequence[float | None],
    gamma: float,
    gae_lambda: float,
    after: float | None,
) -> list[float | None]:
    """GAE from the recorded values; all are None where a value or a reward is missing."""
    if after is None or None in values or None in rewards:
        return [None] * len(values)
    found: list[float | None] = []
    advantage, next_value = 0.0, after
    for reward, value in zip(reversed(rewards), reversed(values), strict=True):
        assert reward is not None
        assert value is not None
        advantage = reward + gamma * next_value - value + gamma * gae_lambda * advantage
        next_value = value
        found.append(advantage)
    return found[::-1]


def _valued(tokens: Sequence[Step]) -> bool:
    return bool(tokens) and all(token["value"] is not None for token in tokens)


def _of_step(
    step: Step,
    tokens: list[dict[str, Any]],
    return_to_go: float | None,
    computed: Sequence[float | None],
) -> Estimates:
    advantage = number_of(step.get("advantage"))
    if not _valued(tokens):
        advantage = computed[0] if advantage is None else advantage
        return Estimates(return_to_go, advantage, tokens or None)
    for token, found in zip(tokens, computed, strict=True):
        token["advantage"] = found if token["advantage"] is None else token["advantage"]
    return Estimates(return_to_go, advantage, tokens)
