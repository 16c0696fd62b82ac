"""What a policy network must not depend on, and what each loss may move."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import numbers_policy, policy_of, question, selection_policy, stir

from strategy_rl.policy.distributions import ILLEGAL, ActionSpec
from strategy_rl.policy.heads import score_statistics
from strategy_rl.policy.network import CandidateNetwork, NetworkSizes, NumberNormalizer
from strategy_rl.policy.observations import ObservationBatch
from strategy_rl.policy.spaces import ObservationSpec

quick = settings(max_examples=40, deadline=None)
NUM_TEXTS, WIDTH, PAIRS, SLOTS = 20, 6, 3, 2
VECTORS = torch.randn(NUM_TEXTS + 1, WIDTH, generator=torch.Generator().manual_seed(0))
VECTORS[-1] = 0.0  # id -1: no text


def embed(ids):
    return VECTORS[ids]


def candidate_network(max_candidates, num_special=2):
    """The same stirred weights for any number of candidates."""
    spec = ObservationSpec((("context", SLOTS),), (("state", 1, 0),), max_candidates)
    action = ActionSpec("categorical", (max_candidates + num_special,), num_special)
    torch.manual_seed(0)
    network = CandidateNetwork(spec, action, NetworkSizes(WIDTH, PAIRS, 8, (8, 8)))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.6 * torch.randn_like(parameter)
    return network


@st.composite
def batches(draw, max_candidates=5, num_special=2):
    """Observations with 0 to `max_candidates` candidates and special actions open or not."""
    size = draw(st.integers(1, 4))
    numbers = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    counts = torch.tensor(
        draw(st.lists(st.integers(0, max_candidates), min_size=size, max_size=size))
    )
    offered = torch.arange(max_candidates) < counts[:, None]
    special = torch.rand(size, num_special, generator=numbers) < 0.7
    special[counts == 0, 0] = True

    def texts(columns):
        return torch.randint(-1, NUM_TEXTS, (size, columns), generator=numbers)

    return ObservationBatch(
        context=texts(SLOTS),
        candidates=torch.where(offered, texts(max_candidates).clamp(min=0), -1),
        pairs=torch.randn(size, max_candidates, PAIRS, generator=numbers) * offered[..., None],
        numbers=torch.rand(size, 1, generator=numbers),
        mask=torch.cat([offered, special], 1),
    )


def decide(batch, network=None):
    network = network or candidate_network(batch.candidates.shape[1])
    with torch.no_grad():
        distribution, evidence = network.decide(batch, network.represent(batch, embed))
        values = network.values(*evidence)
    legal = distribution.stored.masked_fill(distribution.stored < ILLEGAL / 2, ILLEGAL)
    return legal, values


def assert_same(one, other):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


# What must not matter.


@given(batches(), st.permutations(range(5)))
@quick
def test_the_order_of_the_candidates_moves_their_probabilities_and_nothing_else(batch, order):
    actions = [*order, 5, 6]
    shuffled = replace(
        batch,
        candidates=batch.candidates[:, order],
        pairs=batch.pairs[:, order],
        mask=batch.mask[:, actions],
    )
    logprobs, values = decide(batch)
    assert_same(decide(shuffled), (logprobs[:, actions], values))


@given(batches(), st.integers(1, 4), st.integers(0, 10**6))
@quick
def test_more_room_for_candidates_and_garbage_in_it_changes_nothing(batch, room, seed):
    draw = torch.Generator().manual_seed(seed)
    size = len(batch)
    padded = ObservationBatch(
        batch.context,
        torch.cat([batch.candidates, torch.randint(-1, 9, (size, room), generator=draw)], 1),
        torch.cat([batch.pairs, 1e4 * torch.randn(size, room, PAIRS, generator=draw)], 1),
        batch.numbers,
        torch.cat([batch.mask[:, :5], torch.zeros(size, room).bool(), batch.mask[:, 5:]], 1),
    )
    logprobs, values = decide(padded)
    assert (logprobs[:, 5:-2] == ILLEGAL).all()
    assert_same((torch.cat([logprobs[:, :5], logprobs[:, -2:]], 1), values), decide(batch))


@given(batches())
@quick
def test_a_decision_does_not_depend_on_its_neighbours_in_the_batch(batch):
    logprobs, values = decide(batch)
    for row in range(len(batch)):
        assert_same(decide(batch[row : row + 1]), (logprobs[row : row + 1], values[row : row + 1]))


@given(batches(), st.data())
@quick
def test_a_candidates_score_does_not_depend_on_the_other_candidates(batch, draw):
    """Odds between two candidates stay when a third is masked out or replaced."""
    rows = (batch.mask[:, :5].sum(1) >= 3).nonzero().flatten().tolist()
    if not rows:
        return
    row = draw.draw(st.sampled_from(rows))
    one, two, third = batch.mask[row, :5].nonzero().flatten().tolist()[:3]
    changed = replace(batch, candidates=batch.candidates.clone(), mask=batch.mask.clone())
    if draw.draw(st.booleans()):
        changed.mask[row, third] = False
    else:
        changed.candidates[row, third] = draw.draw(st.integers(0, NUM_TEXTS - 1))
    before, after = decide(batch)[0][row], decide(changed)[0][row]
    assert_same(before[one] - before[two], after[one] - after[two])


def test_the_stirred_network_of_these_tests_tells_observations_apart():
    batch = ObservationBatch(
        torch.tensor([[1, 2], [3, -1]]),
        torch.tensor([[4, 5, -1, -1, -1], [6, 7, 8, -1, -1]]),
        torch.randn(2, 5, PAIRS, generator=torch.Generator().manual_seed(1)),
        torch.tensor([[0.0], [1.0]]),
        torch.tensor([[1, 1, 0, 0, 0, 1, 1], [1, 1, 1, 0, 0, 1, 0]]).bool(),
    )
    logprobs, values = decide(batch)
    assert (logprobs[0, 0] - logprobs[0, 1]).abs() > 0.1
    assert (logprobs[0, 5] - logprobs[1, 5]).abs() > 0.01
    assert (values[0] - values[1]).abs() > 0.01
    for field in ("context", "pairs", "numbers"):  # each reaches policy and value
        other = replace(batch, **{field: getattr(batch, field).flip(0)})
        moved = decide(other)
        assert (moved[0][:, :2] - logprobs[:, :2]).abs().max() > 1e-3
        assert (moved[1] - values).abs().max() > 1e-4


# How a fresh network starts.


def test_a_fresh_network_is_near_uniform_over_legal_actions_and_values_nothing():
    policy = numbers_policy(inputs=3, actions=5)
    mask = np.array([1, 1, 0, 1, 0])
    inputs = [np.array(x, np.float32) for x in ((1, 2, 3), (-4, 0, 4), (9, 9, 9))]
    distribution, values = policy.evaluate(policy.encode(inputs, [mask] * 3))
    assert distribution.entropy().tolist() == pytest.approx([math.log(3)] * 3, abs=1e-3)
    assert not values.any()


def test_a_fresh_candidate_network_is_near_even_over_candidates_and_values_nothing():
    policy = selection_policy(num_special=0)
    observations = [question(*names) for names in (("red", "blue"), ("green", "red", "black"))]
    for obs in observations:
        del obs["action_mask"]
    distribution, values = policy.evaluate(policy.encode(observations))
    assert distribution.entropy().tolist() == pytest.approx([math.log(2), math.log(3)], abs=0.05)
    assert not values.any()


# What each loss may move.


def gradients(policy, loss):
    policy.network.zero_grad(set_to_none=True)
    loss.backward()
    return {
        name
        for name, parameter in policy.network.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().max() > 1e-5
    }


@pytest.mark.parametrize("kind", ["candidates", "numbers", "texts"])
def test_the_value_loss_moves_the_value_head_alone(kind):
    if kind == "candidates":
        policy = stir(selection_policy())
        batch = policy.encode([question("red", "blue"), question("green", "black", state=0.2)])
    elif kind == "numbers":
        policy = stir(numbers_policy())
        batch = policy.encode([np.ones(1), np.zeros(1)])
    else:
        from strategy_rl_envs.kit.text import UnicodeText

        policy = stir(policy_of(UnicodeText(9), spaces.Discrete(2), train="frozen"))
        batch = policy.encode(["red", "blue"])
    moved = gradients(policy, (policy(batch).values - 1).square().sum())
    assert moved
    assert all(name.startswith("value_head.") for name in moved)


def test_special_actions_cannot_bend_the_scorer():
    policy = stir(selection_policy())
    batch = policy.encode([question("red", "blue"), question("green", "black", "white")])
    moved = gradients(policy, policy(batch).distribution.stored[:, -1].sum())
    assert moved
    assert all(name.startswith("special_head.") for name in moved)


def test_the_policy_loss_moves_no_value_head():
    policy = stir(selection_policy())
    batch = policy.encode([question("red", "blue"), question("green", "black", "white")])
    moved = gradients(policy, policy(batch).distribution.stored[:, 0].sum())
    assert any(name.startswith("scorer.") for name in moved)
    assert any(name.startswith("context_projection.") for name in moved)
    assert not any(name.startswith("value_head.") for name in moved)


def test_the_contrastive_logits_set_each_context_against_each_right_candidate():
    policy = stir(selection_policy())
    observations = [question("red", "blue"), question("blue", "red", context=("white",)),
                    question("green", context=("black",))]  # fmt: skip
    batch, actions = policy.encode(observations), torch.tensor([1, 0, 4])
    logits = policy.network.contrastive_logits(batch, actions, policy.embed)
    assert logits.shape == (2, 2)  # the third row is handed over: nothing to contrast
    # Both right candidates are "blue": each context sees the same twice.
    torch.testing.assert_close(logits[:, 0], logits[:, 1])
    assert (logits[0] - logits[1]).abs().min() > 1e-4
    alone = policy.network.contrastive_logits(batch[1:], actions[1:], policy.embed)
    assert alone is None


def test_a_shift_of_special_actions_is_a_shift_of_their_log_odds():
    policy = stir(selection_policy())
    batch = policy.encode([question("red", "blue"), question("green", "black", "white")])
    before = policy.evaluate(batch).distribution.probs
    policy.network.shift_special(torch.tensor([1.5]))
    after = policy.evaluate(batch).distribution.probs

    def log_odds(probs):
        return (probs[:, -1] / (1 - probs[:, -1])).log()

    torch.testing.assert_close(log_odds(after), log_odds(before) + 1.5)


# Pieces.


def test_score_statistics_say_how_sure_the_scorer_is():
    mask = torch.tensor([[True, True, False], [False, False, False]])
    scores = torch.tensor([[0.0, math.log(3), 99.0], [5.0, 6.0, 7.0]]).where(mask, ILLEGAL)
    statistics = score_statistics(scores, scores.log_softmax(-1), mask)
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    by_hand = [0.75, 0.25, 0.0, 0.5, entropy, math.log(3) / 4, math.log(4 / 3), math.log(2)]
    assert statistics[0].tolist() == pytest.approx(by_hand, abs=1e-6)
    assert not statistics[1].any()


def test_the_normalizer_is_the_identity_until_it_has_seen_something():
    numbers = torch.tensor([[1000.0, -5.0]])
    assert NumberNormalizer(2)(numbers).equal(numbers)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 10**6))
@quick
def test_the_normalizer_of_many_batches_is_that_of_all_numbers_together(sizes, seed):
    rng = np.random.default_rng(seed)
    numbers = rng.normal(3.0, 2.0, (sum(sizes), 2))
    normalizer, start = NumberNormalizer(2), 0
    for size in sizes:
        normalizer.update(torch.from_numpy(numbers[start : start + size]))
        start += size
    assert normalizer.mean.numpy() == pytest.approx(numbers.mean(0))
    assert normalizer.variance.numpy() == pytest.approx(numbers.var(0), abs=1e-9)
    assert normalizer.count == len(numbers)
    far = normalizer(torch.tensor([[1e9, -1e9]]))
    assert far.tolist() == [[10, -10]]


@pytest.mark.parametrize("kind", ["candidates", "numbers"])
def test_both_networks_read_their_numbers_through_the_normalizer(kind):
    if kind == "candidates":
        policy = stir(selection_policy())
        batch = policy.encode([question("red", "blue"), question("green", state=0.2)])
    else:
        policy = stir(numbers_policy())
        batch = policy.encode([np.array([0.5]), np.array([0.2])])
    before, shifted = policy.evaluate(batch), replace(batch, numbers=5 + 2 * batch.numbers)
    assert (policy.evaluate(shifted).values - before.values).abs().max() > 1e-3
    normalizer = policy.network.normalizer
    normalizer.mean.fill_(5.0)
    normalizer.variance.fill_(4.0)
    normalizer.count.fill_(1.0)
    after = policy.evaluate(shifted)
    assert_same(after.distribution.stored, before.distribution.stored)
    assert_same(after.values, before.values)


def test_frozen_projections_decide_the_same_and_learn_no_more():
    policy = stir(selection_policy())
    batch = policy.encode([question("red", "blue"), question("green", context=("black", "red"))])
    before = policy.evaluate(batch)
    policy.freeze_projections()
    assert_same(policy.evaluate(batch).distribution.stored, before.distribution.stored)
    assert_same(policy.evaluate(batch).values, before.values)
    new = policy.encode([question("a text", "never met", context=("before",))])
    assert policy.evaluate(new).values.isfinite().all()
    frozen = {id(p) for p in policy.network.projection_parameters()}
    assert frozen
    assert not frozen & {id(p) for p in policy.parameters()}


def reading_policy():
    """Two texts and a number to an action space that stays the same."""
    space = spaces.Dict(
        {"title": spaces.Text(32), "body": spaces.Text(32), "n": spaces.Discrete(3)}
    )
    return policy_of(space, spaces.Discrete(3), train="frozen")


@pytest.mark.parametrize("kind", ["candidates", "fixed"])
def test_a_representation_made_before_decides_as_one_made_now(kind):
    if kind == "candidates":
        policy = stir(selection_policy())
        observations = [question("red", "blue"), question("green", context=("black", "red"))]
    else:
        policy = stir(reading_policy())
        observations = [{"title": "a", "body": b, "n": 1} for b in ("red", "blue")]
    batch = policy.encode(observations)
    made = policy.represent(batch)
    assert made
    assert not any(tensor.requires_grad for tensor in made)
    now, then = policy(batch), policy(batch, made)
    assert then.distribution.stored.equal(now.distribution.stored)
    assert then.values.equal(now.values)
    other = policy(batch, tuple(tensor.flip(0) for tensor in made))
    assert not other.distribution.stored.equal(now.distribution.stored)
