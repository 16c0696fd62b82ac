"""Every reward function that comes with the package, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from strategy_rl_envs.rewards import cost, lexicon, models, overlap, prose, ranking, style
from strategy_rl_envs.rewards.function import RewardFunction

_MODULES = (overlap, ranking, style, prose, lexicon, models, cost)

LIBRARY: Mapping[str, RewardFunction] = MappingProxyType(
    {
        found.name: found
        for module in _MODULES
        for found in vars(module).values()
        if isinstance(found, RewardFunction)
    }
)
