"""Our reward functions under the trainers of others."""

from strategy_rl_envs.interop.trl import trl_reward

__all__ = ["trl_reward"]
