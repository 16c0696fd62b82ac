"""The losses against exact gradients by enumeration, and against garbage that must not count."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_rl.losses import (
    adapt_kl_coef,
    explained_variance,
    kl_estimators,
    normalize,
    ppo_loss,
    sft_loss,
)

quick = settings(max_examples=50, deadline=None)

# A softmax bandit whose gradients are known (every figure by hand or enumeration).
LOGITS = (0.3, -0.2, 0.5)
REFERENCE = torch.tensor((0.5, 0.3, 0.2))
PAID = torch.tensor((1.0, 0.0, 2.0))
BETA = 0.5


class Bandit:
    """Every action once, weighted by its probability: sums over it are expectations."""

    def __init__(self):
        self.logits = torch.tensor(LOGITS, requires_grad=True)
        self.logprobs = self.logits.log_softmax(-1)
        self.probs = self.logprobs.detach().exp()
        self.estimators = kl_estimators(self.logprobs, REFERENCE.log())

    def gradient(self, loss):
        return torch.autograd.grad(loss, self.logits, retain_graph=True)[0]

    def ppo(self, advantages, **more):
        zeros = torch.zeros(3)
        return ppo_loss(
            new_logprobs=self.logprobs,
            logprobs=self.logprobs.detach(),
            advantages=self.probs * advantages,
            new_values=zeros,
            values=zeros,
            returns=zeros,
            entropy=zeros,
            clip_range=0.2,
            total_valid=1,
            **more,
        ).loss

    def ascent(self, advantages, **more):
        return -self.gradient(self.ppo(advantages.detach(), **more))


def near(*numbers):
    return pytest.approx(numbers, abs=2e-5)


def decisions(count=4, seed=0, **changed):
    """Keyword tensors of `ppo_loss` with nothing special about them."""
    draw = torch.Generator().manual_seed(seed)
    names = ("new_logprobs", "logprobs", "advantages", "new_values", "values", "returns")
    tensors = {name: torch.randn(count, generator=draw) for name in names}
    tensors["entropy"] = torch.rand(count, generator=draw)
    return {**tensors, "clip_range": 0.2, **changed}


# The gradient at ratio 1.


def test_at_ratio_one_the_gradient_is_the_exact_policy_gradient():
    bandit = Bandit()
    q = PAID - BETA * (bandit.logprobs.detach() - REFERENCE.log())
    exact = bandit.probs * (q - bandit.probs @ q)  # pi_a (q_a - sum pi q)
    assert exact.tolist() == near(0.008769, -0.210320, 0.201551)
    assert bandit.ascent(q).tolist() == near(*exact.tolist())


def test_the_exact_kl_as_a_loss_gives_the_same_gradient():
    bandit = Bandit()
    kl = (bandit.logprobs.exp() * (bandit.logprobs - REFERENCE.log())).sum()
    gradient = bandit.ascent(PAID, ref_kl=kl.expand(3) / 3, kl_coef=BETA)
    assert gradient.tolist() == near(0.008769, -0.210320, 0.201551)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, (0.008769, -0.210320, 0.201551)),  # k1: right
        (1, (-0.0590, -0.2499, 0.3088)),  # k2: wrong
        (2, (-0.0644, -0.2531, 0.3175)),  # k3: wrong
    ],
)
def test_in_the_reward_k1_alone_gives_the_gradient_of_the_reverse_kl(number, expected):
    bandit = Bandit()
    gradient = bandit.ascent(PAID - BETA * bandit.estimators[number])
    assert gradient.tolist() == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, (0.0, 0.0, 0.0)),  # k1: nothing
        (1, (-0.1713, -0.1016, 0.2729)),  # k2: right
        (2, (-0.1464, -0.0855, 0.2319)),  # k3: that of the forward KL
    ],
)
def test_as_a_loss_k2_alone_gives_the_gradient_of_the_reverse_kl(number, expected):
    bandit = Bandit()
    gradient = bandit.gradient((bandit.probs * bandit.estimators[number]).sum())
    assert gradient.tolist() == pytest.approx(expected, abs=6e-5)
    kl = (bandit.logprobs.exp() * (bandit.logprobs - REFERENCE.log())).sum()
    exact = bandit.gradient(kl).tolist()
    assert exact == pytest.approx((-0.1713, -0.1016, 0.2729), abs=6e-5)
    forward = bandit.gradient(-(REFERENCE * bandit.logprobs).sum()).tolist()
    assert forward == pytest.approx((-0.1464, -0.0855, 0.2319), abs=6e-5)


def test_k1_and_k3_have_the_mean_of_the_kl_and_k2_does_not():
    bandit = Bandit()
    k1, k2, k3 = ((bandit.probs * k).sum().item() for k in bandit.estimators)
    assert (k1, k2, k3) == pytest.approx((0.13806, 0.16129, 0.13806), abs=1e-5)
    assert bandit.estimators[2].min() >= 0


def test_approx_kl_is_k3_of_the_old_policy_to_the_new():
    metrics = ppo_loss(
        **decisions(
            1, new_logprobs=torch.tensor([math.log(0.6)]), logprobs=torch.tensor([math.log(0.5)])
        )
    ).metrics
    assert metrics["approx_kl"].item() == pytest.approx(1.2 - 1 - math.log(1.2), abs=1e-6)


# Clipping.


def test_the_clipped_surrogate_takes_the_worse_of_both():
    ratios = torch.tensor((1.5, 1.5, 0.5, 0.5))
    logprobs = torch.full((4,), -1.0)
    loss, metrics = ppo_loss(
        **decisions(
            new_logprobs=logprobs + ratios.log(),
            logprobs=logprobs,
            advantages=torch.tensor((1.0, -1.0, 1.0, -1.0)),
            vf_coef=0.0,
        )
    )
    assert loss.item() == pytest.approx(-(1.2 - 1.5 + 0.5 - 0.8) / 4, abs=1e-6)
    assert metrics["clip_fraction"].item() == 1.0
    assert (metrics["ratio_min"].item(), metrics["ratio_max"].item()) == near(0.5, 1.5)


def test_where_the_ratio_is_clipped_nothing_pulls_further():
    ratios = torch.tensor((1.5, 1.5, 0.5, 0.5, 1.1))
    new_logprobs = ratios.log().requires_grad_()
    advantages = torch.tensor((1.0, -1.0, 1.0, -1.0, 1.0))
    tensors = decisions(5, new_logprobs=new_logprobs, logprobs=torch.zeros(5), vf_coef=0.0)
    ppo_loss(**{**tensors, "advantages": advantages}).loss.backward()
    assert (new_logprobs.grad != 0).tolist() == [False, True, True, False, True]


def test_the_value_loss_is_half_the_squared_error_and_its_clip_takes_the_worse():
    tensors = decisions(
        2,
        advantages=torch.zeros(2),
        new_values=torch.tensor((2.0, 0.1)),
        values=torch.zeros(2),
        returns=torch.tensor((2.0, 1.0)),
    )
    plain = ppo_loss(**tensors).metrics["value_loss"].item()
    assert plain == pytest.approx(0.5 * (0 + 0.81) / 2)
    clipped = ppo_loss(**tensors, value_clip_range=0.5).metrics["value_loss"].item()
    assert clipped == pytest.approx(0.5 * (1.5**2 + 0.81) / 2)  # 2.0 counts as 0.5


def test_the_loss_is_the_weighted_sum_of_its_parts():
    tensors = decisions(vf_coef=0.7, entropy_coef=0.3, ref_kl=torch.full((4,), 0.2), kl_coef=5.0)
    loss, parts = ppo_loss(**tensors)
    expected = parts["policy_loss"] + 0.7 * parts["value_loss"] - 0.3 * parts["entropy"] + 1.0
    torch.testing.assert_close(loss, expected)
    assert parts["kl_loss"].item() == pytest.approx(1.0)
    assert not any(value.requires_grad for value in parts.values())


def test_probabilities_far_apart_keep_the_loss_finite():
    far = torch.tensor((300.0, -300.0, -1e8, 0.0))
    assert ppo_loss(**decisions(new_logprobs=far, logprobs=torch.zeros(4))).loss.isfinite()


# What does not count, and what counts once.


@given(st.lists(st.booleans(), min_size=2, max_size=8), st.integers(0, 10**6))
@quick
def test_garbage_in_slots_that_are_not_valid_changes_neither_loss_nor_gradient(valid, seed):
    valid[0] = True
    mask = torch.tensor(valid)

    def losses(garbage):
        tensors = decisions(len(valid), seed, ref_kl=torch.full((len(valid),), 0.1), kl_coef=0.5)
        for name, tensor in tensors.items():
            if isinstance(tensor, torch.Tensor):
                tensors[name] = torch.where(mask, tensor, torch.tensor(garbage))
        tensors["new_logprobs"].requires_grad_()
        tensors["new_values"].requires_grad_()
        loss = ppo_loss(**tensors, valid=mask, entropy_coef=0.1).loss
        loss.backward()
        return loss, tensors["new_logprobs"].grad, tensors["new_values"].grad

    for clean, dirty in zip(losses(0.0), losses(float("nan")), strict=True):
        assert clean.equal(dirty)


@given(st.integers(0, 10**6))
@quick
def test_accumulated_over_unequal_parts_the_gradient_is_that_of_the_whole(seed):
    tensors = decisions(12, seed, entropy_coef=0.1)

    def gradient(*parts):
        weights = torch.ones(2, requires_grad=True)
        for part in parts:
            piece = {
                name: x[part] if isinstance(x, torch.Tensor) else x for name, x in tensors.items()
            }
            piece["new_logprobs"] = piece["new_logprobs"] * weights[0]
            piece["new_values"] = piece["new_values"] * weights[1]
            ppo_loss(**piece, total_valid=12).loss.backward()
        return weights.grad

    whole = gradient(slice(0, 12))
    parts = gradient(slice(0, 1), slice(1, 3), slice(3, 5), slice(5, 12))
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


def test_advantages_are_normalised_over_valid_slots_with_the_biased_deviation():
    x = torch.tensor((1.0, 3.0, float("nan"), 5.0))
    out = normalize(x, torch.tensor((True, True, False, True)))
    std = math.sqrt(8 / 3)  # not sqrt(4), the unbiased one
    assert out.tolist() == near(-2 / std, 0.0, 0.0, 2 / std)


@pytest.mark.parametrize("numbers", [(3.0,), (2.0, 2.0, 2.0), (1.0, 1.0 + 1e-9)])
def test_one_advantage_or_equal_ones_are_left_as_they_are(numbers):
    x = torch.tensor(numbers)
    assert normalize(x).equal(x)


def test_a_perfect_critic_explains_all_and_a_constant_one_nothing():
    returns = torch.tensor((1.0, 2.0, 4.0))
    assert explained_variance(returns, returns) == 1.0
    assert explained_variance(torch.full((3,), 7.0), returns) == pytest.approx(0.0)
    assert explained_variance(-returns, returns) == pytest.approx(-3.0)  # twice the returns left
    assert explained_variance(returns, torch.ones(3)) == 0.0


def test_the_kl_coefficient_follows_the_kl_by_a_fifth_at_most():
    def adapt(kl):
        return adapt_kl_coef(0.5, kl=kl, target=2.0, count=100, horizon=1000)

    assert adapt(2.0) == 0.5
    assert adapt(2.2) == pytest.approx(0.5 * 1.01)
    assert adapt(200.0) == pytest.approx(0.5 * 1.02)
    assert adapt(0.0) == pytest.approx(0.5 * 0.98)


# Imitation.


def test_imitation_is_cross_entropy_plus_the_weighted_contrastive_term():
    logprobs = torch.tensor((0.5, 0.25)).log()
    right = torch.tensor((True, False))
    logits = math.log(3) * torch.eye(2)  # each context 3 : 1 for its own candidate
    loss, metrics = sft_loss(
        logprobs=logprobs, matches=right, contrastive_logits=logits, contrastive_coef=0.3
    )
    assert metrics["contrastive_loss"].item() == pytest.approx(-math.log(0.75))
    assert metrics["loss"].item() == pytest.approx(math.log(8) / 2)
    assert loss.item() == pytest.approx(math.log(8) / 2 - 0.3 * math.log(0.75))
    assert metrics["accuracy"].item() == 0.5


def test_imitation_leaves_out_what_is_not_valid():
    logprobs, right = torch.tensor((-1.0, float("nan"))), torch.tensor((True, False))
    loss, metrics = sft_loss(logprobs=logprobs, matches=right, valid=torch.tensor((True, False)))
    assert (loss.item(), metrics["accuracy"].item()) == (1.0, 1.0)
