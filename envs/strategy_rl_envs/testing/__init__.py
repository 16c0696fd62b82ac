"""Checks whole episodes of an environment against the contract. For authors of tasks.

    from strategy_rl_envs.testing import check_env_contract
    check_env_contract("my_package:my/Task-v0", split="train")

Gymnasium's own `check_env` looks at the first steps alone; it is run here as well.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import Any

import gymnasium
from gymnasium.utils.env_checker import check_env

from strategy_rl_envs.testing.faults import ContractError, Faults
from strategy_rl_envs.testing.offers import check_constructor, check_heuristics, check_rows
from strategy_rl_envs.testing.order import check_after_end, check_in_turns
from strategy_rl_envs.testing.play import POLICIES, Player, check_same, make_chooser

__all__ = ["ContractError", "ContractReport", "check_env_contract"]


@dataclass(frozen=True)
class ContractReport:
    """How much was played to find no fault."""

    env_id: str
    episodes: int
    steps: int


def check_env_contract(
    env_id: str, *, episodes: int = 12, seed: int = 0, max_steps: int = 10_000, **kwargs: Any
) -> ContractReport:
    """Play an environment and check every rule of the contract that it offers to keep.

    Args:
        env_id: an id as `gymnasium.make` takes it.
        episodes: whole episodes to play, each three times over to compare; the action is by turns
            a random legal one, the first, the last, and the expert's.
        seed: the first episode's seed; the others follow it.
        max_steps: an episode that is longer counts as endless.
        **kwargs: arguments of the environment's constructor.

    Raises:
        ContractError: it names every broken rule, once, with the seed and actions that show it.
    """
    faults = Faults(env_id, kwargs)
    # Gymnasium's passive checker looks at first steps alone and only warns.
    make = partial(gymnasium.make, env_id, disable_env_checker=True, **kwargs)
    env = make()
    for name in ("observation_space", "action_space"):
        space = getattr(env, name, None)
        if not isinstance(space, gymnasium.Space):
            faults.note("spaces", f"{name}: expected a gymnasium.Space, got {space!r}")
    faults.raise_if_any()
    player = Player(env, faults, max_steps)
    for number, policy in zip(range(episodes), cycle(POLICIES), strict=False):
        _check_episode(player, Player(make(), faults, max_steps), policy, seed + number, faults)
        if faults.broken("ends"):
            break
    if not faults.broken("ends", "reset", "step"):
        for number in range(3):
            check_after_end(player, faults, seed + number)
    if not faults.broken("ends", "reset", "step", "determinism"):
        check_in_turns(player, Player(make(), faults, max_steps), faults, seed)
    _check_by_gymnasium(make(), faults)
    check_rows(player, faults, seed)
    check_heuristics(player, faults, seed)
    if not faults.broken("reset", "step", "info"):
        check_constructor(make, faults, seed)
    faults.raise_if_any()
    return ContractReport(env_id, episodes, player.steps)


def _check_episode(player: Player, fresh: Player, policy: str, seed: int, faults: Faults) -> None:
    """Play one episode, then its actions again in the same and in a fresh environment."""
    first, replay = player.play(make_chooser(player.env, policy, seed), seed)
    for other, where in ((player, "the same environment"), (fresh, "a fresh environment")):
        actions = iter(list(replay.actions))
        again, _ = other.play(lambda _, actions=actions: next(actions, None), seed)  # type: ignore[misc]
        difference = check_same(first, again)
        if difference and not faults.broken("ends", "step", "reset"):
            faults.note("determinism", f"played again in {where}, {difference}", replay)


def _check_by_gymnasium(env: gymnasium.Env[Any, Any], faults: Faults) -> None:
    """Run Gymnasium's checker; its warnings are matters of taste or have a rule of their own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            check_env(env.unwrapped, skip_render_check=True)
        except Exception as error:
            faults.note("gymnasium check_env", f"{type(error).__name__}: {error}")
