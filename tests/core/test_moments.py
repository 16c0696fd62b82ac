"""Running mean and spread of reward values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_rl.moments import figures, mean_and_std, merged

numbers = st.floats(-1e3, 1e3)


@given(st.lists(st.lists(numbers, min_size=1, max_size=9), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_rollout_by_rollout_gives_the_moments_of_all_values_together(rollouts):
    sums = {}
    for values in rollouts:
        sums = merged(sums, {"x": np.array(values)})
    together = np.concatenate([np.array(values) for values in rollouts])
    mean, std = mean_and_std(sums)["x"]
    assert sums["x"][0] == len(together)
    assert mean == pytest.approx(together.mean(), abs=1e-9)
    assert std == pytest.approx(together.std(), abs=1e-6)


def test_abstentions_are_not_zeros():
    values = {"x": np.array([1.0, np.nan, 3.0]), "y": np.array([np.nan])}
    assert mean_and_std(merged({}, values)) == {"x": (2.0, 1.0)}
    assert figures(values) == {
        "reward_value/x/abstained_share": pytest.approx(1 / 3),
        "reward_value/x/mean": 2.0,
        "reward_value/x/std": 1.0,
        "reward_value/x/floor_share": 0.5,
        "reward_value/x/ceiling_share": 0.5,
        "reward_value/y/abstained_share": 1.0,
    }


def test_what_was_known_before_is_left_as_it_was():
    sums = merged({}, {"x": np.array([1.0, 2.0])})
    before = {name: list(values) for name, values in sums.items()}
    merged(sums, {"x": np.array([9.0])})
    assert sums == before
