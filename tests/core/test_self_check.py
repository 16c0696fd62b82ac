"""The self-check passes on what is sound and names what is not."""

import pytest
import torch

from strategy_rl.config import BackboneConfig, Experiment, PPOConfig, TaskConfig
from strategy_rl.policy.distributions import Categorical
from strategy_rl.policy.heads import CandidateScorer
from strategy_rl.self_check import self_check

TASKS = "strategy_rl_envs:strategy_rl/"


def experiment(task="TinyReply", train="frozen", **ppo):
    """A quick experiment on a task of ours, or on one of Gymnasium's."""
    name = task if task == "CartPole-v1" else f"{TASKS}{task}-v0"
    texts = task in ("TinyReply", "ProbeCandidates")
    backbone = BackboneConfig(model="random:tiny" if texts else None, train=train)
    settings = {"num_rows": 30} if task == "TinyReply" else {}
    return Experiment(
        name="check",
        task=TaskConfig(id=name, settings=settings),
        backbone=backbone,
        ppo=PPOConfig(**ppo),
    )


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path))


def failures(*args, **options):
    results = self_check(experiment(*args, **options))
    assert len(results) == 8
    return {result.name: result.detail for result in results if not result.passed}


@pytest.mark.parametrize(
    ("task", "train"),
    [
        ("TinyReply", "frozen"),
        ("TinyReply", "lora"),
        ("TinyReply", "full"),
        ("ProbeCandidates", "last_n"),
        ("ProbeMask", "frozen"),
        ("ProbeMaskedIdentity", "frozen"),
        ("CartPole-v1", "frozen"),
    ],
)
def test_every_check_passes_on_policies_of_this_project(task, train):
    assert failures(task, train) == {}


def test_projections_that_are_frozen_pass_too():
    assert failures(freeze_projections=True, normalize_observations=True) == {}


def planted(monkeypatch, change):
    """A scorer whose scores are changed by `change(scores)`."""
    forward = CandidateScorer.forward

    def changed(self, *inputs):
        return change(forward(self, *inputs))

    monkeypatch.setattr(CandidateScorer, "forward", changed)


def test_a_score_that_depends_on_the_position_is_found(monkeypatch):
    planted(monkeypatch, lambda scores: scores + torch.arange(scores.shape[1]))
    assert "the order of candidates changes nothing" in failures("ProbeCandidates")


def test_a_score_that_depends_on_the_other_observations_is_found(monkeypatch):
    planted(monkeypatch, lambda scores: scores * scores.std(0, unbiased=False))
    found = failures("ProbeCandidates")
    assert "a decision does not depend on its neighbours in the batch" in found


def test_a_score_that_depends_on_how_much_room_there_is_is_found(monkeypatch):
    planted(monkeypatch, lambda scores: scores * scores.shape[1])
    assert "padding changes nothing" in failures("ProbeCandidates")


def test_a_score_that_depends_on_what_stands_in_an_empty_slot_is_found(monkeypatch):
    planted(monkeypatch, lambda scores: scores - scores.mean(1, keepdim=True) * scores)
    assert "what stands in an empty slot changes nothing" in failures("ProbeCandidates")


def test_a_mask_that_is_ignored_is_found(monkeypatch):
    def unmasked(cls, logits, mask):
        return cls(logits.float().clamp(min=-3).log_softmax(-1))

    monkeypatch.setattr(Categorical, "from_logits", classmethod(unmasked))
    assert "illegal actions have probability 0" in failures("ProbeMask")


def test_dropout_that_stays_on_is_found(monkeypatch):
    planted(monkeypatch, torch.nn.functional.dropout)
    found = failures("ProbeCandidates")
    assert "the ratio starts at 1" in found
    assert "the KL to the reference starts at 0" in found
