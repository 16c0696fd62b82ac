"""Twelve mistakes of reinforcement learning on tokens that no curve shows; each has its name here.

Each is planted in our code and must be named by a check of `strategy-rl self-check`; the ones that
a training can see by itself must stop it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from strategy_rl import rollout as rollouts
from strategy_rl import token_updates, training
from strategy_rl.backbone import LanguageModel, Row
from strategy_rl.collector import collect_episodes
from strategy_rl.config import BackboneConfig, Experiment, PPOConfig, TaskConfig
from strategy_rl.env import EnvSlots, StepResult
from strategy_rl.errors import DivergenceError, ModelError
from strategy_rl.generation import TextPolicy, engine
from strategy_rl.generation.sampling import Sampling
from strategy_rl.losses import normalize
from strategy_rl.ppo import Task, ppo_state, train_ppo
from strategy_rl.rollout import EpisodePlan, Record, Rollout, Slot
from strategy_rl.seeding import generator
from strategy_rl.token_checks import token_checks
from strategy_rl.token_rollout import TokenRecord, TokenRollout
from strategy_rl.token_updates import (
    MicroBatch,
    TokenMethod,
    TokenReference,
    check_token_reference,
)
from strategy_rl.training import Silent
from tests.generation.networks import t5
from tests.generation.writers import END, Writing, gpt2, llama, text_policy

LETTERS = "abcdefgh"
EXPERIMENT = Experiment(
    name="check",
    task=TaskConfig(id="none"),
    backbone=BackboneConfig(model="random:tiny", train="full", learning_rate=1e-3),
    ppo=PPOConfig(
        iterations=2,
        episodes_per_iteration=8,
        minibatch_size=4,
        epochs=1,
        gamma=0.9,
        gae_lambda=0.8,
        kl_coef=0.1,
        entropy_coef=0.0,
    ),
)
Plant = Callable[[TextPolicy, pytest.MonkeyPatch], None]


def writer(network: Any = None, train: str = "full", **options: Any) -> TextPolicy:
    """By default one that counts its places, so that a wrong place changes what it says."""
    network = network or gpt2(len(LETTERS) + 2, seed=2)
    return text_policy(LETTERS, train, network=network, **options)


def play(policy: TextPolicy, iteration: int = 0) -> TokenRollout:
    slots = EnvSlots(Writing, 8)
    plans = [EpisodePlan(i, i) for i in range(8)]
    return collect_episodes(policy, slots, plans, generator(0, "planted", iteration))


def failures(policy: TextPolicy) -> dict[str, str]:
    """The checks that fail, by name, as `self-check` finds them."""
    found = {}
    for name, check in token_checks(policy, play(policy), EXPERIMENT).items():
        try:
            fault = check()
        except DivergenceError as error:
            fault = str(error)
        if fault is not None:
            found[name] = fault
    return found


def train(policy: TextPolicy) -> None:
    """Two iterations as a run has them, the reference checked first."""

    def collect(iteration: int) -> Rollout:
        return play(policy, iteration)

    config, reference = EXPERIMENT.ppo, TokenReference(policy)
    check_token_reference(policy, reference, play(policy).responses)
    method = TokenMethod(policy, reference, config.minibatch_size)
    state = ppo_state(policy, config, backbone_learning_rate=1e-3)
    restored = ppo_state(policy, config, backbone_learning_rate=1e-3)
    restored.load(state.tensors(), state.counters)
    task = Task(collect, validate=lambda: {"return": 0.0}, method=method)
    train_ppo(policy, task, config, seed=0, hooks=Silent(), state=restored)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: writer(llama(10)), id="llama"),
        pytest.param(lambda: writer(llama(10), "last_n"), id="llama-last_n"),
        pytest.param(lambda: writer(llama(10), "lora"), id="llama-lora"),
        pytest.param(lambda: writer(llama(10), "last_n", half=True), id="llama-last_n-half"),
        pytest.param(
            lambda: writer(llama(10), sampling=Sampling(temperature=0.7, top_k=6, top_p=0.9)),
            id="llama-cut",
        ),
        pytest.param(writer, id="gpt2"),
        pytest.param(lambda: writer(t5(10)), id="t5"),
        pytest.param(lambda: writer(t5(10), "lora"), id="t5-lora"),
        pytest.param(lambda: writer(t5(10), "last_n"), id="t5-last_n"),
    ],
)
def test_no_check_fails_where_nothing_is_broken(make: Callable[[], TextPolicy]) -> None:
    policy = make()
    before = policy.model.save_trainable()
    assert failures(policy) == {}
    for name, weight in policy.model.save_trainable().items():
        assert weight.equal(before[name]), f"a check left {name} changed"
    train(policy)


# The bugs.


def left_pad_positions(policy: TextPolicy, patch: pytest.MonkeyPatch) -> None:
    """Places are counted from the padding on."""
    policy.model._takes_positions = False


def dropout_on(policy: TextPolicy, patch: pytest.MonkeyPatch) -> None:
    """The pretrained network kept its dropout, and somebody called `train`."""
    for module in policy.model.network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.1
    policy.model.network.train()


def temperature_of_sampling(policy: TextPolicy, patch: pytest.MonkeyPatch) -> None:
    """Tokens are drawn and noted at a temperature that training does not know."""
    assert isinstance(policy.engine, engine.LocalEngine)
    policy.engine = replace(policy.engine, sampling=Sampling(temperature=0.7))


def temperature_of_draws(policy: TextPolicy, patch: pytest.MonkeyPatch) -> None:
    """The same, but what is noted is not what is drawn from."""
    real = engine.draw
    patch.setattr(engine, "draw", lambda logits, *rest: real(logits / 0.5, *rest))


def kl_sign(policy: TextPolicy, patch: pytest.MonkeyPatch) -> None:
    real = token_updates.kl_estimators
    patch.setattr(token_updates, "kl_estimators", lambda ours, theirs: real(theirs, ours))


def mask_shift(policy: TextPolicy, patch: pytest.MonkeyPatch) -> None:
    """The state after a token is taken for the one before it."""
    real = LanguageModel.states

    def shifted(self: LanguageModel, rows: list[Row]) -> Tensor:
        later = [([*r.prompt, r.response[0]], [*r.response[1:], END]) for r in rows]
        return real(self, [Row(prompt, response) for prompt, response in later])

    patch.setattr(LanguageModel, "states", shifted)


def reward_on_pad(policy: TextPolicy, patch: pytest.MonkeyPatch) -> None:
    """The reward stands one place behind the response."""
    real = TokenRecord.finish

    def finish(self: TokenRecord, policy: TextPolicy) -> Rollout:
        rollout = real(self, policy)
        return replace(rollout, rewards=rollout.rewards.roll(1))

    patch.setattr(TokenRecord, "finish", finish)


def double_normalisation(policy: TextPolicy, patch: pytest.MonkeyPatch) -> None:
    """Advantages that are normalised over the round are so again in each optimizer step."""
    real = token_updates._Work.losses

    def losses(self: Any, minibatch: list[MicroBatch], parts: Any) -> Any:
        tokens = torch.cat([part.tokens for part in minibatch])
        advantages = self.advantages.clone()
        advantages[tokens] = normalize(advantages[tokens])
        return real(replace(self, advantages=advantages), minibatch, parts)

    patch.setattr(token_updates._Work, "losses", losses)


def truncated_as_terminated(policy: TextPolicy, patch: pytest.MonkeyPatch) -> None:
    real = Record.observe

    def observe(self: Record, slot: Slot, result: StepResult) -> None:
        ended = result.terminated or result.truncated
        real(self, slot, result._replace(terminated=ended, truncated=False))

    patch.setattr(Record, "observe", observe)


def accumulation_scale(policy: TextPolicy, patch: pytest.MonkeyPatch) -> None:
    """Each micro-batch has the mean over its own tokens."""
    real = token_updates._Work.loss

    def loss(self: Any, part: MicroBatch, total: int) -> Any:
        return real(self, part, len(part.tokens))

    patch.setattr(token_updates._Work, "loss", loss)


def stale_reference(policy: TextPolicy, patch: pytest.MonkeyPatch) -> None:
    """The reference is from before SFT."""

    def made(self: TokenReference, policy: TextPolicy) -> None:
        self.weights = {name: w + 0.1 for name, w in policy.backbone_state().items()}

    patch.setattr(TokenReference, "__init__", made)


def living_reference(policy: TextPolicy, patch: pytest.MonkeyPatch) -> None:
    """The reference is the policy itself, so that the KL stays 0."""

    def made(self: TokenReference, policy: TextPolicy) -> None:
        self.weights = {name: p.detach() for name, p in policy.model.trainable().items()}

    patch.setattr(TokenReference, "__init__", made)


def rate_after_resume(policy: TextPolicy, patch: pytest.MonkeyPatch) -> None:
    """The rate of the moment of saving becomes the one that the schedule starts from."""
    real = training.load_optimizer

    def load(optimizer: torch.optim.Optimizer, tensors: Any) -> None:
        real(optimizer, tensors)
        for group in optimizer.param_groups:
            group["initial_lr"] *= 0.75

    patch.setattr(training, "load_optimizer", load)


def gae_off_by_one(policy: TextPolicy, patch: pytest.MonkeyPatch) -> None:
    """A decision is followed by the value of the one after next."""
    real = rollouts.compute_gae

    def gae(
        rewards: Tensor, values: Tensor, next_values: Tensor, *rest: Any, **options: Any
    ) -> Any:
        later = torch.cat([next_values[1:], next_values[-1:]])
        return real(rewards, values, later, *rest, **options)

    patch.setattr(rollouts, "compute_gae", gae)


@dataclass(frozen=True)
class Bug:
    """What is planted, which check names it, and what stops a training, if anything does."""

    plant: Plant
    check: str
    stops: str | None = None


RATIO = "the ratio of new to old probability starts"
BUGS = [
    Bug(left_pad_positions, "padding changes nothing", RATIO),
    Bug(dropout_on, "reading twice gives the same", "dropout is on"),
    Bug(temperature_of_sampling, "tokens are read as they were written", RATIO),
    Bug(temperature_of_draws, "tokens are drawn as often as they are probable"),
    Bug(kl_sign, "the penalty is the KL to the reference"),
    Bug(mask_shift, "log-probabilities are the network's own", RATIO),
    Bug(
        reward_on_pad,
        "rewards belong to the last token of a response",
        "inside a response have a reward",
    ),
    Bug(double_normalisation, "the gradient of an update is that of the formula"),
    Bug(truncated_as_terminated, "an episode that is cut off is followed by a value"),
    Bug(accumulation_scale, "the cut into micro-batches changes no gradient"),
    Bug(
        stale_reference,
        "the KL to the reference starts at 0",
        "the reference is not the policy that PPO starts from",
    ),
    Bug(living_reference, "updates leave the reference alone", "it would follow every update"),
    Bug(
        rate_after_resume,
        "a restored state goes on at its learning rate",
        "the learning rates after the restore begin at",
    ),
    Bug(gae_off_by_one, "advantages are those of the formula"),
]
IDS = [bug.plant.__name__ for bug in BUGS]


@pytest.mark.parametrize("bug", BUGS, ids=IDS)
def test_the_self_check_names_a_planted_bug(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = writer()
    bug.plant(policy, monkeypatch)
    found = failures(policy)
    assert next(iter(found)) == bug.check, "the first that fails says what is wrong"


STOPPED = [bug for bug in BUGS if bug.stops is not None]


@pytest.mark.parametrize("bug", STOPPED, ids=[bug.plant.__name__ for bug in STOPPED])
def test_a_bug_that_training_can_see_stops_it(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = writer()
    bug.plant(policy, monkeypatch)
    with pytest.raises(DivergenceError, match=bug.stops):
        train(policy)


def test_a_shifted_mask_is_refused_when_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    mask_shift(writer(), monkeypatch)
    with pytest.raises(ModelError, match=r"differ by .* from a linear head's"):
        writer()


def test_each_bug_has_a_name_of_its_own() -> None:
    assert len({bug.check for bug in BUGS}) == len(BUGS) == 14  # twelve, two in two forms
