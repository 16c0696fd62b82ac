"""From an experiment to its pieces: environments, policy, rows, experts. Trains nothing."""

from strategy_rl.assembly.backbones import (
    backbone_settings,
    feature_folder,
    make_table,
    needs_table,
    resolve_device,
)
from strategy_rl.assembly.experts import has_expert, has_expert_everywhere
from strategy_rl.assembly.policies import make_policy
from strategy_rl.assembly.rows import (
    Rows,
    ppo_plan,
    row_plans,
    row_share,
    share_rows,
    validation_plans,
)
from strategy_rl.assembly.settings import plain_reward, task_settings, with_folders
from strategy_rl.assembly.worlds import World, make_world

__all__ = [
    "Rows",
    "World",
    "backbone_settings",
    "feature_folder",
    "has_expert",
    "has_expert_everywhere",
    "make_policy",
    "make_table",
    "make_world",
    "needs_table",
    "plain_reward",
    "ppo_plan",
    "resolve_device",
    "row_plans",
    "row_share",
    "share_rows",
    "task_settings",
    "validation_plans",
    "with_folders",
]
