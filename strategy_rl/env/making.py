"""From a registered task to its environments. Plays none of them."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from strategy_rl.env.slots import EnvSlots, made
from strategy_rl.env.vector import VectorSlots
from strategy_rl.errors import InputError


def make_slots(task_id: str, settings: Mapping[str, Any], num_slots: int) -> EnvSlots:
    """Environments of a registered task, vectorised natively where the task keeps our contract.

    Raises:
        InputError: The id is unknown, or the task refuses its settings.
    """

    def make() -> gym.Env[Any, Any]:
        return gym.make(task_id, disable_env_checker=True, **settings)

    spec = find_spec(task_id)
    if spec.vector_entry_point is not None:
        vector = made(
            lambda: gym.make_vec(
                task_id, num_slots, vectorization_mode="vector_entry_point", **dict(settings)
            )
        )
        # Any other mode resets by itself, with steps that are no transitions (CartPole's own does).
        if vector.metadata.get("autoreset_mode") is gym.vector.AutoresetMode.DISABLED:
            return VectorSlots(vector)
        vector.close()
    if spec.entry_point is None:
        raise InputError(
            f"task.id: {task_id!r} has a vector_entry_point only, and that resets by itself; give "
            "it metadata['autoreset_mode'] = AutoresetMode.DISABLED, or register an entry_point"
        )
    return EnvSlots(make, num_slots)


def find_spec(task_id: str) -> EnvSpec:
    """The registration of a task; an id `module:namespace/Name-v0` imports its module first.

    Raises:
        InputError: There is none.
    """
    module, _, name = task_id.rpartition(":")
    try:
        if module:
            import_module(module)
        return gym.spec(name)
    except (gym.error.Error, ImportError) as error:
        raise InputError(
            f"task.id: {task_id!r}: {error}; `strategy-rl tasks` lists what there is"
        ) from error
