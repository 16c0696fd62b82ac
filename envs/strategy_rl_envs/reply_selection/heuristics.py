"""Baselines without a model: word overlap weighted by rarity, and always handing over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from strategy_rl_envs.kit.selection import random_legal_action
from strategy_rl_envs.kit.tfidf import TfIdf

__all__ = ["TfIdf", "always_hand_over"]


def always_hand_over(obs: Mapping[str, Any], rng: np.random.Generator) -> int:
    """Hand over while that is allowed, then reply at random."""
    mask = obs["action_mask"]
    return len(mask) - 1 if mask[-1] else random_legal_action(obs, rng)
