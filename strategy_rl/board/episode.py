"""One episode in full, with what can be computed of each step. Pure functions of data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from strategy_rl.board.estimates import Step, estimates_of
from strategy_rl.board.heads import number_of

_FACTORS = ("factor_probabilities", "reference_factor_probabilities")


def steps_of(
    episode: Mapping[str, Any], gamma: float, gae_lambda: float, scaled_values: bool = False
) -> list[dict[str, Any]]:
    """The recorded steps, each with what follows from them.

    Args:
        episode: Its line.
        gamma: Discount for each decision.
        gae_lambda: Of generalised advantage estimation.
        scaled_values: As in `estimates_of`.

    Returns:
        Each step's fields, and as recorded or else computed `return_to_go`, `advantage`, `tokens`,
        `entropy` (nats), `greedy_action`, `greedy_name`, `weights`, `factor_probabilities` and
        `reference_factor_probabilities`; None where something was not recorded.
    """
    steps = steps_in(episode)
    after = 0.0 if episode.get("terminated") is True else number_of(episode.get("final_value"))
    estimates = estimates_of(steps, gamma, gae_lambda, after, scaled_values)
    weights_then = weights_of(steps, episode.get("weights"))
    return [
        {
            **step,
            "entropy": entropy_of(step),
            **estimate._asdict(),
            **greedy(step),
            "weights": weights,
            **factors_in(step),
        }
        for step, estimate, weights in zip(steps, estimates, weights_then, strict=True)
    ]


def steps_in(episode: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The steps of an episode's line as they were recorded."""
    steps = episode.get("steps")
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


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


def weights_of(steps: Sequence[Step], told: Any = None) -> list[dict[str, float | None]]:
    """What each component's own value was multiplied by.

    Where the value is 0 or unknown it is what `told` says, the weights of the episode, or None.
    Where values are told at the end alone, they are of the whole episode: the components of its
    steps are added up.
    """
    weights = _numbers(told)
    shares = [_numbers(step.get("components")) for step in steps]
    values = [_numbers(step.get("reward_values")) for step in steps]
    if values and not any(values[:-1]):
        for share in shares[:-1]:
            for name in share.keys() & shares[-1].keys():
                shares[-1] = {**shares[-1], name: shares[-1][name] + share[name]}
    return [
        {
            name: share / own[name] if own.get(name) else weights.get(name)
            for name, share in each.items()
        }
        for each, own in zip(shares, values, strict=True)
    ]


def factors_in(step: Step) -> dict[str, list[list[float]] | None]:
    """Where an action is a list of choices, the probabilities of each: the policy's, SFT's."""
    return {name: _lists(step.get(name)) for name in _FACTORS}


def _lists(given: Any) -> list[list[float]] | None:
    """A list of lists of numbers, or None."""
    lists = [_all_numbers(each) for each in given] if isinstance(given, list) else []
    return lists if lists and all(lists) else None


def _numbers(given: Any) -> dict[str, float]:
    """The entries of a mapping that are numbers."""
    found = given.items() if isinstance(given, dict) else ()
    return {name: n for name, value in found if (n := number_of(value)) is not None}


def _probabilities(step: Step) -> list[float]:
    return _all_numbers(step.get("probabilities"))


def _all_numbers(given: Any) -> list[float]:
    """A list of numbers; empty where it is anything else."""
    if not isinstance(given, list) or any(number_of(p) is None for p in given):
        return []
    return given


def _item(values: Any, place: int, otherwise: Any) -> Any:
    return values[place] if isinstance(values, list) and place < len(values) else otherwise
