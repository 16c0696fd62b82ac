"""A rollout of texts: one decision a token. Knows a text policy and environments' answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from strategy_rl.generation import Response, TextPolicy
from strategy_rl.rollout import Record, Rollout, Slot, following_values


@dataclass(frozen=True, kw_only=True)
class TokenRollout(Rollout):
    """N tokens, response after response.

    Attributes:
        responses: In the order they were written.
        owners: (N,) which response each token belongs to.
        weights: (N,) truncated importance weights of tokens that another distribution drew.
        ref_logprobs: (N,) under the reference, where it has judged.
        num_cut: How many prompts were too long and cut.
    """

    responses: tuple[Response, ...]
    owners: Tensor
    weights: Tensor
    ref_logprobs: Tensor | None = None
    num_cut: int = 0

    def decisions_of(self, transitions: Sequence[int]) -> Tensor:
        """Where the tokens of some responses are, (M,) int64 ascending."""
        wanted = torch.tensor(transitions, device=self.owners.device)
        return torch.isin(self.owners, wanted).nonzero().squeeze(-1)

    def least_logprobs(self) -> Tensor:
        """Of each response's tokens the least log-probability, (responses,)."""
        least = self.logprobs.new_zeros(len(self.responses))
        return least.scatter_reduce(0, self.owners, self.logprobs, "amin", include_self=False)

    def at(self, places: Tensor) -> Self:
        """Some of the tokens alone, whole responses of them."""
        rest = super().at(places)
        numbers, owners = torch.unique(rest.owners, return_inverse=True)
        kept = tuple(self.responses[i] for i in numbers.tolist())
        return replace(rest, responses=kept, owners=owners)

    def without_observations(self) -> Self:
        """Its responses have no states of the model."""
        bare = (
            replace(response, states=None, trunk=None, encoded=None, kept=None)
            for response in self.responses
        )
        return replace(self, responses=tuple(bare))

    def figures(self) -> dict[str, float]:
        """What the responses are like."""
        lengths = np.array([len(response.response) for response in self.responses])
        ended = np.array([response.ended for response in self.responses])
        pairs = [p for r in self.responses for p in pairwise(r.response)]
        return {
            "rollout/response_tokens_mean": float(lengths.mean()),
            "rollout/response_tokens_std": float(lengths.std()),
            "rollout/ended_share": float(ended.mean()),
            "rollout/distinct_2": len(set(pairs)) / max(len(pairs), 1),
            "rollout/prompts_cut": float(self.num_cut),
        }

    @property
    def last_tokens(self) -> Tensor:
        """(B,) index of the last token of each response."""
        lengths = [len(r.response) for r in self.responses]
        return torch.tensor(lengths, device=self.owners.device).cumsum(0) - 1


@dataclass
class TokenRecord(Record):
    """What is being played by a policy that writes."""

    responses: list[Response] = field(default_factory=list)
    num_cut: int = 0

    def decide(
        self, policy: TextPolicy, slots: Sequence[Slot], rng: np.random.Generator | None
    ) -> list[str]:
        """Write one response for each slot, sampled or (without `rng`) greedy."""
        cut_before = policy.prompts.num_truncated
        prompts = policy.encode([slot.obs for slot in slots])
        self.num_cut += policy.prompts.num_truncated - cut_before
        size = len(prompts), policy.spec.max_new_tokens
        uniforms = None if rng is None else rng.random(size)
        written = policy.generate(prompts, uniforms)
        self.responses += written
        return [policy.text_of(response) for response in written]

    @torch.no_grad()
    def finish(self, policy: TextPolicy) -> Rollout:
        """Spread the steps over their tokens: rewards and ends belong to the last of each."""
        counts = torch.tensor([len(response.response) for response in self.responses])
        last = counts.cumsum(0) - 1
        owners = torch.arange(len(counts)).repeat_interleave(counts)
        columns = torch.tensor(self.columns)[owners]
        steps = _places(columns)
        values = policy.values_of(self.responses)

        def at_last(figures: Sequence[Any], dtype: torch.dtype) -> Tensor:
            spread = torch.zeros(len(owners), dtype=dtype)
            spread[last] = torch.tensor(figures, dtype=dtype)
            return spread.to(policy.device)

        terminations = at_last(self.terminations, torch.bool)
        next_values = following_values(values, steps, columns, terminations)
        if self.cut:
            places, observations, _ = zip(*self.cut, strict=True)
            following = policy.first_values(policy.encode(observations))
            next_values[last[torch.tensor(places)].to(policy.device)] = following
        logprobs = torch.cat([response.logprobs for response in self.responses])
        rollout = TokenRollout(
            responses=tuple(self.responses),
            owners=owners.to(policy.device),
            logprobs=logprobs,
            weights=torch.ones_like(logprobs),
            values=values,
            next_values=next_values,
            rewards=at_last(self.rewards, torch.float32),
            terminations=terminations,
            truncations=at_last(self.truncations, torch.bool),
            steps=steps.to(policy.device),
            columns=columns.to(policy.device),
            num_cut=self.num_cut,
            **self.episodes(),
        )
        return rollout.without(self.dropped) if self.dropped else rollout


def _places(columns: Tensor) -> Tensor:
    """How many earlier entries are of the same column, (N,)."""
    places = torch.empty_like(columns)
    for column in torch.unique(columns):
        here = (columns == column).nonzero().squeeze(-1)
        places[here] = torch.arange(len(here))
    return places
