"""What a step costs. Knows no task: tokens and seconds are facts that a task measures.

Every cost is a reward of 0 or less; the weight of the experiment file stays positive.
"""

from __future__ import annotations

import math

from strategy_rl_envs.rewards.function import reward
from strategy_rl_envs.rewards.tokens import frozen_tokens


@reward
def step_cost(*, price: float = 1.0) -> float:
    """Minus the price of a step, whatever it did: shorter episodes earn more.

    Range: always -price. Cost: under 1 us. Source: the living cost of stochastic shortest paths.
    """
    return -price


@reward
def token_cost(output: str, num_tokens: int | None = None, *, price: float = 0.001) -> float:
    """Minus the price of the output's tokens: `num_tokens` where the task counts them.

    Range: 0 and less, -price for each token. Cost: about 7 us. Source: none needed.
    """
    count = len(frozen_tokens(output)) if num_tokens is None else num_tokens
    return -price * max(0, count)


@reward
def latency_cost(seconds: float | None, *, price: float = 1.0, free: float = 0.0) -> float | None:
    """Minus the price of each second beyond the free ones; abstains where none was measured.

    Range: 0 and less. Cost: under 1 us. Source: none needed.
    """
    if seconds is None or not math.isfinite(seconds):
        return None
    return -price * max(0.0, seconds - free)
