"""One step of an episode as it is written down. Knows what an environment tells of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete, MultiDiscrete

from strategy_rl.actors import Choice, mask_of
from strategy_rl.env import EnvSlots, StepResult
from strategy_rl.episodes import Action, Step, facts_to_json, plain
from strategy_rl.errors import EnvironmentFault
from strategy_rl.policy.spaces import CANDIDATES, MASK

MAX_NUMBERS = 64  # of an array in an episode that keeps no texts; of actions without a mask
MAX_WRITTEN = 4096  # numbers of an array


@contextmanager
def _written_down() -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise EnvironmentFault(
            f"a step cannot be written down: {type(error).__name__}: {error}; give texts, numbers "
            "and lists or mappings of them in the info"
        ) from error


@_written_down()
def step_of(
    slots: EnvSlots,
    obs: Any,
    info: Mapping[str, Any],
    choice: Choice,
    answer: StepResult,
    keep_texts: bool,
) -> Step:
    """One step as episodes keep it.

    Args:
        slots: Where it was taken; names its actions.
        obs: What was seen.
        info: What came with it.
        choice: What was done.
        answer: What the environment said to that.
        keep_texts: Keep the texts of observations and of what the reward functions saw.

    Raises:
        EnvironmentFault: The info holds what cannot be written as JSON, or an action has no name.
    """
    legal = _legal_actions(slots, obs, info)
    action: Action = _flat(choice.action)
    components = answer.info.get("reward_components", {})
    kinds, expert = info.get("candidate_kinds"), _flat(info.get("expert_action"))
    text = answer.info.get("text")
    return Step(
        action=action,
        action_name=_action_name(slots, obs, action),
        legal_names=_legal_names(slots, obs, legal),
        reward=answer.reward,
        components={str(name): float(share) for name, share in components.items()},
        observation=_kept(obs, keep_texts),
        legal_actions=legal,
        probabilities=_of_legal(choice.probabilities, legal),
        value=choice.value,
        expert_action=expert,
        candidate_kinds=None if kinds is None else list(kinds),
        reward_inputs=facts_to_json(answer.info.get("reward_inputs")) if keep_texts else None,
        reward_values=_values(answer.info),
        log_ratio=choice.log_ratio,
        special=_special_name(slots, action) is not None,
        text=text if keep_texts and isinstance(text, str) else None,
        expert_name=None if expert is None else _action_name(slots, obs, expert),
        logprob=choice.logprob,
        entropy=choice.entropy,
        kl=choice.kl,
        reference_probabilities=_of_legal(choice.reference_probabilities, legal),
        factor_probabilities=choice.factor_probabilities,
        reference_factor_probabilities=choice.reference_factor_probabilities,
        advantage=choice.advantage,
        tokens=choice.tokens if keep_texts else None,
        **_named_action("greedy", choice.greedy_action, slots, obs),
        **_named_action("reference", choice.reference_action, slots, obs),
    )


def row_of(slots: EnvSlots, info: Mapping[str, Any], planned: int | None) -> int | None:
    """Which row an episode was of, where the task has rows: `row` may mean something else."""
    row = info.get("row", planned)
    return None if slots.num_rows is None or row is None else int(row)


def _of_legal(probabilities: list[float] | None, legal: list[int] | None) -> list[float] | None:
    if probabilities is None or legal is None:
        return probabilities
    return [probabilities[i] for i in legal]


def _named_action(who: str, action: Any, slots: EnvSlots, obs: Any) -> dict[str, Any]:
    """What somebody else would do, under the names of a step's fields."""
    flat = _flat(action)
    name = None if flat is None else _action_name(slots, obs, flat)
    return {f"{who}_action": flat, f"{who}_name": name}


def _values(info: Mapping[str, Any]) -> dict[str, float | None] | None:
    """The components' own values, where the task tells them."""
    values = info.get("reward_values")
    if values is None:
        return None
    return {str(name): None if v is None else float(v) for name, v in values.items()}


def _flat(action: Any) -> Any:
    """A number, or a flat list, as policies have it; None stays."""
    value = plain(action)
    return np.ravel(value).tolist() if isinstance(value, list) else value


def _legal_actions(slots: EnvSlots, obs: Any, info: Mapping[str, Any]) -> list[int] | None:
    """None where nothing is masked, and where an action has several factors."""
    if not isinstance(slots.action_space, Discrete):
        return None
    mask = mask_of(obs, info)
    if mask is None or isinstance(mask, tuple):
        return None
    return np.flatnonzero(mask).tolist()


def _legal_names(slots: EnvSlots, obs: Any, legal: list[int] | None) -> list[str] | None:
    """Of the legal actions, or of all where there is no mask; None where they have no names."""
    if legal is None:
        space = slots.action_space
        named = slots.action_name is not None or slots.special_actions
        if not named or not isinstance(space, Discrete) or space.n > MAX_NUMBERS:
            return None
        legal = list(range(int(space.n)))
    return [_action_name(slots, obs, action) for action in legal]


def _action_name(slots: EnvSlots, obs: Any, action: Action) -> str:
    """What an action is called; a text is its own name."""
    special = _special_name(slots, action)
    if special is not None:
        return special
    offered = obs.get(CANDIDATES) if isinstance(obs, Mapping) else None
    if offered is not None and isinstance(action, int):
        return f"candidate {action}"
    if slots.action_name is None or not isinstance(slots.action_space, Discrete | MultiDiscrete):
        return str(action)
    return _named(slots.action_name, action)


def _special_name(slots: EnvSlots, action: Action) -> str | None:
    """Of one of the last actions that the task lists as special; None for any other."""
    if not isinstance(action, int) or not isinstance(slots.action_space, Discrete):
        return None
    special = action - int(slots.action_space.n) + len(slots.special_actions)
    return str(slots.special_actions[special]) if special >= 0 and slots.special_actions else None


def _named(action_name: Callable[[Any], str], action: Action) -> str:
    """The task's name for an action.

    Raises:
        EnvironmentFault: It fails, or gives no text.
    """
    try:
        name = action_name(action)
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        raise EnvironmentFault(f"the task's action_name({action}) failed: {cause}") from error
    if not isinstance(name, str):
        raise EnvironmentFault(
            f"the task's action_name({action}) gave {type(name).__name__}, expected a text"
        )
    return name


def _kept(obs: Any, keep_texts: bool) -> dict[str, Any]:
    fields = obs if isinstance(obs, Mapping) else {"observation": obs}
    return {
        name: _written(value)
        for name, value in fields.items()
        if name != MASK and (keep_texts or _is_small(value))
    }


def _written(value: Any) -> Any:
    """As JSON; a picture or the like is named by its shape."""
    if isinstance(value, np.ndarray) and value.size > MAX_WRITTEN:
        return f"{' x '.join(map(str, value.shape))} numbers, left out"
    return plain(value)


def _is_small(value: Any) -> bool:
    """Whether it is a few numbers: no text, no picture."""
    return not isinstance(value, str | tuple | list) and np.size(value) <= MAX_NUMBERS
