"""Reward functions: what they are, how they add up, a library of them, and their check-up."""

from strategy_rl_envs.rewards.composition import Score, WeightedReward
from strategy_rl_envs.rewards.function import RewardFunction, described, registered, reward
from strategy_rl_envs.rewards.probing import Finding

__all__ = [
    "Finding",
    "RewardFunction",
    "Score",
    "WeightedReward",
    "described",
    "registered",
    "reward",
]
