"""Numbers that a task gives of each candidate: they join the pair features and reach every head."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from toys import policy_of, question, stir

from strategy_rl.errors import EnvironmentFault, InputError
from strategy_rl.policy import Policy
from strategy_rl_envs.kit.selection import selection_spaces

FEATURES = 2


def featured_policy(shape=(4, FEATURES), **sizes):
    """A policy over up to four candidates with two numbers each."""
    space, actions = selection_spaces(4, 1, state_size=1, max_chars=32)
    box = spaces.Box(-1.0, 1.0, shape, np.float32)
    space = spaces.Dict({**space.spaces, "candidate_features": box})
    return policy_of(space, actions, special_actions=("stop",), train="frozen", **sizes)


def features(*rows):
    padded = np.zeros((4, FEATURES), np.float32)
    padded[: len(rows)] = rows
    return padded


def asked(*rows, candidates=("blue", "green")):
    return question(*candidates) | {"candidate_features": features(*rows)}


def test_they_are_the_last_of_the_pair_features_and_no_numbers_of_the_observation():
    policy = featured_policy()
    batch = policy.encode([asked((0.25, -1.0), (0.5, 1.0))])
    assert policy.spec.observation.number_fields == (("state", 1, 0),)
    assert batch.pairs.shape == (1, 4, policy.pairs.width + FEATURES)
    assert batch.pairs[0, :2, -FEATURES:].tolist() == [[0.25, -1.0], [0.5, 1.0]]
    plain = policy_of(
        *selection_spaces(4, 1, state_size=1, max_chars=32),
        special_actions=("stop",),
        train="frozen",
    ).encode([question("blue", "green")])
    assert torch.equal(batch.pairs[..., :-FEATURES], plain.pairs)


def test_numbers_of_candidates_that_are_not_there_count_as_nothing():
    policy = featured_policy()
    observation = asked((0.25, -1.0), (0.5, 1.0))
    observation["candidate_features"][2:] = np.nan
    assert (policy.encode([observation]).pairs[0, 2:] == 0).all()


@torch.no_grad()
def test_each_candidates_numbers_move_its_own_score_and_those_of_all_heads():
    policy = stir(featured_policy(), scale=1.0)
    one = policy(policy.encode([asked((0.0, 0.0), (0.0, 0.0))]))
    other = policy(policy.encode([asked((0.0, 0.0), (1.0, 0.0))]))
    ratio = other.distribution.stored - one.distribution.stored
    assert abs(float(ratio[0, 1] - ratio[0, 0])) > 1e-3  # against the candidate that is unchanged
    assert abs(float(ratio[0, 4])) > 1e-3
    assert abs(float(other.values - one.values)) > 1e-4


@torch.no_grad()
def test_the_order_of_the_candidates_moves_their_probabilities_and_nothing_else():
    policy = stir(featured_policy())
    one = policy(policy.encode([asked((0.5, 0.0), (0.0, 1.0))]))
    turned = asked((0.0, 1.0), (0.5, 0.0), candidates=("green", "blue"))
    other = policy(policy.encode([turned]))
    swapped = one.distribution.stored[:, [1, 0, 2, 3, 4]]
    assert torch.allclose(other.distribution.stored, swapped, atol=1e-5)
    assert torch.allclose(other.values, one.values, atol=1e-5)


def test_the_special_action_cannot_bend_the_scorer_through_them():
    policy = stir(featured_policy())
    batch = policy.encode([asked((0.5, 0.0), (0.0, 1.0))])
    policy(batch).distribution.stored[0, 4].backward()
    for name, parameter in policy.network.named_parameters():
        bent = parameter.grad is not None and bool(parameter.grad.abs().max() > 1e-6)
        assert bent == name.startswith("special_head"), name


def test_without_pair_features_they_are_there_alone():
    policy = featured_policy(pair_features=False)
    assert policy.encode([asked((0.25, -1.0))]).pairs.shape == (1, 4, FEATURES)


def test_a_hand_made_observation_may_leave_them_out():
    policy = stir(featured_policy())
    observation = {"context": ("red",), "candidates": ("blue", "green")}
    zeros = observation | {"candidate_features": features((0.0, 0.0))}
    made = policy.act(observation, greedy=True)
    assert made.probabilities == policy.act(zeros, greedy=True).probabilities


def test_a_saved_policy_knows_them(tmp_path):
    policy = stir(featured_policy())
    policy.save_pretrained(tmp_path, include_backbone=True)
    loaded = Policy.from_pretrained(tmp_path)
    assert loaded.spec.observation.num_candidate_features == FEATURES
    observation = asked((0.5, 0.0), (0.0, 1.0))
    known = policy.act(observation, greedy=True).probabilities
    assert loaded.act(observation, greedy=True).probabilities == pytest.approx(known, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((1, FEATURES)), "expected 2 numbers for each of 2 candidates"),
        (np.zeros((4, 3)), "expected 2 numbers"),
        (np.full((4, FEATURES), np.nan), "not finite"),
        (None, "candidate_features"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(given, message):
    observation = asked((0.0, 0.0), (0.0, 0.0)) | {"candidate_features": given}
    if given is None:
        del observation["candidate_features"]
    with pytest.raises(EnvironmentFault, match=message):
        featured_policy().encode([observation])


def test_a_space_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"expected a Box of shape \(4, F\)"):
        featured_policy(shape=(5, FEATURES))
