"""Texts to vectors, each distinct text encoded once: on disk, in memory, in one table a run."""

from strategy_rl.features.cache import FeatureCache
from strategy_rl.features.table import TextTable

__all__ = ["FeatureCache", "TextTable"]
