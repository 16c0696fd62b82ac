"""What a task's constructor is given. Knows what constructors accept; makes no environment."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from gymnasium.envs.registration import load_env_creator

from strategy_rl.config import RewardTerm, TaskConfig
from strategy_rl.env import find_spec
from strategy_rl.errors import InputError
from strategy_rl.models import PREFIX, resolve_model

Reward = Sequence[RewardTerm]


def task_settings(task: TaskConfig, split: str, reward: Reward) -> dict[str, Any]:
    """What a task's constructor is given: its settings, and split and reward where it takes them.

    A packaged model is given as its folder, as in `plain_reward`.

    Raises:
        InputError: There is no such task, or it takes no reward.
        ModelError: A packaged model is named that cannot be had.
    """
    accepted = constructor_parameters(task.id)
    settings = with_folders(task.settings)
    if "split" in accepted:
        settings["split"] = split
    if reward:
        if "reward" not in accepted:
            raise InputError(
                f"reward: {task.id} takes no reward; leave it out, or let its constructor take one"
            )
        settings["reward"] = plain_reward(reward)
    return settings


def plain_reward(reward: Reward) -> list[dict[str, Any]]:
    """A reward as environments take it: only what was said; a packaged model as its folder."""
    plain = []
    for term in reward:
        said = term.model_dump(by_alias=True, exclude_defaults=True)
        settings = with_folders(term.settings)
        plain.append({**said, "name": term.name, **({"settings": settings} if settings else {})})
    return plain


def with_folders(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which each packaged model is named by its folder.

    Raises:
        ModelError: There is no such model, or it cannot be fetched.
    """

    def resolved(value: Any) -> Any:
        is_packaged = isinstance(value, str) and value.startswith(PREFIX)
        return str(resolve_model(value)) if is_packaged else value

    return {name: resolved(value) for name, value in settings.items()}


def constructor_parameters(task_id: str) -> set[str]:
    """Names of what a task's constructor takes.

    Raises:
        InputError: There is no such task, or it cannot be imported.
    """
    spec = find_spec(task_id)
    entry = spec.entry_point or spec.vector_entry_point
    try:
        creator = load_env_creator(entry) if isinstance(entry, str) else entry
    except (ImportError, AttributeError) as error:
        raise InputError(f"task.id: {task_id!r} cannot be imported: {error}") from error
    return set(inspect.signature(creator).parameters) if creator else set()
