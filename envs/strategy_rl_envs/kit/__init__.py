"""Pieces that tasks are made of: text space, data reader, reward composition, selection spaces."""

from strategy_rl_envs.kit.errors import DataError, RewardError, SettingError, TaskError
from strategy_rl_envs.kit.rewards import WeightedReward
from strategy_rl_envs.kit.text import UnicodeText

__all__ = ["DataError", "RewardError", "SettingError", "TaskError", "UnicodeText", "WeightedReward"]
