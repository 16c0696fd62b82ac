"""Whatever acts: policies, heuristics, chance, the expert. Knows one batch of observations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from gymnasium.spaces import MultiDiscrete
from torch import Tensor

from strategy_rl.collector import env_actions
from strategy_rl.env import fault_at
from strategy_rl.generation import AnyPolicy, Response, TextPolicy
from strategy_rl.policy.distributions import Distribution
from strategy_rl.policy.observations import ObservationBatch
from strategy_rl.policy.policy import Policy
from strategy_rl.policy.spaces import CANDIDATES, MASK
from strategy_rl.reference import Reference


class Choice(NamedTuple):
    """An action as the environment takes it, and what stood behind it where that is known.

    Attributes:
        action: As `env.step` takes it.
        probabilities: Of every action.
        value: Of the state.
        log_ratio: Of a written action: its log-probability less that under the reference.
        logprob: Of the action; a density where actions are numbers.
        entropy: Of the distribution, nats.
        greedy_action: The most probable action.
        reference_action: The reference's most probable one.
        reference_probabilities: Of every action.
        kl: To the reference, exact, nats.
    """

    action: Any
    probabilities: list[float] | None = None
    value: float | None = None
    log_ratio: float | None = None
    logprob: float | None = None
    entropy: float | None = None
    greedy_action: Any = None
    reference_action: Any = None
    reference_probabilities: list[float] | None = None
    kl: float | None = None


class Actor(Protocol):
    """Anything that acts on several observations at once."""

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """One choice for each observation."""


@dataclass(frozen=True)
class PolicyActor:
    """A policy, greedy or sampled; with a reference, what that would do is told too."""

    policy: Policy
    greedy: bool = True
    reference: Reference | None = None

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """One forward pass for all."""
        batch = self.policy.encode(observations, [info.get(MASK) for info in infos])
        distribution, values = self.policy.evaluate(batch)
        uniforms = rng.random((len(observations), self.policy.spec.action.num_draws))
        mode = distribution.mode()
        actions = (
            mode
            if self.greedy
            else distribution.sample(torch.from_numpy(uniforms).to(self.policy.device))
        )
        told: dict[str, list[Any]] = {
            "action": env_actions(actions),
            "value": values.tolist(),
            "logprob": distribution.log_prob(actions).tolist(),
            "entropy": distribution.entropy().tolist(),
            "greedy_action": env_actions(mode),
        }
        if self.policy.spec.action.kind == "categorical":
            told["probabilities"] = distribution.stored.exp().tolist()
        if self.reference is not None:
            told |= self._referred(self.reference, batch, distribution)
        return [
            Choice(**dict(zip(told, each, strict=True)))
            for each in zip(*told.values(), strict=True)
        ]

    def _referred(
        self, reference: Reference, batch: ObservationBatch, distribution: Distribution
    ) -> dict[str, list[Any]]:
        """What the reference would do, and how far from it the policy is."""
        theirs = self.policy.rebuild(reference.stored_for(self.policy, batch))
        told = {
            "reference_action": env_actions(theirs.mode()),
            "kl": distribution.kl(theirs, reference.left_out).tolist(),
        }
        if self.policy.spec.action.kind == "categorical":
            told["reference_probabilities"] = theirs.stored.exp().tolist()
        return told


@dataclass(frozen=True)
class TextActor:
    """A policy that writes, greedy or sampled."""

    policy: TextPolicy
    greedy: bool = True
    reference: Mapping[str, Tensor] | None = None  # weights to measure the KL to

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """One batch of responses for all."""
        policy = self.policy
        uniforms = rng.random((len(observations), policy.spec.max_new_tokens))
        prompts = policy.encode(observations)
        responses = policy.generate(prompts, None if self.greedy else uniforms)
        first = np.cumsum([0, *(len(r.response) for r in responses[:-1])])
        values = policy.values_of(responses)[torch.from_numpy(first)].tolist()
        ratios = [None] * len(responses) if self.reference is None else self._ratios(responses)
        return [
            Choice(policy.text_of(response), None, value, ratio)
            for response, value, ratio in zip(responses, values, ratios, strict=True)
        ]

    def _ratios(self, responses: Sequence[Response]) -> list[float]:
        """Log-probability of each response less that under the reference."""
        assert self.reference is not None
        ours = self.policy.evaluate(responses).logprobs
        with self.policy.lent_to(self.reference):
            theirs = self.policy.evaluate(responses).logprobs
        lengths = [len(response.response) for response in responses]
        parts = torch.split(ours - theirs, lengths)
        return [float(part.sum()) for part in parts]


def actor_of(
    policy: AnyPolicy,
    *,
    greedy: bool = True,
    reference: Reference | Mapping[str, Tensor] | None = None,
) -> Actor:
    """A policy as an actor, beside a reference.

    Args:
        policy: Who decides.
        greedy: Or else sampled.
        reference: Of a policy that writes, weights of its backbone.
    """
    if isinstance(policy, TextPolicy):
        assert not isinstance(reference, Reference)
        return TextActor(policy, greedy, reference)
    assert reference is None or isinstance(reference, Reference)
    return PolicyActor(policy, greedy, reference)


@dataclass(frozen=True)
class RuleActor:
    """A heuristic of the task: one observation and a generator to one action."""

    rule: Callable[[Any, np.random.Generator], Any]

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """The rule on each observation."""
        choices = []
        for place, obs in enumerate(observations):
            try:
                choices.append(Choice(self.rule(obs, rng)))
            except Exception as error:
                message = f"a heuristic failed: {type(error).__name__}: {error}"
                raise fault_at(place, message) from error
        return choices


@dataclass(frozen=True)
class RandomActor:
    """Uniform over legal actions; without a mask, over what is offered and special actions."""

    space: Any
    num_special: int = 0

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """One draw for each observation."""
        choices = []
        for obs, info in zip(observations, infos, strict=True):
            given = mask_of(obs, info)
            if given is None and isinstance(obs, Mapping) and CANDIDATES in obs:
                given = np.arange(self.space.n) >= self.space.n - self.num_special
                given[: len(obs[CANDIDATES])] = True
            mask = _sampling_mask(self.space, given)
            self.space.seed(int(rng.integers(2**31)))
            choices.append(Choice(self.space.sample(mask)))
        return choices


class ExpertActor:
    """The environment's own expert."""

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """What `info` says."""
        choices = []
        for place, info in enumerate(infos):
            if "expert_action" not in info:
                raise fault_at(place, "the info holds no `expert_action`")
            choices.append(Choice(info["expert_action"]))
        return choices


def mask_of(obs: Any, info: Mapping[str, Any]) -> Any:
    """The mask of legal actions; None where all are."""
    mask = obs.get(MASK) if isinstance(obs, Mapping) else None
    return info.get(MASK) if mask is None else mask


def _sampling_mask(space: Any, mask: Any) -> Any:
    """A mask as Gymnasium samples by it: int8, for a MultiDiscrete space an array a factor."""
    if mask is None or isinstance(mask, tuple):
        return mask
    mask = np.asarray(mask, dtype=np.int8)
    if not isinstance(space, MultiDiscrete):
        return mask
    return _like(space.nvec, iter(np.split(mask.ravel(), np.cumsum(space.nvec)[:-1])))


def _like(nvec: np.ndarray, factors: Iterator[np.ndarray]) -> Any:
    """The masks of factors in tuples that nest as `nvec` does."""
    return tuple(_like(n, factors) if n.ndim else next(factors) for n in np.asarray(nvec))
