import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategy_rl.errors import DivergenceError
from strategy_rl.generation.sampling import Sampling, draw, kept_tokens, pack, unpack

PROBS = torch.tensor([[0.1, 0.4, 0.3, 0.15, 0.05]])
LOGITS = PROBS.log()
HIGHEST = math.nextafter(1.0, 0.0)


def kept_ids(sampling: Sampling, logits: torch.Tensor = LOGITS) -> list[list[int]]:
    kept = kept_tokens(logits, sampling)
    assert kept is not None
    return [row.nonzero().squeeze(-1).tolist() for row in kept]


def uniforms(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_nothing_is_cut_by_default_nor_by_a_top_k_of_the_whole_vocabulary():
    assert kept_tokens(LOGITS, Sampling()) is None
    assert kept_tokens(LOGITS, Sampling(top_k=5)) is None
    assert kept_tokens(LOGITS, Sampling(top_k=9)) is None


def test_top_k_keeps_the_most_probable_tokens():
    assert kept_ids(Sampling(top_k=2)) == [[1, 2]]
    assert kept_ids(Sampling(top_k=1)) == [[1]]


@pytest.mark.parametrize(
    ("top_p", "ids"),
    [
        (0.01, [1]),
        (0.39, [1]),
        (0.41, [1, 2]),
        (0.69, [1, 2]),
        (0.71, [1, 2, 3]),
        (0.86, [0, 1, 2, 3]),
    ],
)
def test_top_p_keeps_the_fewest_tokens_that_hold_the_mass(top_p, ids):
    assert kept_ids(Sampling(top_p=top_p)) == [ids]


def test_top_p_cuts_what_top_k_left():
    # Of the three that are left, 0.4 / 0.85 = 0.47 and 0.3 / 0.85 = 0.35.
    assert kept_ids(Sampling(top_k=3, top_p=0.5)) == [[1, 2]]
    assert kept_ids(Sampling(top_k=3, top_p=0.45)) == [[1]]
    assert kept_ids(Sampling(top_p=0.45)) == [[1, 2]]


def test_of_equal_scores_the_lower_ids_are_kept():
    assert kept_ids(Sampling(top_k=3), torch.zeros(2, 6)) == [[0, 1, 2]] * 2
    assert kept_ids(Sampling(top_p=0.4), torch.zeros(1, 5)) == [[0, 1]]
    assert kept_ids(Sampling(top_k=2), torch.tensor([[0.0, 1.0, 0.0, 0.0]])) == [[0, 1]]


@pytest.mark.parametrize("sharpness", [0.01, 1.0, 8.0])
def test_few_tokens_of_a_large_vocabulary_are_found_as_by_sorting_it(sharpness):
    logits = torch.randn(3, 5000, generator=torch.Generator().manual_seed(0)) * sharpness
    kept = kept_tokens(logits, Sampling(top_p=0.9))
    for row, mask in zip(logits.double().softmax(-1), kept, strict=True):
        ordered = row.sort(descending=True).values
        fewest = int((ordered.cumsum(0) < 0.9).sum()) + 1
        assert int(mask.sum()) == fewest
        assert float(row[mask].min()) >= float(row[~mask].max())


def test_a_set_does_not_depend_on_the_rows_beside_it():
    logits = torch.randn(4, 3000, generator=torch.Generator().manual_seed(1))
    logits[1] *= 20  # few tokens hold its mass, thousands that of the others
    sampling = Sampling(top_p=0.95)
    alone = torch.cat([kept_tokens(logits[i : i + 1], sampling) for i in range(4)])
    assert kept_tokens(logits, sampling).equal(alone)


@pytest.mark.parametrize(
    ("uniform", "token"),
    [
        (0.0, 0),
        (0.099, 0),
        (0.101, 1),
        (0.499, 1),
        (0.501, 2),
        (0.949, 3),
        (0.951, 4),
        (HIGHEST, 4),
    ],
)
def test_a_draw_is_the_inverse_of_the_cumulative_distribution(uniform, token):
    assert draw(LOGITS, uniforms(uniform), None).tolist() == [token]


@pytest.mark.parametrize("uniform", [0.0, 0.5, HIGHEST])
def test_no_draw_is_a_token_without_probability_or_that_is_not_kept(uniform):
    logits = torch.tensor([[-math.inf, 1.0, -math.inf, -200.0, 0.0, 0.0, -math.inf]])
    assert int(draw(logits, uniforms(uniform), None)) in (1, 4, 5)
    kept = torch.tensor([[True, False, True, True, True, False, True]])
    assert int(draw(logits, uniforms(uniform), kept)) == 4


def test_the_best_token_need_not_be_among_the_kept():
    kept = torch.tensor([[False, True]])
    assert draw(torch.tensor([[500.0, 0.0]]), uniforms(0.3), kept).tolist() == [1]


def test_float32_uniforms_reach_the_last_token_and_no_further():
    highest = torch.tensor([1.0]).nextafter(torch.tensor([0.0]))
    assert draw(torch.zeros(1, 1000), highest, None).tolist() == [999]


@pytest.mark.parametrize("vocabulary", [49_152, 262_144])
def test_every_token_of_a_large_vocabulary_is_drawn_as_often_as_it_is_probable(vocabulary):
    # Equal scores: the middle of the i-th interval draws token i, which float32 sums would miss.
    ids = torch.tensor([0, 1, vocabulary // 3, vocabulary // 2 + 1, vocabulary - 2, vocabulary - 1])
    middles = (ids.double() + 0.5) / vocabulary
    assert draw(torch.zeros(len(ids), vocabulary), middles, None).equal(ids)


def test_the_rare_tokens_after_a_common_one_are_drawn_one_by_one():
    # Each has 1e-9, sixty times less than what float32 can tell apart just below 1.
    logits = torch.full((1, 1001), -9 * math.log(10))
    logits[0, 0] = 0.0
    grid = 1.0 - 1e-9 * (torch.arange(900, dtype=torch.float64) + 50)
    tokens = draw(logits.expand(900, -1), grid, None)
    assert tokens.diff().tolist() == [-1] * 899


def test_draws_have_the_frequencies_of_the_distribution():
    grid = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    counts = draw(LOGITS.expand(2000, -1), grid, None).bincount(minlength=5)
    assert counts.tolist() == pytest.approx((PROBS[0] * 2000).tolist(), abs=1)


def test_a_draw_does_not_depend_on_the_rows_beside_it():
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(8, 300, generator=generator) * 3
    numbers = torch.rand(8, generator=generator, dtype=torch.float64)
    alone = [int(draw(logits[i : i + 1], numbers[i : i + 1], None)) for i in range(8)]
    assert draw(logits, numbers, None).tolist() == alone


def test_scores_that_are_not_finite_are_refused_with_their_row():
    logits = torch.zeros(3, 4)
    logits[1, 2] = math.nan
    with pytest.raises(DivergenceError, match="row 1 of 3"):
        draw(logits, uniforms(0.1, 0.2, 0.3), None)


@given(
    st.integers(1, 40).flatmap(
        lambda n: st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=4)
    )
)
def test_packed_bits_are_the_bools_again(rows):
    kept = torch.tensor(rows)
    packed = pack(kept)
    assert packed.dtype is torch.uint8
    assert packed.shape == (len(rows), math.ceil(kept.shape[-1] / 8))
    assert unpack(packed, kept.shape[-1]).equal(kept)


def test_the_first_token_is_the_lowest_bit():
    kept = torch.tensor([[True, False, True, False, False, False, False, False, False, True]])
    assert pack(kept).tolist() == [[0b101, 0b10]]
