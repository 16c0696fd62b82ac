"""Drawing tokens, beside transformers' own processors and by hand."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from strategy_rl_envs.decoding_control.drawing import (
    Controls,
    draw,
    nucleus,
    penalised,
    pick,
    raised,
    surprisals,
)
from strategy_rl_envs.decoding_control.knobs import Setting

VOCABULARY = 2000  # more than are sorted at first


def logits(rows: int, seed: int = 0, spread: float = 3.0) -> torch.Tensor:
    return spread * torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed))


def prompts(rows: int, length: int = 30) -> torch.Tensor:
    return torch.randint(VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("penalty", [0.8, 1.0, 1.3])
def test_the_repetition_penalty_is_that_of_transformers(penalty):
    scores, ids = logits(4), prompts(4)
    found = penalised(scores, ids, torch.full((4,), penalty))
    expected = RepetitionPenaltyLogitsProcessor(penalty)(ids, scores)
    torch.testing.assert_close(found, expected)


def test_each_row_has_its_own_penalty_by_hand():
    scores = torch.tensor([[2.0, -2.0, 1.0], [2.0, -2.0, 1.0]])
    found = penalised(scores, torch.tensor([[0, 1, 1], [0, 1, 1]]), torch.tensor([1.0, 2.0]))
    assert found.tolist() == [[2.0, -2.0, 1.0], [1.0, -4.0, 1.0]]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("spread", [0.1, 3.0])  # at 0.1 the kept tokens are most of them
def test_temperature_and_top_p_are_those_of_transformers(temperature, top_p, spread):
    scores = logits(5, spread=spread)
    found = nucleus(scores / temperature, torch.full((5,), top_p, dtype=torch.float64)).softmax(-1)
    warmed = TemperatureLogitsWarper(temperature)(None, scores)
    expected = (warmed if top_p == 1 else TopPLogitsWarper(top_p)(None, warmed)).softmax(-1)
    off = (found - expected).abs().sum(-1)
    assert float(off.max()) < 2e-3  # the last token kept may go either way by rounding
    assert float(off.median()) < 1e-5


def test_the_fewest_tokens_that_hold_top_p_are_kept_by_hand():
    scores = torch.tensor([[0.1, 0.4, 0.2, 0.3]]).log().repeat(4, 1)
    kept = nucleus(scores, torch.tensor([0.35, 0.5, 0.85, 1.0], dtype=torch.float64)).isfinite()
    assert kept.tolist() == [
        [False, True, False, False],
        [False, True, False, True],
        [False, True, True, True],
        [True, True, True, True],
    ]


def test_a_token_is_drawn_by_the_inverse_of_the_distribution_by_hand():
    scores = torch.tensor([0.2, 0.5, 0.0, 0.3]).log().repeat(6, 1)
    uniforms = torch.tensor([0.0, 0.19, 0.21, 0.69, 0.71, 0.9999999], dtype=torch.float64)
    assert pick(scores, uniforms).tolist() == [0, 0, 1, 1, 3, 3]


def test_what_is_cut_is_never_drawn_and_the_rest_shares_its_probability():
    setting = Setting(temperature=1.0, top_p=0.6)
    scores = torch.tensor([0.1, 0.4, 0.2, 0.3]).log().repeat(4, 1)  # kept: 0.4 and 0.3 of 0.7
    uniforms = torch.tensor([0.0, 0.56, 0.58, 0.999], dtype=torch.float64)
    ids = torch.zeros(4, 1, dtype=torch.int64)
    assert draw(scores, ids, Controls.of([setting] * 4), uniforms, [()] * 4, ()).tolist() == [
        1,
        1,
        3,
        3,
    ]


def test_temperature_zero_takes_the_most_probable_token_after_the_penalty():
    scores = torch.tensor([[3.0, 2.9, 0.0], [3.0, 2.9, 0.0]])
    ids = torch.zeros(2, 1, dtype=torch.int64)
    controls = Controls.of([Setting(), Setting(repetition_penalty=1.1)])
    assert draw(scores, ids, controls, torch.full((2,), 0.999), [()] * 2, ()).tolist() == [0, 1]


def test_the_shares_of_drawn_tokens_are_the_probabilities():
    scores = torch.tensor([[1.0, 0.0, -1.0, 2.0]])
    count = 20_000
    uniforms = torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tokens = draw(
        scores.repeat(count, 1),
        torch.zeros(count, 1, dtype=torch.int64),
        Controls.of([Setting(temperature=0.5)] * count),
        uniforms,
        [()] * count,
        (),
    )
    shares = torch.bincount(tokens, minlength=4) / count
    torch.testing.assert_close(shares, (scores[0] / 0.5).softmax(-1), atol=0.01, rtol=0)


def test_a_row_does_not_depend_on_its_neighbours():
    settings = [
        Setting(),
        Setting(temperature=0.7),
        Setting(temperature=1.5, top_p=0.95),
        Setting(temperature=1.0, top_p=0.3, repetition_penalty=1.4),
        Setting(repetition_penalty=1.2),
        Setting(temperature=3.0, top_p=0.999),
        Setting(temperature=0.7, keyword_bonus=6.0, end_bonus=-4.0),
    ]
    scores, ids = logits(7, spread=1.0), prompts(7)
    wanted, ends = [[row, 40 + row] for row in range(7)], [3, 5]
    uniforms = torch.rand(7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    together = draw(scores, ids, Controls.of(settings), uniforms, wanted, ends).tolist()
    for row in range(7):
        one = slice(row, row + 1)
        alone = draw(
            scores[one], ids[one], Controls.of(settings[one]), uniforms[one], wanted[one], ends
        )
        assert alone.tolist() == [together[row]]


def test_bonuses_are_added_to_their_tokens_alone_by_hand():
    scores = torch.zeros(3, 4)
    found = raised(scores, [[0, 2], [], [1]], torch.tensor([1.5, 9.0, 0.0]))
    assert found.tolist() == [[1.5, 0.0, 1.5, 0.0], [0.0] * 4, [0.0] * 4]
    assert scores.abs().sum() == 0  # the model's own scores are observed later


def test_a_keyword_and_the_end_are_written_where_their_bonus_says_so():
    settings = [Setting(), Setting(keyword_bonus=2.0), Setting(end_bonus=-2.0)]
    scores = torch.tensor([[0.0, 0.1, 1.0, 1.5]]).repeat(3, 1)  # 3 ends the text
    ids, uniforms = torch.zeros(3, 1, dtype=torch.int64), torch.full((3,), 0.5)
    drawn = draw(scores, ids, Controls.of(settings), uniforms, [[1]] * 3, [3])
    assert drawn.tolist() == [3, 1, 2]


def test_surprisal_is_minus_the_log_probability():
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]).log() + 3.0
    found = surprisals(logits, torch.tensor([1, 2]))
    torch.testing.assert_close(found, -torch.tensor([0.25, 0.8]).log())
