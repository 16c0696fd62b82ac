import math

import pytest

from strategy_rl_envs.rewards.cost import latency_cost, step_cost, token_cost


def test_costs_by_hand() -> None:
    assert step_cost(price=0.5) == -0.5
    assert token_cost("three words here", price=0.1) == pytest.approx(-0.3)
    assert token_cost("三个字", price=0.1) == pytest.approx(-0.3)
    assert token_cost("three words here", 10, price=0.1) == pytest.approx(-1)
    assert latency_cost(3.0, price=2.0, free=1.0) == pytest.approx(-4)
    assert latency_cost(0.5, free=1.0) == 0


@pytest.mark.parametrize("seconds", [None, math.nan, math.inf])
def test_a_time_that_was_not_measured_has_no_cost(seconds: float | None) -> None:
    assert latency_cost(seconds) is None
