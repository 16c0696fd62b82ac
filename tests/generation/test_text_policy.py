"""A policy that writes: what it says of tokens, what bends what, and what comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from strategy_rl.errors import ModelError
from strategy_rl.generation import Response, TextPolicy
from strategy_rl.generation import policy as policies
from strategy_rl.generation.sampling import Sampling
from tests.generation.networks import bart, t5
from tests.generation.writers import END, gpt2, text_policy

LETTERS = "abcdefgh"


def responses_of(policy: TextPolicy, count: int = 9) -> list[Response]:
    prompts = policy.encode([LETTERS[: 1 + i % 5] for i in range(count)])
    rng = np.random.default_rng(0)
    return policy.generate(prompts, rng.random((count, policy.spec.max_new_tokens)))


def lively(policy: TextPolicy) -> TextPolicy:
    """Weights moved: a fresh value head says 0 of everything."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=draw)
    return policy


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.8, top_k=4, top_p=0.9)])
def test_reading_in_chunks_gives_every_token_in_order(
    sampling: Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = lively(text_policy(sampling=sampling))
    responses = responses_of(policy)
    apart = [policy.read([response]) for response in responses]

    for most in (1, 20, 4096):
        monkeypatch.setattr(policies, "READ_TOKENS", most)
        spoken = policy.evaluate(responses)
        for part, name in zip(zip(*apart, strict=True), spoken._fields, strict=True):
            assert torch.allclose(getattr(spoken, name), torch.cat(part), atol=1e-5)
    assert not spoken.logprobs.requires_grad


def test_the_critic_does_not_bend_the_writer() -> None:
    policy = lively(text_policy())

    policy.read(responses_of(policy)).values.sum().backward()

    assert all(p.grad is None for p in policy.backbone_parameters())
    assert all(p.grad is not None for p in policy.network.parameters())


def test_critic_only_gives_the_same_values_and_the_writer_no_gradient() -> None:
    policy = lively(text_policy())
    responses = responses_of(policy)

    output = policy.read(responses, critic_only=True)

    assert not output.logprobs.requires_grad
    assert output.values.requires_grad
    assert torch.equal(output.values, policy.read(responses).values)


def test_entropy_is_that_of_each_distribution_and_has_a_gradient_on_demand() -> None:
    policy = lively(text_policy())
    responses = responses_of(policy)
    logs = torch.cat([policy.model.scores(r) for r in responses]).log_softmax(-1)

    plain, bent = policy.read(responses), policy.read(responses, entropy_gradient=True)

    assert torch.allclose(plain.entropy, -(logs.exp() * logs).sum(-1), atol=1e-4)
    assert torch.allclose(bent.entropy, plain.entropy, atol=1e-5)
    assert not plain.entropy.requires_grad
    bent.entropy.sum().backward()
    assert any(p.grad is not None for p in policy.backbone_parameters())


def test_imitation_is_of_the_whole_distribution_at_temperature_1() -> None:
    policy = lively(text_policy(sampling=Sampling(temperature=0.5, top_k=2)))
    response = policy.response_of(policy.encode(["ab"])[0], "cab")
    logs = policy.model.scores(response).log_softmax(-1)

    spoken = policy.imitation_logprobs([response])

    assert list(response.response) == [4, 2, 3, END]
    assert torch.allclose(spoken, logs[range(4), list(response.response)], atol=1e-4)


def test_a_foreign_response_that_is_too_long_is_cut_and_has_no_end() -> None:
    policy = text_policy(max_new_tokens=3)

    whole, cut = (policy.response_of([2], text) for text in ("ab", "abc"))

    assert (list(whole.response), whole.ended) == ([2, 3, END], True)
    assert (list(cut.response), cut.ended) == ([2, 3, 4], False)


def test_lent_weights_write_and_read_and_the_own_come_back() -> None:
    policy = lively(text_policy())
    own = policy.backbone_state()
    responses = responses_of(policy)
    before = policy.evaluate(responses).logprobs
    halved = {name: tensor * 0.5 for name, tensor in own.items()}
    parameters = list(policy.backbone_parameters())

    with policy.lent_to(halved):
        lent = policy.evaluate(responses).logprobs
        assert [list(r.response) for r in responses_of(policy)] != [
            list(r.response) for r in responses
        ]
    assert not torch.allclose(lent, before, atol=1e-2)
    assert torch.equal(policy.evaluate(responses).logprobs, before)

    with pytest.raises(ZeroDivisionError), policy.lent_to(halved):
        raise ZeroDivisionError
    assert torch.equal(policy.evaluate(responses).logprobs, before)
    assert all(a is b for a, b in zip(policy.backbone_parameters(), parameters, strict=True))
    assert all(torch.equal(tensor, own[name]) for name, tensor in policy.backbone_state().items())


@pytest.mark.parametrize("train", ["full", "last_n", "lora"])
def test_the_state_brings_everything_back(train: str) -> None:
    policy = lively(text_policy(train=train))
    state = policy.state()
    responses = responses_of(policy)
    before = policy.evaluate(responses)

    lively(policy)
    assert not torch.equal(policy.evaluate(responses).logprobs, before.logprobs)
    policy.load_state(state)

    after = policy.evaluate(responses)
    assert torch.equal(after.logprobs, before.logprobs)
    assert torch.equal(after.values, before.values)
    names = {n.removeprefix("backbone.") for n in state if n.startswith("backbone.")}
    assert names == set(policy.model.trainable())


def test_a_state_of_another_shape_is_refused() -> None:
    state = text_policy(train="last_n").state()

    with pytest.raises(ModelError, match="do not fit"):
        text_policy(train="full").load_state(state)


def test_a_state_is_a_copy_but_for_the_twins_that_it_equals() -> None:
    policy = text_policy(train="last_n")
    first = policy.state()
    name = next(n for n in first if n.startswith("backbone."))

    shared = policy.state(first)
    assert all(shared[n] is tensor for n, tensor in first.items())

    lively(policy)
    assert policy.state(first)[name] is not first[name]
    assert not torch.equal(policy.state()[name], first[name])


@pytest.mark.parametrize("network", [None, gpt2(10), t5(10), bart(10)])
def test_act_tells_text_probability_and_value(network: object) -> None:
    policy = lively(text_policy(network=network))

    decision = policy.act("abc", rng=np.random.default_rng(1))

    again = policy.act("abc", rng=np.random.default_rng(1))
    assert decision == again
    assert set(decision.action) <= set(LETTERS)
    assert 1 <= decision.num_tokens <= 5
    assert 0 < decision.probability < 1
    assert decision.value != 0
    greedy = policy.act("abc", greedy=True)
    best = policy.generate(policy.encode(["abc"]), None)[0]
    assert greedy.action == policy.text_of(best)
    assert greedy.value == pytest.approx(float(policy.evaluate([best]).values[0]), abs=1e-4)


def test_first_values_are_those_before_the_first_token() -> None:
    policy = lively(text_policy())
    responses = responses_of(policy)
    starts = np.cumsum([0, *(len(r.response) for r in responses)])[:-1]

    values = policy.first_values([response.prompt for response in responses])

    assert torch.allclose(values, policy.evaluate(responses).values[starts], atol=1e-4)


@pytest.mark.parametrize("train", ["full", "last_n"])
def test_texts_by_others_get_the_trunk_of_frozen_blocks(train: str) -> None:
    policy = lively(text_policy(train=train))
    given = [policy.response_of(prompt, "cab") for prompt in policy.encode(["a", "bad"])]

    kept = policy.with_trunk(given)

    assert [r.trunk is not None for r in kept] == [train == "last_n"] * 2
    assert torch.allclose(
        policy.evaluate(kept).logprobs, policy.evaluate(given).logprobs, atol=1e-4
    )
