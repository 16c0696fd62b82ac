"""What an experiment is and how its file is read."""

from strategy_rl.config.base import Schedule, value_at
from strategy_rl.config.loading import dump_yaml, json_schema, load_experiment
from strategy_rl.config.names import name_fault, shorten
from strategy_rl.config.reward import RewardTerm, WeightSchedule
from strategy_rl.config.schema import (
    AdaptiveKL,
    BackboneConfig,
    CheckpointConfig,
    EarlyStopping,
    EvaluationConfig,
    Experiment,
    GenerationConfig,
    LoggingConfig,
    LoraConfig,
    PolicyConfig,
    PPOConfig,
    SFTConfig,
    TaskConfig,
)

__all__ = [
    "AdaptiveKL",
    "BackboneConfig",
    "CheckpointConfig",
    "EarlyStopping",
    "EvaluationConfig",
    "Experiment",
    "GenerationConfig",
    "LoggingConfig",
    "LoraConfig",
    "PPOConfig",
    "PolicyConfig",
    "RewardTerm",
    "SFTConfig",
    "Schedule",
    "TaskConfig",
    "WeightSchedule",
    "dump_yaml",
    "json_schema",
    "load_experiment",
    "name_fault",
    "shorten",
    "value_at",
]
