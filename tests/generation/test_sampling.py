"""How tokens are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategy_rl.generation.sampling import Sampling, draw, kept_tokens, pack, unpack

LOGITS = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(top_k=2), [True, True, False, False]),
        (Sampling(top_p=0.5), [True, False, False, False]),
        (Sampling(top_p=0.79), [True, True, False, False]),
        (Sampling(top_p=0.81), [True, True, True, False]),
        (Sampling(top_p=1e-9), [True, False, False, False]),
        # Of the three kept by top_k, 0.5/0.95 is 0.53: the second is needed for 0.6, no third.
        (Sampling(top_k=3, top_p=0.6), [True, True, False, False]),
    ],
)
def test_the_kept_tokens_are_those_worked_out_by_hand(sampling: Sampling, kept: list[bool]) -> None:
    found = kept_tokens(LOGITS, sampling)
    assert found is not None
    assert found.tolist() == [kept]


def test_nothing_is_cut_where_nothing_is_asked_for() -> None:
    assert kept_tokens(LOGITS, Sampling()) is None
    assert kept_tokens(LOGITS, Sampling(top_k=4)) is None


@pytest.mark.parametrize(
    ("uniform", "token"), [(0.0, 0), (0.49, 0), (0.51, 1), (0.81, 2), (0.96, 3), (1 - 2**-53, 3)]
)
def test_a_draw_is_the_inverse_of_the_cumulative_distribution(uniform: float, token: int) -> None:
    assert draw(LOGITS, torch.tensor([uniform], dtype=torch.float64), None).tolist() == [token]


def test_what_is_not_kept_is_never_drawn_at_either_end() -> None:
    kept = torch.tensor([[False, True, True, False]])
    for uniform in (0.0, 0.3, 0.7, float(np.nextafter(1, 0))):
        token = draw(LOGITS, torch.tensor([uniform], dtype=torch.float64), kept)
        assert kept[0, token].item()


@given(st.integers(0, 10_000))
def test_an_impossible_token_is_never_drawn(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 40 * torch.randn(4, 50, generator=generator)  # most underflow to nothing
    uniforms = torch.rand(4, dtype=torch.float64, generator=generator)
    uniforms[0], uniforms[1] = 0.0, float(np.nextafter(1, 0))
    tokens = draw(logits, uniforms, None)
    probabilities = logits.double().softmax(-1)
    assert (probabilities[torch.arange(4), tokens] > 0).all()


def test_draws_from_a_large_vocabulary_have_the_right_frequencies() -> None:
    torch.manual_seed(0)
    logits = torch.zeros(1, 200_000)
    logits[0, 150_000] = float(np.log(200_000))  # half of everything
    uniforms = torch.from_numpy(np.random.default_rng(0).random(2000))
    tokens = torch.cat([draw(logits, u[None], None) for u in uniforms])
    assert (tokens == 150_000).float().mean() == pytest.approx(0.5, abs=0.04)
    others = tokens[tokens != 150_000].double()
    assert float(others.mean()) == pytest.approx(100_000, rel=0.05)


def test_a_row_is_drawn_alike_whatever_its_neighbours_are() -> None:
    torch.manual_seed(0)
    logits, uniforms = torch.randn(9, 300), torch.rand(9, dtype=torch.float64)
    together = draw(logits, uniforms, None)
    alone = [draw(logits[i : i + 1], uniforms[i : i + 1], None) for i in range(9)]
    assert together.equal(torch.cat(alone))


@given(st.integers(1, 40), st.integers(0, 1000))
def test_bits_come_back_as_they_were_packed(vocabulary: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    kept = torch.rand(3, vocabulary, generator=generator) < 0.5
    packed = pack(kept)
    assert packed.shape == (3, -(-vocabulary // 8))
    assert unpack(packed, vocabulary).equal(kept)
