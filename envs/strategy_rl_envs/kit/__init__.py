"""Pieces that tasks are made of: text space, data reader, selection spaces."""

from strategy_rl_envs.kit.errors import DataError, RewardError, SettingError, TaskError
from strategy_rl_envs.kit.text import UnicodeText

__all__ = ["DataError", "RewardError", "SettingError", "TaskError", "UnicodeText"]
