"""Updates on tokens: their gradients, what the reference takes off rewards, and when they stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from strategy_rl import token_updates
from strategy_rl.collector import collect_episodes
from strategy_rl.config import PPOConfig
from strategy_rl.env import EnvSlots
from strategy_rl.errors import DivergenceError
from strategy_rl.generation import Response, TextPolicy
from strategy_rl.losses import normalize
from strategy_rl.ppo import Task, ppo_state, train_ppo
from strategy_rl.rollout import EpisodePlan, Rollout
from strategy_rl.seeding import generator
from strategy_rl.token_rollout import TokenRollout
from strategy_rl.token_updates import (
    MAX_WEIGHT,
    TokenMethod,
    TokenReference,
    check_token_reference,
)
from strategy_rl.training import Silent, accumulate_gradients
from strategy_rl.updates import Coefficients
from tests.generation.networks import bart, stirred, t5
from tests.generation.writers import Writing, gpt2, text_policy

LETTERS = "abcdefgh"
PLAIN = Coefficients(clip_range=0.2, entropy_coef=0.0, kl_coef=0.0, warming_up=False)
CONFIG = PPOConfig(epochs=1, minibatch_size=8, normalize_advantages=False, vf_coef=0.5)


def policy_and_rollout(
    train: str = "full", network: Any = None, rows: int = 8
) -> tuple[TextPolicy, TokenRollout]:
    """What it wrote with values that are not all 0."""
    policy = text_policy(train=train, network=network or stirred(gpt2(10)))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in policy.network.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=draw)
    slots = EnvSlots(Writing, rows)
    plans = [EpisodePlan(i, i) for i in range(rows)]
    return policy, collect_episodes(policy, slots, plans, np.random.default_rng(0))


def moved(policy: TextPolicy, size: float = 0.05) -> TextPolicy:
    """The writer's weights moved a little."""
    draw = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in policy.backbone_parameters():
            parameter += size * torch.randn(parameter.shape, generator=draw)
    return policy


def gradient(
    policy: TextPolicy,
    rollout: TokenRollout,
    micro_tokens: int = 4096,
    coefficients: Coefficients = PLAIN,
) -> Tensor:
    """Of the loss of one optimizer step over the whole rollout."""
    method = TokenMethod(policy, None, len(rollout.responses), micro_tokens)
    advantages, returns = rollout.advantages(1.0, 0.95)
    work = token_updates._Work(
        policy, rollout, normalize(advantages), returns, CONFIG, coefficients
    )
    parameters = list(policy.parameters())
    accumulate_gradients(parameters, work.losses(method.minibatches(rollout)[0], []))
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    return torch.cat([grad.flatten() for grad in grads])


def update(
    policy: TextPolicy,
    rollout: TokenRollout,
    coefficients: Coefficients = PLAIN,
    rate: float = 1e-3,
    **changes: Any,
) -> dict[str, float]:
    """One round of updates."""
    config = CONFIG.model_copy(update={"learning_rate": rate, **changes})
    state = ppo_state(policy, config, rate)
    method = TokenMethod(policy, None, config.minibatch_size)
    given = rollout.advantages(1.0, 0.95)
    rng = np.random.default_rng(0)
    return method.update(rollout, *given, state.optimizer, config, coefficients, rng)


# Gradients.


@pytest.mark.parametrize("network", [lambda: stirred(gpt2(10)), lambda: stirred(bart(10))])
@pytest.mark.parametrize("train", ["full", "last_n"])
def test_how_a_step_is_cut_into_micro_batches_does_not_change_its_gradient(
    train: str, network: Callable[[], Any]
) -> None:
    policy, rollout = policy_and_rollout(train, network())
    assert len({len(r.response) for r in rollout.responses}) > 1
    moved(policy)  # so that ratios are not all 1
    mixed = replace(PLAIN, entropy_coef=0.01)
    whole = gradient(policy, rollout, coefficients=mixed)
    counts = []

    for most in (1, 20, 4096):
        method = TokenMethod(policy, None, 8, most)
        counts.append(len(method.minibatches(rollout)[0]))
        off = (gradient(policy, rollout, most, mixed) - whole).norm() / whole.norm()
        assert off < 1e-6
    assert counts[0] == 8
    assert 1 < counts[1] < 8
    assert counts[2] == 1
    assert whole.norm() > 1e-3


def test_every_token_counts_alike_whatever_the_length_of_its_response() -> None:
    policy, rollout = policy_and_rollout()
    advantages, returns = rollout.advantages(1.0, 0.95)
    read = policy.read(rollout.responses)
    ratio = (read.logprobs - rollout.logprobs).exp()
    loss = -(ratio * normalize(advantages)).sum() / len(rollout)
    loss = loss + 0.5 * 0.5 * (read.values - returns).square().sum() / len(rollout)
    loss.backward()
    by_hand = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])

    assert torch.allclose(gradient(policy, rollout), by_hand, atol=1e-6)


def test_what_stands_in_the_padding_changes_nothing() -> None:
    policy, rollout = policy_and_rollout()
    before = gradient(policy, rollout)
    read = policy.read(rollout.responses)

    policy.model._filler = 7  # a letter

    after = policy.read(rollout.responses)
    assert torch.allclose(after.logprobs, read.logprobs, atol=1e-6)
    assert torch.allclose(after.values, read.values, atol=1e-6)
    assert torch.allclose(gradient(policy, rollout), before, atol=1e-7)


def test_minibatches_hold_every_token_once_beside_its_own_response() -> None:
    policy, rollout = policy_and_rollout(rows=11)
    minibatches = TokenMethod(policy, None, 4, 20).minibatches(rollout)

    assert [sum(len(p.responses) for p in m) for m in minibatches] == [4, 4, 3]
    tokens = torch.cat([part.tokens for m in minibatches for part in m])
    assert sorted(tokens.tolist()) == list(range(len(rollout)))
    written = [t for r in rollout.responses for t in r.response]
    for part in (part for m in minibatches for part in m):
        own = [t for r in part.responses for t in r.response]
        assert [written[i] for i in part.tokens.tolist()] == own


# The reference.


def test_the_log_ratio_to_the_reference_is_taken_off_the_reward() -> None:
    policy, _ = policy_and_rollout()
    reference = TokenReference(policy)
    moved(policy)
    slots = EnvSlots(Writing, 8)
    rollout = collect_episodes(
        policy, slots, [EpisodePlan(i, i) for i in range(8)], np.random.default_rng(0)
    )
    with policy.lent_to(reference.weights):
        before = policy.evaluate(rollout.responses).logprobs
    method = TokenMethod(policy, reference, 8)

    judged, metrics = method.judge(rollout, 0.3)

    # More probable than under the reference: less reward. Nothing else moves.
    k1 = rollout.logprobs - before
    assert k1.abs().max() > 0.05
    assert torch.allclose(judged.rewards, rollout.rewards - 0.3 * k1, atol=1e-4)
    likelier = k1.argmax()
    assert judged.rewards[likelier] < rollout.rewards[likelier]
    assert metrics["ref_kl"] == pytest.approx(float(k1.mean()), abs=1e-4)
    assert metrics["ref_kl_episode"] == pytest.approx(float(k1.sum()) / 8, abs=1e-3)
    k3 = torch.exp(-k1) - 1 + k1
    assert metrics["ref_kl_k3"] == pytest.approx(float(k3.mean()), abs=1e-4)
    assert metrics["kl_penalty"] == pytest.approx(0.3 * float(k1.sum()) / 8, abs=1e-3)
    assert judged.logprobs is rollout.logprobs


def test_at_the_start_the_policy_is_the_reference() -> None:
    policy, rollout = policy_and_rollout()
    reference = TokenReference(policy)

    judged, metrics = TokenMethod(policy, reference, 8).judge(rollout, 1.0)

    assert metrics["ref_kl"] == pytest.approx(0, abs=1e-6)
    assert torch.allclose(judged.rewards, rollout.rewards, atol=1e-5)
    check_token_reference(policy, reference, rollout.responses)
    moved(policy)
    with pytest.raises(DivergenceError, match="the KL to the reference starts at"):
        check_token_reference(policy, reference, rollout.responses)


def test_a_response_without_an_end_pays_once_at_its_last_token() -> None:
    policy, rollout = policy_and_rollout(rows=16)
    ended = [r.ended for r in rollout.responses]
    assert {*ended} == {True, False}

    judged, _ = TokenMethod(policy, None, 8, missing_end_penalty=0.7).judge(rollout, 0.0)

    taken = rollout.rewards - judged.rewards
    expected = torch.zeros(len(rollout))
    expected[rollout.last_tokens[~torch.tensor(ended)]] = 0.7
    assert torch.allclose(taken, expected, atol=1e-6)


# Another distribution than the policy's.


def perturbed(rollout: TokenRollout, by: Tensor) -> TokenRollout:
    """As an engine gives it whose log-probabilities are off."""
    lengths = [len(r.response) for r in rollout.responses]
    parts = (rollout.logprobs + by).split(lengths)
    responses = tuple(
        replace(r, logprobs=p, states=None, exact=False)
        for r, p in zip(rollout.responses, parts, strict=True)
    )
    return replace(rollout, responses=responses, logprobs=rollout.logprobs + by)


def test_importance_weights_of_a_foreign_sampler_are_truncated() -> None:
    policy, rollout = policy_and_rollout()
    off = torch.linspace(-3, 3, len(rollout))

    judged, metrics = TokenMethod(policy, None, 8).judge(perturbed(rollout, off), 0.0)

    assert torch.allclose(judged.logprobs, rollout.logprobs, atol=1e-4)
    assert torch.allclose(judged.weights, (-off).exp().clamp(max=MAX_WEIGHT), atol=1e-3)
    assert judged.weights.max() == MAX_WEIGHT
    assert metrics["sampler_mismatch_mean"] == pytest.approx(float(off.abs().mean()), abs=1e-3)
    expected = float(off.abs().quantile(0.95))
    assert metrics["sampler_mismatch_p95"] == pytest.approx(expected, abs=1e-3)
    assert metrics["sampler_weight_mean"] == pytest.approx(float(judged.weights.mean()))


def test_importance_weights_scale_what_each_token_teaches() -> None:
    policy, rollout = policy_and_rollout()
    plain, weighted = (
        update_gradient(policy, replace(rollout, weights=weights))
        for weights in (torch.ones(len(rollout)), torch.full((len(rollout),), 0.5))
    )

    assert torch.allclose(weighted, 0.5 * plain, atol=1e-7)
    assert plain.norm() > 1e-3


def update_gradient(policy: TextPolicy, rollout: TokenRollout) -> Tensor:
    """The writer's, of the one step that an update takes; the policy stays as it is."""
    seen: list[Tensor] = []
    state = policy.state()
    step = token_updates.step_optimizer

    def noted(optimizer: Any, parameters: Any, *rest: Any) -> Tensor:
        grads = [p.grad.flatten().clone() for p in policy.backbone_parameters()]  # type: ignore[union-attr]
        seen.append(torch.cat(grads))
        return step(optimizer, parameters, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_updates, "step_optimizer", noted)
        update(policy, rollout)
    policy.load_state(state)
    return seen[0]


def test_what_the_engine_says_exactly_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, rollout = policy_and_rollout()
    reads: list[int] = []
    read = policy.read

    def counted(responses: Any, **options: Any) -> Any:
        reads.append(len(responses))
        return read(responses, **options)

    monkeypatch.setattr(policy, "read", counted)

    judged, metrics = TokenMethod(policy, None, 8).judge(rollout, 0.3)
    assert reads == []
    assert metrics == {}
    assert judged.weights.tolist() == [1.0] * len(rollout)

    TokenMethod(policy, TokenReference(policy), 8).judge(rollout, 0.3)
    assert sum(reads) == 8  # by the reference alone

    TokenMethod(policy, None, 8).judge(perturbed(rollout, torch.zeros(())), 0.3)
    assert sum(reads) == 16


# Rounds.


@pytest.mark.parametrize("train", ["full", "last_n", "lora"])
def test_warming_up_moves_the_value_head_alone(train: str) -> None:
    policy, rollout = policy_and_rollout(train)
    before = policy.state()

    metrics = update(policy, rollout, replace(PLAIN, warming_up=True), epochs=2)

    moved_names = {n for n, t in policy.state().items() if not torch.equal(t, before[n])}
    assert moved_names == {n for n in before if n.startswith("network.")}
    assert metrics["approx_kl"] == pytest.approx(0, abs=1e-6)


def test_a_round_moves_the_writer_and_the_value_head() -> None:
    policy, rollout = policy_and_rollout("last_n")
    before = policy.state()

    metrics = update(policy, rollout, minibatch_size=4, epochs=3)

    assert all(not torch.equal(t, before[n]) for n, t in policy.state().items())
    assert metrics["updates_done"] == metrics["updates_planned"] == 6
    assert metrics["early_stopped"] == 0
    assert metrics["ratio_max"] > 1 > metrics["ratio_min"]
    assert all(p.grad is None for p in policy.parameters())


def test_updates_stop_where_the_policy_has_moved_too_far() -> None:
    policy, rollout = policy_and_rollout()

    metrics = update(policy, rollout, rate=3e-2, epochs=10, target_kl=0.01)

    assert metrics["early_stopped"] == 1
    assert 1 <= metrics["updates_done"] < metrics["updates_planned"] == 10
    free = update(*policy_and_rollout(), rate=3e-2, epochs=10)
    assert free["early_stopped"] == 0
    assert free["updates_done"] == 10


def test_a_ratio_that_does_not_start_at_1_is_refused() -> None:
    policy, rollout = policy_and_rollout()

    with pytest.raises(DivergenceError, match=r"starts .* away from 1"):
        update(policy, replace(rollout, logprobs=rollout.logprobs + 0.01))


@pytest.mark.parametrize("train", ["full", "last_n", "lora"])
def test_in_bfloat16_the_ratio_starts_at_exactly_1(train: str) -> None:
    policy = text_policy(train=train, network=stirred(gpt2(10)), half=True)
    plans = [EpisodePlan(i, i) for i in range(8)]
    rollout = collect_episodes(policy, EnvSlots(Writing, 8), plans, np.random.default_rng(0))

    judged, metrics = TokenMethod(policy, None, 4, 30).judge(rollout, 0.0)

    config = CONFIG.model_copy(update={"minibatch_size": 4})
    work = token_updates._Work(
        policy, judged, *judged.advantages(1.0, 0.95), config=config, coefficients=PLAIN
    )
    for minibatch in TokenMethod(policy, None, 4, 30).minibatches(judged):
        for part in minibatch:
            _, figures = work.loss(part, len(judged))
            off = max(float(figures["ratio_max"]) - 1, 1 - float(figures["ratio_min"]))
            assert off < 1e-4 if policy.model.is_exact else off == 0
    assert ("sampler_mismatch_mean" in metrics) == (not policy.model.is_exact)


# From end to end.


@pytest.mark.parametrize("network", [t5, bart])
def test_an_encoder_decoder_learns_to_write_what_pays(network: Callable[..., Any]) -> None:
    policy = text_policy(network=stirred(network(10)), max_new_tokens=4)
    slots = EnvSlots(Writing, 64)
    config = PPOConfig(
        iterations=12,
        epochs=2,
        minibatch_size=32,
        learning_rate=3e-3,
        entropy_coef=0.0,
        evaluate_every=12,
    )
    paid: list[float] = []

    def collect(iteration: int) -> Rollout:
        plans = [EpisodePlan(i, i % 8) for i in range(64)]
        rollout = collect_episodes(policy, slots, plans, generator(0, "toy", iteration))
        paid.append(float(rollout.episode_returns.mean()))
        return rollout

    encoder = policy.model.network.get_encoder()  # type: ignore[operator]
    before = {n: p.detach().clone() for n, p in encoder.named_parameters()}
    method = TokenMethod(policy, None, config.minibatch_size)
    task = Task(collect, validate=lambda: {"return": 0.0}, method=method)
    state = ppo_state(policy, config, backbone_learning_rate=3e-3)
    train_ppo(policy, task, config, seed=0, hooks=Silent(), state=state)

    assert paid[-1] > paid[0] + 1.5
    assert paid[-1] > 2.5  # of at most 4
    assert any(not torch.equal(p, before[n]) for n, p in encoder.named_parameters())


def test_an_encoder_decoder_writes_another_text_for_another_prompt() -> None:
    policy = text_policy(network=stirred(t5(10)))
    one, other = (
        policy.evaluate([Response(prompt, [2, 3])]).logprobs
        for prompt in policy.encode(["a", "hgh"])
    )

    assert not torch.allclose(one, other, atol=1e-3)
