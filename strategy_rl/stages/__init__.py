"""The stages of one experiment, in `stages.py` from top to bottom, and what they are made of.

`teaching` has the demonstrations, `methods` the reference and what is learnt from, `rounds` what
PPO collects, `keeping` the episodes to be looked at, `fresh` the policies that are compared with.
"""

from strategy_rl.stages.stages import Stages

__all__ = ["Stages"]
