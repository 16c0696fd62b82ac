"""Whatever acts: policies, heuristics, chance, the expert. Knows one batch of observations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from gymnasium.spaces import MultiDiscrete
from torch import Tensor

from strategy_rl.collector import env_actions
from strategy_rl.env import fault_at
from strategy_rl.generation import AnyPolicy, Response, TextPolicy
from strategy_rl.policy.distributions import Categorical, Distribution, MultiCategorical
from strategy_rl.policy.policy import Policy
from strategy_rl.policy.spaces import CANDIDATES, MASK
from strategy_rl.reference import Reference

DIGITS = 5  # after the point, of a token's figures


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
        factor_probabilities: Of the values of each factor, where an action has several.
        reference_factor_probabilities: The same of the reference.
        advantage: Of the action, where it was learnt from; of a text, of its first token.
        tokens: Of a written action, see `strategy_rl.episodes.Step`.
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
    factor_probabilities: list[list[float]] | None = None
    reference_factor_probabilities: list[list[float]] | None = None
    advantage: float | None = None
    tokens: list[dict[str, Any]] | None = None


class Actor(Protocol):
    """Anything that acts on several observations at once."""

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """One choice for each observation."""


@runtime_checkable
class Critic(Protocol):
    """An actor that can tell what a state is worth to it."""

    def values(
        self, observations: Sequence[Any], infos: Sequence[Mapping[str, Any]]
    ) -> list[float]:
        """One value for each observation."""


def decisions_told(
    distribution: Distribution,
    actions: Tensor,
    values: Tensor,
    reference: Distribution | None = None,
    left_out: Tensor | None = None,
    advantages: Tensor | None = None,
) -> list[Choice]:
    """What stood behind N decisions.

    Args:
        distribution: What the actions come from.
        actions: Which were taken.
        values: Of the states, (N,).
        reference: What the reference would draw from.
        left_out: Actions that the KL to it leaves out, (actions,) bool.
        advantages: Of the actions, (N,).
    """
    mode = distribution.mode()
    told: dict[str, list[Any]] = {
        "action": env_actions(actions),
        "value": values.tolist(),
        "logprob": distribution.log_prob(actions).tolist(),
        "entropy": distribution.entropy().tolist(),
        "greedy_action": env_actions(mode),
        **_probabilities(distribution),
    }
    if advantages is not None:
        told["advantage"] = advantages.tolist()
    if reference is not None:
        told["reference_action"] = env_actions(reference.mode())
        told["kl"] = distribution.kl(reference, left_out).tolist()
        told |= {f"reference_{name}": each for name, each in _probabilities(reference).items()}
    return [
        Choice(**dict(zip(told, each, strict=True))) for each in zip(*told.values(), strict=True)
    ]


def _probabilities(distribution: Distribution) -> dict[str, list[Any]]:
    """Of every action, or of every value of each factor; nothing where actions are numbers."""
    if isinstance(distribution, Categorical):
        return {"probabilities": distribution.stored.exp().tolist()}
    if isinstance(distribution, MultiCategorical):
        factors = [factor.stored.exp().tolist() for factor in distribution.factors]
        return {"factor_probabilities": [list(each) for each in zip(*factors, strict=True)]}
    return {}


def responses_told(
    policy: TextPolicy,
    responses: Sequence[Response],
    logprobs: Tensor,
    values: Tensor,
    ref_logprobs: Tensor | None = None,
    advantages: Tensor | None = None,
) -> list[Choice]:
    """What stood behind the tokens of B responses; tensors are (N,), over all their tokens."""
    figures = {"logprob": logprobs, "value": values}
    if ref_logprobs is not None:
        figures["reference_logprob"] = ref_logprobs
    if advantages is not None:
        figures["advantage"] = advantages
    lengths = [len(response.response) for response in responses]
    parts = {name: torch.split(each, lengths) for name, each in figures.items()}
    return [
        _response_told(policy, response, {name: part[i] for name, part in parts.items()})
        for i, response in enumerate(responses)
    ]


def _response_told(policy: TextPolicy, response: Response, figures: dict[str, Tensor]) -> Choice:
    numbers = {name: each.tolist() for name, each in figures.items()}
    advantages, log_ratio = numbers.get("advantage"), None
    if "reference_logprob" in figures:
        log_ratio = float((figures["logprob"] - figures["reference_logprob"]).sum())
    texts = policy.prompts.token_texts(response.response)
    return Choice(
        action=policy.text_of(response),
        value=numbers["value"][0],
        log_ratio=log_ratio,
        advantage=None if advantages is None else advantages[0],
        tokens=[
            {"text": text, **{name: round(each[i], DIGITS) for name, each in numbers.items()}}
            for i, text in enumerate(texts)
        ],
    )


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
        if self.reference is None:
            return decisions_told(distribution, actions, values)
        theirs = self.policy.rebuild(self.reference.stored_for(self.policy, batch))
        return decisions_told(distribution, actions, values, theirs, self.reference.left_out)

    def values(
        self, observations: Sequence[Any], infos: Sequence[Mapping[str, Any]]
    ) -> list[float]:
        """The value head's."""
        batch = self.policy.encode(observations, [info.get(MASK) for info in infos])
        return self.policy.evaluate(batch).values.tolist()


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
        values = policy.values_of(responses)
        if self.reference is None:
            logprobs = torch.cat([response.logprobs for response in responses])
            return responses_told(policy, responses, logprobs, values)
        logprobs = policy.evaluate(responses).logprobs
        with policy.lent_to(self.reference):
            ref_logprobs = policy.evaluate(responses).logprobs
        return responses_told(policy, responses, logprobs, values, ref_logprobs)

    def values(
        self, observations: Sequence[Any], infos: Sequence[Mapping[str, Any]]
    ) -> list[float]:
        """The value head's, before the first token."""
        return self.policy.first_values(self.policy.encode(observations)).tolist()


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
