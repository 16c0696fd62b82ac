"""One episode in full, with what can be computed of each step. Pure functions of data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from strategy_rl.board.heads import number_of

Step = Mapping[str, Any]


def steps_of(
    episode: Mapping[str, Any], gamma: float, gae_lambda: float, renderer: str | None
) -> list[dict[str, Any]]:
    """The recorded steps, each with what follows from them.

    Args:
        episode: Its line.
        gamma: Discount for each step.
        gae_lambda: Of generalised advantage estimation.
        renderer: What the task's steps are shown with.

    Returns:
        Each step's fields and `return_to_go`, `advantage`, `entropy` (nats), `greedy_action`,
        `greedy_name`, `weights` and `renderer`; None where something was not recorded.
    """
    steps = steps_in(episode)
    returns = returns_to_go(steps, gamma)
    terminated = episode.get("terminated") is True
    advantages = advantages_of(steps, gamma, gae_lambda, terminated=terminated)
    return [
        {
            **step,
            "entropy": entropy_of(step),
            "return_to_go": return_to_go,
            "advantage": advantage,
            **greedy(step),
            "weights": weights,
            "renderer": renderer,
        }
        for step, return_to_go, advantage, weights in zip(
            steps, returns, advantages, weights_of(steps), strict=True
        )
    ]


def steps_in(episode: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps of an episode's line as they were recorded."""
    steps = episode.get("steps")
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def returns_to_go(steps: Sequence[Step], gamma: float) -> list[float | None]:
    """The discounted return from each step on; None from where a reward is missing."""
    found: list[float | None] = []
    following: float | None = 0.0
    for step in reversed(steps):
        reward = number_of(step.get("reward"))
        following = None if reward is None or following is None else reward + gamma * following
        found.append(following)
    return found[::-1]


def advantages_of(
    steps: Sequence[Step], gamma: float, gae_lambda: float, *, terminated: bool
) -> list[float | None]:
    """GAE from the recorded values.

    The value after the last step of a truncated episode is not recorded: all are None then, as
    where a value is missing.
    """
    values = [number_of(step.get("value")) for step in steps]
    rewards = [number_of(step.get("reward")) for step in steps]
    if not terminated or None in values or None in rewards:
        return [None] * len(steps)
    found: list[float | None] = []
    advantage = next_value = 0.0
    for reward, value in zip(reversed(rewards), reversed(values), strict=True):
        assert reward is not None
        assert value is not None
        advantage = reward + gamma * next_value - value + gamma * gae_lambda * advantage
        next_value = value
        found.append(advantage)
    return found[::-1]


def entropy_of(step: Step) -> float | None:
    """In nats, as recorded, else of the probabilities; None where neither is there."""
    recorded, probabilities = number_of(step.get("entropy")), _probabilities(step)
    if recorded is not None:
        return recorded
    if not probabilities:
        return None
    return -math.fsum(p * math.log(p) for p in probabilities if p > 0) + 0.0  # no minus zero


def greedy(step: Step) -> dict[str, Any]:
    """`greedy_action` and `greedy_name`: as recorded, else the most probable, first of equals."""
    recorded, probabilities = step.get("greedy_action"), _probabilities(step)
    if recorded is not None or not probabilities:
        return {"greedy_action": recorded, "greedy_name": step.get("greedy_name")}
    place = probabilities.index(max(probabilities))
    legal, names = step.get("legal_actions"), step.get("legal_names")
    action = _item(legal, place, place)
    own = step.get("action_name") if action == step.get("action") else str(action)
    return {"greedy_action": action, "greedy_name": _item(names, place, own)}


def weights_of(steps: Sequence[Step]) -> list[dict[str, float | None]]:
    """What each component's own value was multiplied by; None where value or 0 tell nothing.

    Where values are told at the end alone, they are of the whole episode: the components of its
    steps are added up.
    """
    shares = [_numbers(step.get("components")) for step in steps]
    values = [_numbers(step.get("reward_values")) for step in steps]
    if values and not any(values[:-1]):
        for share in shares[:-1]:
            for name in share.keys() & shares[-1].keys():
                shares[-1] = {**shares[-1], name: shares[-1][name] + share[name]}
    return [
        {name: _ratio(share, own.get(name)) for name, share in each.items()}
        for each, own in zip(shares, values, strict=True)
    ]


def _numbers(given: Any) -> dict[str, float]:
    """The entries of a mapping that are numbers."""
    found = given.items() if isinstance(given, dict) else ()
    return {name: n for name, value in found if (n := number_of(value)) is not None}


def _ratio(share: float, value: float | None) -> float | None:
    return share / value if value else None


def _probabilities(step: Step) -> list[float]:
    given = step.get("probabilities")
    if not isinstance(given, list) or any(number_of(p) is None for p in given):
        return []
    return given


def _item(values: Any, place: int, otherwise: Any) -> Any:
    return values[place] if isinstance(values, list) and place < len(values) else otherwise
