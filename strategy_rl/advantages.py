"""Generalised advantage estimation. Pure functions of tensors; knows no environment and no policy.

Shapes: num_steps is time, num_envs counts columns (an environment slot, or one whole episode).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Advantages(NamedTuple):
    """What `compute_gae` gives."""

    advantages: Tensor
    returns: Tensor


def compute_gae(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminations: Tensor,
    truncations: Tensor,
    gamma: float,
    gae_lambda: float,
    valid: Tensor | None = None,
) -> Advantages:
    """Advantages and returns by GAE (Schulman et al. 2016, equations 11 to 16).

    A termination zeroes the bootstrap. A truncation keeps it: `next_values` must hold the value
    of the *final* observation there, not of the one after the reset. Neither lets the recursion
    cross. Slots that are not valid are skipped, not decayed through, and give 0.

    Args:
        rewards: Shape (num_steps, num_envs).
        values: V(obs) at rollout time, same shape.
        next_values: V(next obs), same shape; whatever it holds at a termination is not used.
        terminations: Bool, same shape.
        truncations: Bool, same shape.
        gamma: Discount for each step.
        gae_lambda: 0 gives the one-step error, 1 the Monte-Carlo return.
        valid: Bool, same shape; None means all.

    Returns:
        Advantages, and returns = advantages + values, both before any whitening.
    """
    if valid is None:
        valid = torch.ones_like(rewards, dtype=torch.bool)
    zero = torch.zeros((), dtype=rewards.dtype, device=rewards.device)
    bootstrap = torch.where(terminations, zero, next_values)
    deltas = torch.where(valid, rewards + gamma * bootstrap - values, zero)
    decay = torch.where(terminations | truncations, zero, zero + gamma * gae_lambda)
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[0])
    for step in range(rewards.shape[0] - 1, -1, -1):
        following = torch.where(valid[step], deltas[step] + decay[step] * following, following)
        advantages[step] = torch.where(valid[step], following, zero)
    return Advantages(advantages, torch.where(valid, advantages + values, zero))
