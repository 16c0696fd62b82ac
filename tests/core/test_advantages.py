"""Advantage estimation against numbers worked out by hand and against what must not matter."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_rl.advantages import compute_gae

quick = settings(max_examples=60, deadline=None)
REWARDS, VALUES = (1.0, 0.0, 2.0), (0.5, 0.4, 0.3)


def column(*numbers):
    return torch.tensor(numbers)[:, None]


def flags(length, *places):
    out = torch.zeros(length, 1, dtype=torch.bool)
    out[list(places)] = True
    return out


def three_steps(last_next_value, terminated, gamma=0.9, gae_lambda=0.8):
    end, never = flags(3, 2), flags(3)
    ends = (end, never) if terminated else (never, end)
    next_values = column(0.4, 0.3, last_next_value)
    return compute_gae(column(*REWARDS), column(*VALUES), next_values, *ends, gamma, gae_lambda)


def test_a_termination_stops_the_bootstrap_even_where_the_next_value_is_garbage():
    advantages, returns = three_steps(float("nan"), terminated=True)
    torch.testing.assert_close(advantages, column(1.64768, 1.094, 1.7))
    torch.testing.assert_close(returns, column(2.14768, 1.494, 2.0))


def test_a_truncation_bootstraps_from_the_value_of_the_final_observation():
    advantages, returns = three_steps(0.8, terminated=False)
    torch.testing.assert_close(advantages, column(2.020928, 1.6124, 2.42))
    torch.testing.assert_close(returns, column(2.520928, 2.0124, 2.72))


def test_without_discount_and_decay_the_returns_are_the_rewards_to_go():
    advantages, returns = three_steps(9.0, terminated=True, gamma=1.0, gae_lambda=1.0)
    torch.testing.assert_close(advantages, column(2.5, 1.6, 1.7))
    torch.testing.assert_close(returns, column(3.0, 2.0, 2.0))


def test_lambda_zero_gives_the_one_step_errors():
    advantages, _ = three_steps(9.0, terminated=True, gamma=0.9, gae_lambda=0.0)
    # 1 + 0.9 x 0.4 - 0.5; 0 + 0.9 x 0.3 - 0.4; 2 - 0.3
    torch.testing.assert_close(advantages, column(0.86, -0.13, 1.7))


def test_the_returns_are_taken_before_any_whitening():
    advantages, returns = three_steps(0.8, terminated=False)
    torch.testing.assert_close(returns - advantages, column(*VALUES))
    assert advantages.mean() > 1  # not whitened either


@st.composite
def episodes(draw, min_steps=1, max_steps=6):
    """One episode: rewards, values, next values, and whether its end is a termination."""
    length = draw(st.integers(min_steps, max_steps))
    number = st.floats(-5, 5, width=32)
    numbers = st.lists(number, min_size=length, max_size=length)
    rewards, values = torch.tensor(draw(numbers)), torch.tensor(draw(numbers))
    next_values = torch.cat([values[1:], torch.tensor([draw(number)])])
    return rewards, values, next_values, draw(st.booleans())


def end_flags(episode):
    end = torch.arange(len(episode[0])) == len(episode[0]) - 1
    return (end, end & False) if episode[3] else (end & False, end)


def alone(episode, gamma, gae_lambda):
    tensors = [x[:, None] for x in (*episode[:3], *end_flags(episode))]
    return compute_gae(*tensors, gamma, gae_lambda).advantages[:, 0]


rates = st.floats(0, 1, width=32)
garbage_numbers = st.sampled_from((float("nan"), float("inf"), -1e30))


@given(st.lists(episodes(), min_size=2, max_size=4), rates, rates)
@quick
def test_advantages_never_cross_from_one_episode_of_a_column_to_the_next(several, gamma, lam):
    tensors = [torch.cat([e[part] for e in several])[:, None] for part in range(3)]
    ends = [torch.cat(parts)[:, None] for parts in zip(*map(end_flags, several), strict=True)]
    together = compute_gae(*tensors, *ends, gamma, lam).advantages[:, 0]
    torch.testing.assert_close(together, torch.cat([alone(e, gamma, lam) for e in several]))


@given(st.lists(episodes(), min_size=1, max_size=4), rates, rates, garbage_numbers)
@quick
def test_padding_and_garbage_in_it_change_nothing(several, gamma, lam, garbage):
    longest = max(len(e[0]) for e in several) + 1
    numbers = torch.full((3, longest, len(several)), garbage)
    ends = torch.ones(2, longest, len(several), dtype=torch.bool)
    valid = torch.zeros(longest, len(several), dtype=torch.bool)
    for i, episode in enumerate(several):
        numbers[:, : len(episode[0]), i] = torch.stack(episode[:3])
        ends[:, : len(episode[0]), i] = torch.stack(end_flags(episode))
        valid[: len(episode[0]), i] = True
    advantages, returns = compute_gae(*numbers, *ends, gamma, lam, valid=valid)
    assert not advantages[~valid].any()
    assert not returns[~valid].any()
    for i, episode in enumerate(several):
        expected = alone(episode, gamma, lam)
        torch.testing.assert_close(advantages[: len(expected), i], expected)
        torch.testing.assert_close(returns[: len(expected), i], expected + episode[1])


@given(episodes(min_steps=2), st.data(), rates, rates)
@quick
def test_slots_that_are_not_valid_are_skipped_and_not_decayed_through(episode, data, gamma, lam):
    length = len(episode[0])
    places = data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=4))
    order = sorted([*range(length), *(place - 0.5 for place in places)])
    valid = torch.tensor([place in range(length) for place in order])[:, None]
    numbers = torch.full((3, len(order), 1), float("nan"))
    ends = torch.ones(2, len(order), 1, dtype=torch.bool)
    numbers[:, valid] = torch.stack(episode[:3])
    ends[:, valid] = torch.stack(end_flags(episode))
    spread = compute_gae(*numbers, *ends, gamma, lam, valid=valid).advantages
    torch.testing.assert_close(spread[valid], alone(episode, gamma, lam))
    assert not spread[~valid].any()


@given(episodes(min_steps=2), st.data(), rates, rates)
@quick
def test_a_rollout_cut_in_two_agrees_where_the_cut_knows_the_true_value(episode, data, gamma, lam):
    rewards, values, next_values, _ = episode
    whole = alone(episode, gamma, lam)
    cut = data.draw(st.integers(1, len(rewards) - 1))
    following = next_values[:cut].clone()
    following[-1] = values[cut] + lam * whole[cut]  # what the rest of the rollout says
    never = torch.zeros(cut, dtype=torch.bool)
    first = (rewards[:cut], values[:cut], following, never, never)
    part = compute_gae(*(x[:, None] for x in first), gamma, lam).advantages[:, 0]
    torch.testing.assert_close(part, whole[:cut], rtol=1e-4, atol=1e-4)


def test_columns_do_not_mix():
    rewards = torch.tensor([[1.0, 100.0], [0.0, 100.0], [2.0, 100.0]])
    values = torch.tensor([[0.5, 7.0], [0.4, 8.0], [0.3, 9.0]])
    following = torch.tensor([[0.4, 8.0], [0.3, 9.0], [0.8, 1.0]])
    truncations = torch.tensor([[False, False], [False, True], [True, False]])
    never = torch.zeros(3, 2, dtype=torch.bool)
    advantages, _ = compute_gae(rewards, values, following, never, truncations, 0.9, 0.8)
    torch.testing.assert_close(advantages[:, :1], column(2.020928, 1.6124, 2.42))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_number_format_stays(dtype):
    x, never = torch.ones(3, 1, dtype=dtype), flags(3)
    advantages, returns = compute_gae(x, x, x, never, never, 0.9, 0.8)
    assert (advantages.dtype, returns.dtype) == (dtype, dtype)
