"""Responses depend on their prompt, their uniforms and the weights, and on nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
import torch

from strategy_rl.backbone import LanguageModel
from strategy_rl.generation import LocalEngine, Response
from strategy_rl.generation.sampling import Sampling
from tests.generation.networks import NETWORKS, SIZE, network_of, writer
from tests.generation.writers import END, text_policy

PROMPTS = [[2, 3, 4, 5, 6, 7], [5, 6], [9, 9, 4], [11], [3, 3, 3, 3], [2, 8], [12, 13, 14]]
CUTS = [
    Sampling(),
    Sampling(temperature=0.7),
    Sampling(top_k=3),
    Sampling(top_p=0.6),
    Sampling(temperature=1.5, top_k=6, top_p=0.8),
]
KINDS = list(NETWORKS)


def uniforms(rows: int, tokens: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((rows, tokens))


def engine(
    model: LanguageModel, sampling: Sampling | None = None, rows: int = 64, tokens: int = 6
) -> LocalEngine:
    return LocalEngine(model, sampling or Sampling(), tokens, rows)


def tokens_of(responses: Sequence[Response]) -> list[list[int]]:
    return [list(response.response) for response in responses]


@pytest.mark.parametrize("rows", [1, 3, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_responses_do_not_depend_on_the_size_of_the_batch(kind: str, rows: int) -> None:
    model, drawn = writer(network_of(kind)), uniforms(len(PROMPTS))
    usual = engine(model).generate(PROMPTS, drawn)

    ours = engine(model, rows=rows).generate(PROMPTS, drawn)

    assert tokens_of(ours) == tokens_of(usual)
    assert len({len(r.response) for r in ours}) > 1  # some leave the batch before others
    for one, other in zip(ours, usual, strict=True):
        assert torch.allclose(one.logprobs, other.logprobs, atol=1e-4)
        assert one.states is not None
        assert other.states is not None
        assert torch.allclose(one.states, other.states, atol=1e-4)


def test_responses_do_not_depend_on_their_neighbours() -> None:
    model, drawn = writer(network_of("llama")), uniforms(len(PROMPTS))
    together = tokens_of(engine(model).generate(PROMPTS, drawn))

    order = [3, 0, 6, 2, 5, 1, 4]
    shuffled = engine(model).generate([PROMPTS[i] for i in order], drawn[order])

    assert tokens_of(shuffled) == [together[i] for i in order]


def test_the_same_uniforms_give_the_same_text_and_others_another() -> None:
    model = writer(network_of("llama"))
    once, again, other = (
        tokens_of(engine(model).generate(PROMPTS, uniforms(len(PROMPTS), seed=seed)))
        for seed in (0, 0, 1)
    )

    assert once == again
    assert once != other


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_takes_the_best_of_the_networks_own_scores(kind: str) -> None:
    model = writer(network_of(kind))

    for response in engine(model).generate(PROMPTS, None):
        assert list(response.response) == model.scores(response).argmax(-1).tolist()


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_a_response_ends_with_the_end_token_or_at_the_limit(kind: str) -> None:
    responses = engine(writer(network_of(kind))).generate(PROMPTS * 4, uniforms(28))

    for response in responses:
        assert END not in list(response.response)[:-1]
        assert response.ended == (response.response[-1] == END)
        assert response.ended or len(response.response) == 6
        assert len(response.response) == len(response.logprobs)
    assert {response.ended for response in responses} == {True, False}


def test_an_end_token_at_the_limit_is_an_end() -> None:
    model = writer(network_of("llama"))
    longest = engine(model, tokens=20).generate(PROMPTS * 4, uniforms(28, 20))
    ended = next(i for i, r in enumerate(longest) if r.ended and len(r.response) > 2)
    length = len(longest[ended].response)

    cut = engine(model, tokens=length).generate(PROMPTS * 4, uniforms(28, 20))

    assert cut[ended].ended
    assert tokens_of(cut)[ended] == tokens_of(longest)[ended]
    assert all(len(r.response) == length for r in cut if not r.ended)


def test_any_of_several_end_tokens_ends_a_response() -> None:
    model = writer(network_of("llama"))
    model.end_ids = (END, 7, 8, 9)

    responses = engine(model).generate(PROMPTS * 4, uniforms(28))

    assert {r.response[-1] for r in responses if r.ended} >= {7, 8, 9}
    assert all(not {7, 8, 9} & set(list(r.response)[:-1]) for r in responses)


@pytest.mark.parametrize("sampling", CUTS)
@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5", "bart"])
def test_logprobs_are_those_of_the_distribution_that_was_drawn_from(
    kind: str, sampling: Sampling
) -> None:
    model = writer(network_of(kind))

    for response in engine(model, sampling).generate(PROMPTS, uniforms(len(PROMPTS))):
        for place, scores in enumerate(model.scores(response).tolist()):
            token = response.response[place]
            probability = by_hand(scores, sampling)[token]
            assert float(response.logprobs[place].exp()) == pytest.approx(probability, abs=1e-4)


def by_hand(scores: list[float], sampling: Sampling) -> dict[int, float]:
    """The distribution over tokens that are left, without a tensor."""
    weights = {i: np.exp(score / sampling.temperature) for i, score in enumerate(scores)}
    best = sorted(weights, key=lambda i: -weights[i])
    if sampling.top_k:
        best = best[: sampling.top_k]
    total, kept, held = sum(weights[i] for i in best), [], 0.0
    for token in best:
        if kept and held >= sampling.top_p * total:
            break
        kept.append(token)
        held += weights[token]
    return {i: weights[i] / held for i in kept}


@pytest.mark.parametrize(
    ("train", "sampling"), [*product(["full"], CUTS), ("last_n", Sampling(top_p=0.6))]
)
def test_the_policy_reads_what_the_engine_wrote(train: str, sampling: Sampling) -> None:
    policy = text_policy(train=train, sampling=sampling, max_new_tokens=6, seed=4)
    with torch.no_grad():
        for parameter in policy.model.network.parameters():
            parameter *= 3  # scores that are far from alike
    prompts = policy.encode(["a", "abc", "hhhhh"] * 3)

    responses = policy.generate(prompts, uniforms(9))

    read = policy.evaluate(responses)
    written = torch.cat([response.logprobs for response in responses])
    assert torch.allclose(read.logprobs, written, atol=1e-4)
    assert all(response.exact for response in responses)
    assert torch.allclose(policy.values_of(responses), read.values, atol=1e-4)


def test_draws_follow_the_probabilities() -> None:
    model, count = writer(network_of("llama")), 4000
    drawn = engine(model, tokens=1, rows=count).generate([[5, 6]] * count, uniforms(count, 1))
    seen = torch.bincount(torch.tensor([r.response[0] for r in drawn]), minlength=SIZE) / count

    scores = model.scores(Response([5, 6], [2]))
    expected = scores[0].softmax(-1)

    assert (seen - expected).abs().max() < 4 * (0.25 / count) ** 0.5


def test_a_frozen_encoder_is_kept_and_one_that_learns_is_not() -> None:
    from strategy_rl.backbone import BackboneSettings

    frozen = writer(network_of("bart"), BackboneSettings(train="last_n", last_n=1))
    for response in engine(frozen).generate(PROMPTS, None):
        assert response.encoded is not None
        assert response.encoded.shape == (len(response.prompt), 32)
        assert response.trunk is not None
        assert response.trunk.shape == (len(response.response), 32)
    learning = engine(writer(network_of("bart"))).generate(PROMPTS, None)
    assert all(response.encoded is None for response in learning)
