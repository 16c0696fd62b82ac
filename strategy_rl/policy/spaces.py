"""From Gymnasium spaces to plain specifications: which texts, numbers and actions there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from strategy_rl.errors import InputError
from strategy_rl.policy.distributions import ActionSpec

CANDIDATES = "candidates"
CANDIDATE_FEATURES = "candidate_features"
MASK = "action_mask"
WHOLE = ""  # the field name of an observation that is not a Dict
INSIDE = "/"  # between the names of a field and of what is inside it


@dataclass(frozen=True)
class ObservationSpec:
    """The parts of an observation. A text list fills the last slots of its `text_slots` turns."""

    text_fields: tuple[tuple[str, int], ...]  # name, slots
    number_fields: tuple[tuple[str, int, int], ...]  # name, width, size of a one-hot or 0
    max_candidates: int
    num_candidate_features: int = 0  # numbers that the task itself gives of each candidate

    @property
    def num_slots(self) -> int:
        """Texts of the context."""
        return sum(slots for _, slots in self.text_fields)

    @property
    def num_numbers(self) -> int:
        """Width of all numeric fields together."""
        return sum(width for _, width, _ in self.number_fields)

    @property
    def has_text(self) -> bool:
        """Whether a backbone is needed."""
        return self.num_slots > 0 or self.max_candidates > 0


def action_spec(space: gym.Space[Any], special_actions: Sequence[str] = ()) -> ActionSpec:
    """The specification of an action space that a policy head can serve."""
    if isinstance(space, spaces.Discrete):
        if space.start != 0:
            raise InputError(f"Discrete action spaces start at 0, got start={space.start}")
        return ActionSpec("categorical", (int(space.n),), len(special_actions))
    if isinstance(space, spaces.MultiDiscrete):
        if np.any(space.start):
            raise InputError(f"MultiDiscrete action spaces start at 0, got start={space.start}")
        return ActionSpec("multi", tuple(int(n) for n in np.ravel(space.nvec)))
    if isinstance(space, spaces.Box):
        if not space.is_bounded():
            raise InputError(
                f"a Box action space must be bounded, got {space}; "
                "wrap the environment in gymnasium.wrappers.RescaleAction"
            )
        low, high = (tuple(map(float, np.ravel(b))) for b in (space.low, space.high))
        return ActionSpec("box", (len(low),), low=low, high=high)
    raise InputError(
        f"no policy head for the action space {space}; use Discrete, MultiDiscrete or a bounded Box"
    )


def observation_spec(
    space: gym.Space[Any], action: ActionSpec, context_turns: int
) -> ObservationSpec:
    """Sort the fields of an observation space into texts, candidates and numbers."""
    fields = dict(_leaves(WHOLE, space))
    texts: list[tuple[str, int]] = []
    numbers: list[tuple[str, int, int]] = []
    has_candidates = CANDIDATES in fields and action.kind == "categorical"
    apart = {MASK, CANDIDATES, CANDIDATE_FEATURES} if has_candidates else {MASK}
    for name, field in fields.items():
        if name.split(INSIDE)[0] in apart:
            continue
        if is_text(field):
            texts.append((name, 1))
        elif isinstance(field, spaces.Sequence) and is_text(field.feature_space):
            texts.append((name, context_turns))
        else:
            numbers.append(_number_field(name, field))
    texts.sort(key=lambda text: text[0] == "context")  # its last turn is the one to answer
    max_candidates = action.sizes[0] - action.num_special if has_candidates else 0
    num_features = _candidate_features(fields, max_candidates) if has_candidates else 0
    return ObservationSpec(tuple(texts), tuple(numbers), max_candidates, num_features)


def part_of(parts: Mapping[str, Any], name: str) -> Any:
    """The value of a field; `a/0/x` is what stands under `x` in the first item of `a`."""
    if name in parts:
        return parts[name]
    outer, *inner = name.split(INSIDE)
    value = parts[outer]
    for key in inner:
        value = value[key] if isinstance(value, Mapping) else value[int(key)]
    return value


def _leaves(name: str, space: gym.Space[Any]) -> Iterator[tuple[str, gym.Space[Any]]]:
    """The fields of nested Dict, Tuple and MultiDiscrete spaces, named as `part_of` finds them."""
    if isinstance(space, spaces.Dict):
        prefix = name + INSIDE if name else ""
        inner: list[tuple[str, gym.Space[Any]]] = list(space.spaces.items())
    elif isinstance(space, spaces.Tuple):
        prefix = name + INSIDE
        inner = [(str(place), item) for place, item in enumerate(space.spaces)]
    elif isinstance(space, spaces.MultiDiscrete):
        prefix = name + INSIDE
        starts = np.ravel(space.start).tolist()
        inner = [
            (INSIDE.join(map(str, place)), spaces.Discrete(int(size), start=start))
            for (place, size), start in zip(np.ndenumerate(space.nvec), starts, strict=True)
        ]
    else:
        yield name, space
        return
    for key, item in inner:
        yield from _leaves(f"{prefix}{key}", item)


def is_text(space: gym.Space[Any]) -> bool:
    """Whether its elements are strings; packages have text spaces of their own."""
    return space.dtype is not None and space.dtype.kind == "U"


def _candidate_features(fields: dict[str, gym.Space[Any]], max_candidates: int) -> int:
    """Columns of the numbers of each candidate; 0 where the task gives none."""
    field = fields.get(CANDIDATE_FEATURES)
    if field is None:
        return 0
    shape = field.shape if isinstance(field, spaces.Box) else None
    if shape is None or len(shape) != 2 or shape[0] != max_candidates:
        raise InputError(
            f"observation field {CANDIDATE_FEATURES!r}: got {field}, expected a Box of shape "
            f"({max_candidates}, F): a row for each candidate there is room for"
        )
    return int(shape[1])


def _number_field(name: str, field: gym.Space[Any]) -> tuple[str, int, int]:
    if isinstance(field, spaces.Box | spaces.MultiBinary):
        return name, int(np.prod(field.shape)), 0
    if isinstance(field, spaces.Discrete):
        if field.start != 0:
            raise InputError(f"observation field {name!r}: {field} must start at 0")
        return name, int(field.n), int(field.n)
    raise InputError(
        f"observation field {name!r}: no encoding for {field}; "
        "use Text, Sequence(Text), Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple"
    )
