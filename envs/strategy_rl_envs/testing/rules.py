"""The rules of one result of an environment. Each yields (rule, what was seen) where broken."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

Fault = tuple[str, str]


@dataclass(frozen=True)
class Result:
    """What `reset` (reward None) or `step` gave."""

    obs: Any
    info: Any
    reward: Any = None
    terminated: Any = False
    truncated: Any = False

    @property
    def ended(self) -> bool:
        """Whether the episode is over, so that no action follows."""
        try:
            return bool(self.terminated) or bool(self.truncated)
        except (TypeError, ValueError):
            return True  # no flag at all, which has a rule of its own


def result_faults(env: gymnasium.Env[Any, Any], result: Result) -> Iterator[Fault]:
    """Check one result against every rule that needs no other result."""
    if result.obs not in env.observation_space:
        yield "observation", f"not in {env.observation_space}: {_shown(result.obs)}"
    if not isinstance(result.info, dict) or not all(isinstance(key, str) for key in result.info):
        yield "info", f"expected a dict with text keys, got {_shown(result.info)}"
        return
    if result.reward is not None:
        yield from _reward_faults(result)
        yield from _flag_faults(result)
    yield from _mask_faults(env, result)
    yield from _candidate_faults(env, result)
    yield from _expert_faults(env, result)
    yield from _row_faults(env, result.info)


def _reward_faults(result: Result) -> Iterator[Fault]:
    reward = result.reward
    if isinstance(reward, bool | np.bool_) or not isinstance(reward, Real):
        yield "reward", f"expected a number, got {_shown(reward)}"
        return
    if not math.isfinite(reward):
        yield "reward", f"expected a finite number, got {reward}"
    components = result.info.get("reward_components")
    if components is None:
        return
    if not isinstance(components, dict) or not all(
        type(value) is float for value in components.values()
    ):
        yield "reward_components", f"expected {{name: Python float}}, got {_shown(components)}"
    elif not math.isclose(sum(components.values()), reward, rel_tol=1e-6, abs_tol=1e-6):
        yield "reward_components", f"{components} do not add up to the reward {reward}"
    try:
        json.dumps(result.info.get("reward_inputs"), allow_nan=False)
    except (TypeError, ValueError) as error:
        yield "reward_inputs", f"not JSON-able: {error}"


def _flag_faults(result: Result) -> Iterator[Fault]:
    for name in ("terminated", "truncated"):
        flag = getattr(result, name)
        if not isinstance(flag, bool):
            yield name, f"expected a bool, got {_shown(flag)}"


def action_mask(result: Result) -> Any:
    """Return the mask of a result, from the observation or from the info; None where none is."""
    if isinstance(result.obs, Mapping) and "action_mask" in result.obs:
        return result.obs["action_mask"]
    return result.info.get("action_mask") if isinstance(result.info, Mapping) else None


def is_usable_mask(env: gymnasium.Env[Any, Any], mask: Any) -> bool:
    """Say whether actions can be drawn by this mask: int8, of shape (n,), nothing but 0 and 1."""
    return (
        isinstance(env.action_space, spaces.Discrete)
        and isinstance(mask, np.ndarray)
        and mask.dtype == np.int8
        and mask.shape == (env.action_space.n,)
        and bool(((mask == 0) | (mask == 1)).all())
    )


def _mask_faults(env: gymnasium.Env[Any, Any], result: Result) -> Iterator[Fault]:
    mask = action_mask(result)
    if mask is not None and isinstance(env.action_space, spaces.MultiDiscrete):
        yield from _factor_mask_faults(env.action_space, mask, result)
    if mask is None or not isinstance(env.action_space, spaces.Discrete):
        return
    if not is_usable_mask(env, mask):
        yield (
            "action_mask",
            f"expected int8 0 and 1, shape ({env.action_space.n},), got {_shown(mask)}",
        )
        return
    if not result.ended and not mask.any():
        yield "action_mask", "no action is legal, but the episode goes on"
    elsewhere = result.info.get("action_mask", mask)
    if not np.array_equal(mask, elsewhere):
        yield "action_mask", "the observation and the info hold different masks"


def _factor_mask_faults(space: spaces.MultiDiscrete, mask: Any, result: Result) -> Iterator[Fault]:
    """A mask over several factors holds their masks one after the other, or as a tuple."""
    sizes = [int(size) for size in np.ravel(space.nvec)]
    parts = (
        list(mask) if isinstance(mask, tuple) else np.split(np.ravel(mask), np.cumsum(sizes)[:-1])
    )
    if [np.size(part) for part in parts] != sizes:
        yield "action_mask", f"expected masks of sizes {sizes}, got {_shown(mask)}"
        return
    for number, part in enumerate(parts):
        if not result.ended and not np.any(part):
            yield "action_mask", f"no action of factor {number} is legal, but the episode goes on"


def _candidate_faults(env: gymnasium.Env[Any, Any], result: Result) -> Iterator[Fault]:
    special = getattr(env.unwrapped, "special_actions", ())
    if not isinstance(special, tuple) or not all(isinstance(name, str) for name in special):
        yield "special_actions", f"expected a tuple of names, got {_shown(special)}"
        return
    if not isinstance(result.obs, Mapping) or "candidates" not in result.obs:
        return
    if not isinstance(result.obs["candidates"], Sequence):
        seen = f"expected texts, got {_shown(result.obs['candidates'])}"
        yield "candidates", seen
        return
    if not isinstance(env.action_space, spaces.Discrete):
        yield "candidates", f"need a Discrete action space, got {env.action_space}"
        return
    count, room = len(result.obs["candidates"]), int(env.action_space.n) - len(special)
    if not result.ended and not 1 <= count <= room:
        yield "candidates", f"{count} candidates, but the action space has room for 1 to {room}"
    mask = action_mask(result)
    if mask is None and count < room:
        yield "action_mask", f"missing, though only {count} of {room} candidates are there"
    elif is_usable_mask(env, mask) and mask[count:room].any():
        yield "action_mask", f"allows a candidate past the {count} that are there: {mask}"
    kinds = result.info.get("candidate_kinds")
    if kinds is not None and (
        not isinstance(kinds, Sequence) or [type(kind) for kind in kinds] != [str] * count
    ):
        yield "candidate_kinds", f"expected {count} texts, got {_shown(kinds)}"


def _expert_faults(env: gymnasium.Env[Any, Any], result: Result) -> Iterator[Fault]:
    if "expert_action" not in result.info or result.ended:
        return
    expert = result.info["expert_action"]
    if expert is None:
        yield "expert_action", "is None; leave the key out where there is no expert"
    elif not is_legal(env, result, expert):
        yield "expert_action", f"{_shown(expert)} is not legal in the observation it comes with"


def is_legal(env: gymnasium.Env[Any, Any], result: Result, action: Any) -> bool:
    """Say whether an action is in the space and allowed by the result's mask."""
    if isinstance(action, bool):
        return False
    as_given = action if isinstance(action, str | int | np.integer) else np.asarray(action)
    if as_given not in env.action_space:
        return False
    mask = action_mask(result)
    return not is_usable_mask(env, mask) or bool(mask[action])


def _row_faults(env: gymnasium.Env[Any, Any], info: Mapping[str, Any]) -> Iterator[Fault]:
    if "row" not in info:
        return
    row, num_rows = info["row"], getattr(env.unwrapped, "num_rows", None)
    if num_rows is None:
        yield "num_rows", "info has a row, but env.unwrapped.num_rows is missing"
    elif type(row) is not int or not 0 <= row < num_rows:
        yield "row", f"expected an int from 0 to {num_rows - 1}, got {_shown(row)}"


def _shown(value: Any) -> str:
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= 300 else text[:297] + "..."
