"""Observations: coordinates of true hidden states, and the rest by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_models import byte_tokenizer, tiny_llama

from strategy_rl_envs.decoding_control.knobs import Menu
from strategy_rl_envs.decoding_control.observing import Head, Observer, directions, head_of
from strategy_rl_envs.decoding_control.reading import TokenFacts
from strategy_rl_envs.decoding_control.surface import SURFACE, Text, surface

END = 2


class Words:
    """Tokens 10 and 11 begin words, token 11 ends sentences."""

    def ends_sentence(self, token: int) -> bool:
        return token == 11

    def begins_word(self, token: int) -> bool:
        return token in (10, 11)


def observer_of(head: Head, menu: Menu | None = None) -> Observer:
    return Observer(head, Words(), menu or Menu.of(), 10, [END])


def small_head(vocabulary: int = 12, hidden: int = 5, **options) -> Head:
    weight = torch.randn(vocabulary, hidden, generator=torch.Generator().manual_seed(3))
    return Head(weight, **options)


@pytest.fixture(scope="module")
def network():
    return tiny_llama()


def test_coordinates_from_logits_are_those_of_the_hidden_state(network):
    ids = torch.randint(3, 259, (4, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = network(input_ids=ids, output_hidden_states=True)
    states, logits = out.hidden_states[-1][:, -1], out.logits[:, -1]
    head = head_of(network)
    _, _, vectors = torch.linalg.svd(head.weight.double(), full_matrices=False)
    signs = vectors.gather(1, vectors.abs().argmax(1, keepdim=True)).sign()
    expected = states.double() @ (vectors * signs).T / head.size
    found = observer_of(head).observe(logits, logits, torch.zeros(4, 0), [Text((), [])] * 4)
    count = len(vectors)
    assert count == 32
    bound = 1e-3 * expected.abs().amax(0)
    assert (torch.from_numpy(found[:, :count]) - expected).abs().amax(0).le(bound).all()


def test_states_of_the_model_have_entries_of_about_unit_size_after_scaling(network):
    ids = torch.randint(3, 259, (8, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = network(input_ids=ids).logits[:, -1]
    size = (logits @ directions(head_of(network), 48)).square().mean().sqrt()
    assert 0.5 < float(size) < 2.0


def test_a_bias_of_the_head_is_taken_off_first():
    plain = small_head()
    bias = torch.linspace(-2, 2, 12)
    biased = Head(plain.weight, bias)
    state = torch.randn(3, 5, generator=torch.Generator().manual_seed(4))
    logits = state @ plain.weight.T
    torch.testing.assert_close(
        observer_of(biased).starts(logits + bias), observer_of(plain).starts(logits)
    )


def test_the_sign_of_a_direction_does_not_depend_on_that_of_its_vector():
    """A head along one axis: the coordinate of the state 3 is 3, whatever eigh says."""
    for sign in (1.0, -1.0):
        head = Head(sign * torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
        logits = torch.tensor([[3.0, -4.0]]) @ head.weight.T
        torch.testing.assert_close(observer_of(head).starts(logits), torch.tensor([[3.0, -4.0]]))


def test_directions_beyond_the_rank_are_left_out():
    weight = small_head().weight
    weight[:, 4] = weight[:, 3]
    assert directions(Head(weight), 48).shape == (12, 4)


def test_certainty_by_hand():
    """Probabilities 1/2, 1/4, 1/4 (the end token): entropy 1.5 bits."""
    head = Head(torch.eye(3))
    observer = Observer(head, Words(), Menu.of(), 10, [END])
    now = torch.tensor([[0.5, 0.25, 0.25]]).log()
    before = torch.tensor([[1.0, 0.0, 0.0]]).log()
    obs = observer.observe(now, before, observer.starts(now), [Text((), [])])[0]
    named = dict(zip(observer.feature_names, obs.tolist(), strict=True))
    assert named["entropy"] == pytest.approx(1.5 * math.log(2) / 5)
    assert (named["top_1"], named["margin"], named["end"]) == pytest.approx((0.5, 0.25, 0.25))
    assert named["entropy_before"] == pytest.approx(0.0)
    assert (named["top_1_before"], named["margin_before"], named["end_before"]) == (1.0, 1.0, 0.0)


def test_what_is_seen_of_a_text_by_hand():
    """Of 5 5 6 11 5 the second and third 5 are repeated; 6 and 11 stand in the prompt."""
    text = Text(frozenset({6, 11, 7}), [5, 5, 6, 11, 5])
    named = dict(zip(SURFACE, surface(text, 7, Words(), 10), strict=True))
    assert named == {
        "recent_repeated": 2 / 5,
        "distinct": 3 / 5,
        "copied": 2 / 5,
        "next_in_text": 0.0,
        "next_in_prompt": 1.0,
        "next_begins_word": 0.0,
        "last_ends_sentence": 0.0,
        "last_begins_word": 0.0,
        "written": 0.5,
        "left": 0.5,
    }


def test_only_the_last_eight_tokens_are_looked_at_for_repetition():
    """Twelve tokens of which the last two stood before: 2 of 8."""
    text = Text((), [*range(20, 30), 20, 29])
    assert surface(text, 20, Words(), 24)[0] == 2 / 8
    assert surface(text, 20, Words(), 24)[3] == 1.0  # the next one was used
    assert surface(Text((), [7] * 9), 7, Words(), 9)[0] == 1.0


def test_ends_of_sentences_and_beginnings_of_words_are_those_of_the_last_token():
    ended = dict(zip(SURFACE, surface(Text((), [5, 11]), 10, Words(), 4), strict=True))
    assert (ended["last_ends_sentence"], ended["last_begins_word"]) == (1.0, 1.0)
    assert ended["next_begins_word"] == 1.0


def test_an_empty_text_has_no_shares():
    assert surface(Text({1}, []), 3, Words(), 10) == [0, 1, 0, 0, 0, 0, 0, 0, 0, 1]


def test_the_last_action_stands_one_hot_by_factor_behind_everything_else():
    menu = Menu.of(knobs={"temperature": [0, 0.5, 1], "stop": True})
    head = small_head()
    observer = observer_of(head, menu)
    logits = torch.randn(3, 12, generator=torch.Generator().manual_seed(5))
    texts = [Text((), []), Text((), [5], (2, 0)), Text((), [5], (0, 1))]
    obs = observer.observe(logits, logits, observer.starts(logits), texts)
    assert observer.feature_names[-5:] == (
        *(f"last_temperature_{i}" for i in range(3)),
        *("last_stop_0", "last_stop_1"),
    )
    assert obs[:, -5:].tolist() == [[0, 0, 0, 0, 0], [0, 0, 1, 1, 0], [1, 0, 0, 0, 1]]


def test_every_entry_has_a_name_of_its_own_and_rows_do_not_mix():
    observer = observer_of(small_head())
    logits = torch.randn(4, 12, generator=torch.Generator().manual_seed(6))
    previous, starts = logits.flip(0), observer.starts(logits) + 1
    texts = [Text({5}, [5] * row) for row in range(4)]
    obs = observer.observe(logits, previous, starts, texts)
    assert obs.shape == (4, observer.size)
    assert obs.dtype == np.float32
    assert len(set(observer.feature_names)) == observer.size
    for row in range(4):
        one = slice(row, row + 1)
        alone = observer.observe(logits[one], previous[one], starts[one], texts[one])
        np.testing.assert_allclose(alone[0], obs[row], rtol=1e-5, atol=1e-6)


def test_the_state_at_the_prompts_end_is_kept_as_it_is_told():
    observer = observer_of(small_head())
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(7))
    starts = torch.arange(5.0)[None]
    obs = observer.observe(logits, logits, starts, [Text((), [])])[0]
    where = observer.feature_names.index("start_0")
    assert obs[where : where + 5].tolist() == [0, 1, 2, 3, 4]


def test_facts_of_tokens_are_read_off_their_texts():
    tokenizer = byte_tokenizer()
    facts = TokenFacts(tokenizer)
    ids = {text: tokenizer(text)["input_ids"][0] for text in (" ", ".", "!", "a", "\n", '"')}
    assert [facts.ends_sentence(ids[t]) for t in (".", "!", "a", " ", '"')] == [1, 1, 0, 0, 0]
    assert [facts.begins_word(ids[t]) for t in (" ", "\n", "a", ".")] == [1, 1, 0, 0]
    assert not facts.begins_word(END)
