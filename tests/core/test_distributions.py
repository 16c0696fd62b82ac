"""Distributions against enumeration and quadrature; a mask is part of every one of them."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_rl.policy.distributions import (
    ILLEGAL,
    ActionSpec,
    Categorical,
    MultiCategorical,
    SquashedGaussian,
    rebuild,
)

quick = settings(max_examples=60, deadline=None)
GARBAGE = st.sampled_from((float("nan"), float("inf"), -float("inf"), 1e30))


@st.composite
def masked_logits(draw, min_size=2, max_size=6):
    """Logits and a mask with one legal action at least, each of shape (1, size)."""
    size = draw(st.integers(min_size, max_size))
    logits = draw(st.lists(st.floats(-8, 8, width=32), min_size=size, max_size=size))
    mask = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    mask[draw(st.integers(0, size - 1))] = True
    return torch.tensor([logits]), torch.tensor([mask])


def legal_part(logits, mask):
    """The distribution over the legal actions alone, as if there were no others."""
    return torch.softmax(logits[mask].double(), -1)


@given(masked_logits())
@quick
def test_a_mask_gives_the_distribution_of_the_legal_actions_alone(given_logits):
    logits, mask = given_logits
    policy, legal = Categorical.from_logits(logits, mask), legal_part(logits, mask)
    torch.testing.assert_close(policy.probs[mask].double(), legal, rtol=1e-4, atol=1e-6)
    assert not policy.probs[~mask].any()
    entropy = -(legal * legal.log()).sum()
    torch.testing.assert_close(policy.entropy()[0].double(), entropy, rtol=1e-4, atol=1e-5)
    assert mask[0, policy.mode()[0]]


@given(masked_logits(), st.data(), GARBAGE)
@quick
def test_an_illegal_logit_has_no_gradient_and_no_influence_whatever_it_holds(values, draw, garbage):
    logits, mask = values
    action = torch.tensor([draw.draw(st.sampled_from(mask[0].nonzero().flatten().tolist()))])
    other = Categorical.from_logits(logits.flip(1), mask)

    def results(numbers):
        numbers = numbers.clone().requires_grad_()
        policy = Categorical.from_logits(numbers, mask)
        parts = policy.log_prob(action), policy.entropy(), policy.kl(other), other.kl(policy)
        total = sum(weight * part.sum() for weight, part in zip((1, 2, 3, 4), parts, strict=True))
        total.backward()
        return (*(part.detach() for part in parts), numbers.grad)

    clean = results(logits)
    dirty = results(torch.where(mask, logits, torch.tensor(garbage)))
    for one, two in zip(clean, dirty, strict=True):
        assert one.isfinite().all()
        assert one.equal(two)
    assert not clean[-1][~mask].any()  # exactly 0


@given(masked_logits(), masked_logits())
@quick
def test_the_kl_is_that_of_the_legal_parts_and_never_negative(one, other):
    logits, mask = one
    others = other[0].expand(1, -1)[:, : logits.shape[1]]
    others = torch.nn.functional.pad(others, (0, logits.shape[1] - others.shape[1]))
    p, q = legal_part(logits, mask), legal_part(others, mask)
    kl = Categorical.from_logits(logits, mask).kl(Categorical.from_logits(others, mask))
    torch.testing.assert_close(kl[0].double(), (p * (p / q).log()).sum(), rtol=1e-3, atol=1e-5)
    assert kl > -1e-6
    policy = Categorical.from_logits(logits, mask)
    assert policy.kl(policy).item() == 0.0


@given(masked_logits(), st.floats(0, 1, exclude_max=True))
@quick
def test_no_draw_is_ever_illegal(values, uniform):
    logits, mask = values
    policy = Categorical.from_logits(logits, mask)
    for draw in (uniform, 0.0, math.nextafter(1.0, 0.0)):
        sampled = policy.sample(torch.tensor([[draw]], dtype=torch.float64))
        assert mask[0, sampled[0]]
        assert policy.log_prob(sampled) > ILLEGAL / 2


def test_draws_are_as_frequent_as_they_are_probable():
    mask = torch.tensor([[True, False, True, True, False]])
    logits = torch.tensor([[0.5, 3.0, 0.3, 0.2, 9.0]]).log()
    count = 10_000
    uniforms = (torch.arange(count, dtype=torch.float64)[:, None] + 0.5) / count
    policy = Categorical(Categorical.from_logits(logits, mask).stored.expand(count, -1))
    counts = torch.bincount(policy.sample(uniforms), minlength=5)
    assert counts.tolist() == pytest.approx([5000, 0, 3000, 2000, 0], abs=1)


def test_actions_that_are_left_out_do_not_count_in_the_kl():
    everything = torch.ones(1, 3, dtype=torch.bool)

    def policy(*probs):
        return Categorical.from_logits(torch.tensor([probs]).log(), everything)

    mine, reference = policy(0.3, 0.1, 0.6), policy(0.45, 0.45, 0.1)
    # Of those that answer: (0.75, 0.25) against (0.5, 0.5).
    by_hand = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    last = torch.tensor([False, False, True])
    assert mine.kl(reference, last).item() == pytest.approx(by_hand, abs=1e-6)
    assert policy(0.3, 0.3, 0.4).kl(reference, last).item() == pytest.approx(0, abs=1e-6)
    assert mine.kl(reference).item() > by_hand


def test_the_kl_is_nothing_where_only_actions_that_are_left_out_are_legal():
    mask = torch.tensor([[False, False, True]])
    logits = torch.tensor([[0.1, 2.0, 0.3]], requires_grad=True)
    mine = Categorical.from_logits(logits, mask)
    reference = Categorical.from_logits(torch.tensor([[5.0, 1.0, 2.0]]), mask)
    kl = mine.kl(reference, torch.tensor([False, False, True]))
    kl.backward()
    assert kl.item() == 0.0
    assert not logits.grad.any()


SIZES = (2, 3, 2)


@st.composite
def factored(draw):
    parts = [draw(masked_logits(size, size)) for size in SIZES]
    return torch.cat([p[0] for p in parts], 1), torch.cat([p[1] for p in parts], 1)


@given(factored(), factored())
@quick
def test_factored_actions_agree_with_the_enumeration_of_their_joint_distribution(one, other):
    policy = MultiCategorical.from_logits(*one, SIZES)
    reference = MultiCategorical.from_logits(other[0], one[1], SIZES)
    joint = torch.tensor(list(itertools.product(*map(range, SIZES))))

    def logprobs(distribution):
        stored = distribution.stored.expand(len(joint), -1)
        return MultiCategorical(stored, SIZES).log_prob(joint).double()

    p, logp, logq = logprobs(policy).exp(), logprobs(policy), logprobs(reference)
    legal = p > 0
    assert p.sum().item() == pytest.approx(1.0, abs=1e-5)
    entropy, kl = -(p * logp)[legal].sum(), (p * (logp - logq))[legal].sum()
    assert policy.entropy().item() == pytest.approx(entropy.item(), abs=1e-4)
    assert policy.kl(reference).item() == pytest.approx(kl.item(), abs=1e-4)


@given(factored(), st.lists(st.floats(0, 1, exclude_max=True), min_size=3, max_size=3))
@quick
def test_each_factor_is_drawn_by_its_own_uniform_and_never_illegally(values, uniforms):
    logits, mask = values
    policy = MultiCategorical.from_logits(logits, mask, SIZES)
    draws = policy.sample(torch.tensor([uniforms], dtype=torch.float64))
    for actions in (draws, policy.mode()):
        for action, legal in zip(actions[0], mask[0].split(SIZES), strict=True):
            assert legal[action]
    apart = [
        factor.sample(torch.tensor([[u]], dtype=torch.float64)).item()
        for factor, u in zip(policy.factors, uniforms, strict=True)
    ]
    assert draws[0].tolist() == apart


BOX = ActionSpec("box", (1,), low=(-1.0,), high=(3.0,))


def gaussian(mean, log_std, spec=BOX):
    return SquashedGaussian(torch.tensor([[*mean, *log_std]]), spec)


def over_the_box(policy, points):
    wide = SquashedGaussian(policy.stored.expand(len(points), -1), BOX)
    return wide.log_prob(torch.from_numpy(points[:, None]).float()).double().numpy()


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (0.6, -1.0), (-1.2, -0.5), (0.3, 0.4)])
def test_the_density_on_a_box_integrates_to_one(mean, log_std):
    edges = np.linspace(-1, 3, 40_001)
    middles = (edges[1:] + edges[:-1]) / 2
    density = np.exp(over_the_box(gaussian([mean], [log_std]), middles))
    assert density.sum() * (edges[1] - edges[0]) == pytest.approx(1.0, abs=2e-3)


def test_the_kl_between_gaussians_is_that_of_their_densities_on_the_box():
    one, other = gaussian([0.3], [-0.7]), gaussian([-0.2], [-0.2])
    edges = np.linspace(-1, 3, 40_001)
    middles = (edges[1:] + edges[:-1]) / 2
    p, q = over_the_box(one, middles), over_the_box(other, middles)
    by_quadrature = (np.exp(p) * (p - q)).sum() * (edges[1] - edges[0])
    assert one.kl(other).item() == pytest.approx(by_quadrature, abs=1e-3)


number = st.floats(-3, 3, width=32)


@given(*(st.lists(number, min_size=4, max_size=4) for _ in range(2)))
@quick
def test_the_kl_between_gaussians_is_never_negative_and_nothing_to_itself(one, other):
    spec = ActionSpec("box", (2,), low=(0.0, 0.0), high=(1.0, 1.0))
    first, second = (SquashedGaussian(torch.tensor([x]), spec) for x in (one, other))
    assert first.kl(second).item() >= -1e-5
    assert first.kl(first).item() == pytest.approx(0.0, abs=1e-5)


def test_draws_from_a_box_stay_in_it_and_have_the_gaussians_quantiles():
    policy = gaussian([0.5], [-1.0])
    uniforms = torch.tensor([[0.0], [0.5], [0.975], [math.nextafter(1, 0)]], dtype=torch.float64)
    wide = SquashedGaussian(policy.stored.expand(4, -1), BOX)
    draws = wide.sample(uniforms)
    assert ((draws >= -1) & (draws <= 3)).all()
    assert wide.log_prob(draws).isfinite().all()
    assert draws[1].item() == pytest.approx(1 + 2 * math.tanh(0.5), abs=1e-5) == policy.mode()
    upper = 1 + 2 * math.tanh(0.5 + 1.959964 * math.exp(-1))
    assert draws[2].item() == pytest.approx(upper, abs=1e-5)


def test_a_dimension_more_adds_its_log_density_and_its_entropy():
    spec = ActionSpec("box", (2,), low=(-1.0, -1.0), high=(3.0, 3.0))
    both = gaussian([0.1, -0.4], [0.0, -0.5], spec)
    first, second = gaussian([0.1], [0.0]), gaussian([-0.4], [-0.5])
    actions = torch.tensor([[0.7, 1.4]])
    apart = first.log_prob(actions[:, :1]) + second.log_prob(actions[:, 1:])
    torch.testing.assert_close(both.log_prob(actions), apart)
    torch.testing.assert_close(both.entropy(), first.entropy() + second.entropy())


@pytest.mark.parametrize(
    "spec",
    [
        ActionSpec("categorical", (4,)),
        ActionSpec("multi", (2, 2)),
        ActionSpec("box", (2,), low=(-1.0, 0.0), high=(1.0, 2.0)),
    ],
)
def test_a_distribution_is_built_again_from_what_a_rollout_stores(spec):
    stored = torch.tensor([[0.1, 0.4, 0.3, 0.2], [0.7, 0.1, 0.1, 0.1]]).log()
    first = rebuild(stored, spec)
    again = rebuild(first.stored, spec)
    uniforms = torch.full((2, spec.num_draws), 0.3, dtype=torch.float64)
    actions = first.sample(uniforms)
    assert actions.equal(again.sample(uniforms))
    assert first.log_prob(actions).equal(again.log_prob(actions))
    assert first.entropy().equal(again.entropy())
