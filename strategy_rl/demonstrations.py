"""What SFT imitates: the expert rolled through the environment, or a file of demonstrations."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from strategy_rl.config import shorten
from strategy_rl.env import EnvSlots, fault_at
from strategy_rl.episodes import json_line, plain
from strategy_rl.errors import EnvironmentFault, InputError
from strategy_rl.generation import AnyPolicy, Response, TextPolicy
from strategy_rl.policy.distributions import ActionSpec
from strategy_rl.policy.observations import ObservationBatch
from strategy_rl.policy.policy import Policy
from strategy_rl.policy.spaces import MASK
from strategy_rl.rollout import EpisodePlan

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Demonstrations:
    """Observations with what the expert did in them."""

    batch: ObservationBatch
    actions: Tensor  # (N,) or (N, factors)

    def __len__(self) -> int:
        return len(self.actions)

    def __getitem__(self, index: Tensor | slice) -> Demonstrations:
        return Demonstrations(self.batch[index], self.actions[index])


@dataclass(frozen=True)
class WrittenDemonstrations:
    """Prompts with what the expert wrote after them."""

    responses: tuple[Response, ...]

    def __len__(self) -> int:
        return len(self.responses)

    def __getitem__(self, index: Tensor | slice) -> WrittenDemonstrations:
        if isinstance(index, slice):
            return WrittenDemonstrations(self.responses[index])
        return WrittenDemonstrations(tuple(self.responses[i] for i in index.tolist()))


AnyDemonstrations = Demonstrations | WrittenDemonstrations


@dataclass(frozen=True)
class RawDemonstrations:
    """The same before any text is encoded."""

    observations: list[Any]
    masks: list[Any]
    actions: list[Any]

    def add(self, obs: Any, info: Mapping[str, Any], action: Any) -> None:
        """Note one decision."""
        self.observations.append(obs)
        self.masks.append(info.get(MASK))
        self.actions.append(action)

    @property
    def taught(self) -> RawDemonstrations:
        """Those with an action alone."""
        kept = [i for i, action in enumerate(self.actions) if action is not None]
        return RawDemonstrations(
            [self.observations[i] for i in kept],
            [self.masks[i] for i in kept],
            [self.actions[i] for i in kept],
        )

    def __len__(self) -> int:
        return len(self.actions)

    def texts(self) -> list[str]:
        """Every text of the observations, in order, with repetitions."""
        found: list[str] = []
        for observation in self.observations:
            _texts_into(observation, found)
        return found

    def digest(self) -> str:
        """A fingerprint of the data: it changes when any observation or action does."""
        digest = hashlib.sha256()
        for decision in zip(self.observations, self.masks, self.actions, strict=True):
            digest.update(json_line(decision))
        return digest.hexdigest()

    def encode(self, policy: AnyPolicy) -> AnyDemonstrations:
        """As a policy learns from them.

        Raises:
            InputError: An action does not fit the action space, or is illegal where it is taken.
            EnvironmentFault: An observation does not fit its space; `place` says which.
        """
        return self._written(policy) if isinstance(policy, TextPolicy) else self._decided(policy)

    def _written(self, policy: TextPolicy) -> WrittenDemonstrations:
        """As responses; `open_ended` counts those that were cut at the policy's limit."""
        for number, action in enumerate(self.actions):
            if not isinstance(action, str):
                raise InputError(
                    f"demonstration {number + 1} of {len(self.actions)}: the action is "
                    f"{shorten(action)}, expected a text"
                )
        prompts = policy.encode(self.observations)
        responses = [
            policy.response_of(prompt, text)
            for prompt, text in zip(prompts, self.actions, strict=True)
        ]
        cut = sum(not response.ended for response in responses)
        if cut:
            log.warning(
                "%d of %d demonstrations are longer than generation.max_new_tokens %d and were cut",
                cut,
                len(responses),
                policy.spec.max_new_tokens,
            )
        return WrittenDemonstrations(tuple(policy.with_trunk(responses)))

    def _decided(self, policy: Policy) -> Demonstrations:
        """As tensors of a policy.

        Raises:
            InputError: An action does not fit the action space, or is illegal where it is taken.
            EnvironmentFault: An observation does not fit its space; `place` says which.
        """
        batches = []
        for start in range(0, len(self.observations), 1024):
            part = slice(start, start + 1024)
            try:
                batches.append(policy.encode(self.observations[part], self.masks[part]))
            except EnvironmentFault as fault:
                fault.place = start + (fault.place or 0)
                raise
        batch = ObservationBatch.concatenate(batches)
        actions = _as_tensor(self.actions, policy.spec.action).to(policy.device)
        _refuse_illegal(actions, batch.mask, policy.spec.action)
        return Demonstrations(batch, actions)


def roll_expert(slots: EnvSlots, plans: Sequence[EpisodePlan]) -> RawDemonstrations:
    """Play the planned episodes with the environment's expert, as many at once as there are slots.

    Rows that begin without an expert action have nobody to imitate: they keep their first
    observation, with the action None.

    Raises:
        InputError: The environment names no expert action in an episode without a row.
        EnvironmentFault: It names one at first, but not to the end.
    """
    found = [RawDemonstrations([], [], []) for _ in plans]
    led = []
    for plan, own in zip(plans, found, strict=True):
        obs, info = slots.reset([0], [plan.seed], [plan.options])[0]
        if "expert_action" in info:
            led.append((plan, own))
        elif plan.row is None:
            raise _no_expert()
        else:
            own.add(obs, info, None)
    for start in range(0, len(led), slots.num_slots):
        _play_expert(slots, led[start : start + slots.num_slots])
    return RawDemonstrations(
        [obs for own in found for obs in own.observations],
        [mask for own in found for mask in own.masks],
        [action for own in found for action in own.actions],
    )


def _play_expert(
    slots: EnvSlots, episodes: Sequence[tuple[EpisodePlan, RawDemonstrations]]
) -> None:
    """Play episodes side by side to their end, and note what the expert did in each."""
    plans = [plan for plan, _ in episodes]
    seeds, options = [plan.seed for plan in plans], [plan.options for plan in plans]
    starts = slots.reset(range(len(plans)), seeds, options)
    seen = {slot: (start.obs, start.info) for slot, start in enumerate(starts)}
    while seen:
        for slot, (obs, info) in seen.items():
            with slots.blamed([slot]):
                if "expert_action" not in info:
                    raise _gave_up()
            episodes[slot][1].add(obs, info, info["expert_action"])
        actions = [episodes[slot][1].actions[-1] for slot in seen]
        played = zip(list(seen), slots.step(list(seen), actions), strict=True)
        seen = {
            slot: (step.obs, step.info)
            for slot, step in played
            if not (step.terminated or step.truncated)
        }


def _no_expert() -> InputError:
    return InputError(
        "the task has no expert (its info holds no `expert_action`); give "
        "sft.demonstrations, or set sft.epochs=0"
    )


def _gave_up() -> EnvironmentFault:
    return fault_at(
        0,
        "the info holds no `expert_action`, though it did before; name one in every state that an "
        "expert meets, or give sft.demonstrations",
    )


def first_looks(slots: EnvSlots, plans: Sequence[EpisodePlan]) -> RawDemonstrations:
    """What the planned episodes begin with, where no expert acts; the actions are None."""
    starts = [slots.reset([0], [plan.seed], [plan.options])[0] for plan in plans]
    masks = [start.info.get(MASK) for start in starts]
    return RawDemonstrations([start.obs for start in starts], masks, [None] * len(starts))


def read_demonstrations(path: Path) -> RawDemonstrations:
    """Read a JSONL file of {"observation": ..., "action": ..., "action_mask": optional}.

    Raises:
        InputError: Naming the file, the line and the field at fault.
    """
    found = RawDemonstrations([], [], [])
    try:
        # Not `splitlines`: U+2028 and its like may stand inside a text.
        lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    for number, line in enumerate(lines if any(lines) else [], start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}:{number}: not a JSON object: {error}") from error
        for field in ("observation", "action"):
            if not isinstance(row, dict) or field not in row:
                raise InputError(f"{path}:{number}: field {field!r} is missing")
        found.observations.append(row["observation"])
        found.masks.append(row.get(MASK))
        found.actions.append(row["action"])
    if len(found.actions) < 2:
        raise InputError(
            f"{path}: {len(found.actions)} demonstrations; expected at least 2, one JSON object a "
            "line: SFT holds some out to judge by"
        )
    return found


def _texts_into(value: Any, found: list[str]) -> None:
    if isinstance(value, str):
        found.append(value)
    elif isinstance(value, dict):
        for part in value.values():
            _texts_into(part, found)
    elif isinstance(value, tuple | list):
        for part in value:
            _texts_into(part, found)


def _as_tensor(actions: Sequence[Any], spec: ActionSpec) -> Tensor:
    """Shape (N,), or (N, factors or dimensions) where an action may be nested."""
    try:
        tensor = torch.tensor(plain(actions))
        if spec.kind != "categorical":
            tensor = tensor.reshape(len(actions), -1)
    except (TypeError, ValueError) as error:
        raise InputError(f"demonstrations: their actions are not alike: {error}") from error
    width = spec.sizes[0] if spec.kind == "box" else len(spec.sizes)
    shape = (len(actions),) if spec.kind == "categorical" else (len(actions), width)
    if tensor.shape != shape or (spec.kind != "box" and tensor.is_floating_point()):
        wanted = {
            "categorical": "one index",
            "multi": f"{width} indices",
            "box": f"{width} numbers",
        }
        raise InputError(
            f"demonstrations: the first action is {plain(actions[0])}, the action space asks for "
            f"{wanted[spec.kind]} each"
        )
    return tensor.to(torch.float32 if spec.kind == "box" else torch.int64)


def _refuse_illegal(actions: Tensor, mask: Tensor, spec: ActionSpec) -> None:
    if spec.kind == "box":
        return
    factors = actions.reshape(len(actions), -1)
    sizes = torch.tensor(spec.sizes, device=actions.device)
    inside = (factors >= 0) & (factors < sizes)
    places = factors.clamp(min=0).minimum(sizes - 1) + sizes.cumsum(0) - sizes
    illegal = ~(inside & mask.gather(1, places)).all(1)
    if illegal.any():
        number = int(illegal.nonzero()[0])
        raise InputError(
            f"demonstration {number + 1} of {len(actions)}: action {actions[number].tolist()} is "
            f"not legal there; legal are {mask[number].nonzero().flatten().tolist()}"
        )
