"""The policy networks: embeddings of texts and numbers in, a distribution and a value out.

Two networks, chosen by the observation: `CandidateNetwork` scores what an observation offers,
`VectorNetwork` serves action spaces that stay the same. Both know tensors, not environments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from strategy_rl.policy.distributions import (
    ILLEGAL,
    ActionSpec,
    Categorical,
    Distribution,
    MultiCategorical,
    SquashedGaussian,
)
from strategy_rl.policy.heads import (
    NUM_STATISTICS,
    CandidateScorer,
    ContextProjection,
    mlp,
    orthogonal,
    score_statistics,
)
from strategy_rl.policy.observations import ObservationBatch
from strategy_rl.policy.spaces import ObservationSpec

FRESH_GAIN = 0.1  # of the context: a fresh policy is near uniform

Embed = Callable[[Tensor], Tensor]  # ids (...,) to unit-RMS embeddings (..., D), zeros for NO_TEXT
Representation = tuple[Tensor, ...]  # each (B, ...): what a network makes of an observation's texts


class PolicyOutput(NamedTuple):
    """What a network says about a batch."""

    distribution: Distribution
    values: Tensor  # (B,)


class Choice(NamedTuple):
    """All but the values: they are not needed to act, so a rollout has them made in one go."""

    distribution: Distribution
    evidence: tuple[Tensor, ...]  # each (B, ...): what `values` reads, detached from the policy


@dataclass(frozen=True)
class NetworkSizes:
    """The shape of a network, as the experiment file gives it."""

    embedding_size: int
    num_pairs: int
    projection_size: int = 64
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    init_log_std: float = 0.0


class NumberNormalizer(nn.Module):
    """Running mean and standard deviation of the numbers; the identity until it is updated."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.variance: Tensor
        self.count: Tensor
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(size, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, numbers: Tensor) -> Tensor:
        """(B, M) to (B, M); clipped to ten standard deviations once updated."""
        if not self.count:
            return numbers
        scaled = (numbers - self.mean) / (self.variance + 1e-8).sqrt()
        return scaled.clamp(-10, 10).to(numbers.dtype)

    @torch.no_grad()
    def update(self, numbers: Tensor) -> None:
        """Merge a batch (B, M) into the moments (Chan et al. 1979)."""
        batch = numbers.double()
        size, total = len(batch), self.count + len(batch)
        shift = batch.mean(0) - self.mean
        squares = (
            self.variance * self.count
            + batch.var(0, unbiased=False) * size
            + shift.square() * self.count * size / total
        )
        self.mean += shift * size / total
        self.variance.copy_(squares / total)
        self.count.copy_(total)


class CandidateNetwork(nn.Module):
    """Scores the candidates of an observation; special actions are odds against answering at all.

    The special and value heads read detached statistics of the scores, the numbers and the
    context, so that neither can bend the scorer. Where a task gives numbers of each candidate, both
    also read what these and the pair features are likely to be for the candidate taken.
    """

    def __init__(self, spec: ObservationSpec, action: ActionSpec, sizes: NetworkSizes) -> None:
        super().__init__()
        self.spec, self.action = spec, action
        size, numbers = sizes.projection_size, spec.num_numbers
        self.normalizer = NumberNormalizer(numbers)
        self.context_projection = ContextProjection(
            spec.num_slots, sizes.embedding_size, size, gain=FRESH_GAIN
        )
        self.candidate_projection = orthogonal(sizes.embedding_size, size, 1.0, bias=False)
        if spec.num_slots:  # the bilinear score begins as a likeness to the last turn
            with torch.no_grad():
                last = self.context_projection.slots[-1]
                assert isinstance(last, nn.Linear)
                last.weight.copy_(FRESH_GAIN * self.candidate_projection.weight)
        pairs = sizes.num_pairs + spec.num_candidate_features
        self.scorer = CandidateScorer(
            size, pairs, numbers, sizes.hidden_sizes[1:], sizes.activation
        )
        expected = pairs if spec.num_candidate_features else 0
        heads = [NUM_STATISTICS + numbers + expected, *sizes.hidden_sizes]
        self.special_head = (
            mlp([*heads, action.num_special], sizes.activation, 0.01)
            if action.num_special
            else None
        )
        self.value_head = mlp([heads[0] + size, *sizes.hidden_sizes, 1], sizes.activation, 0.0)
        self.dropout = nn.Dropout(0.0)

    def represent(self, batch: ObservationBatch, embed: Embed) -> Representation:
        """Context (B, H) and candidates (B, K, H), zeros where there is none."""
        query = self.context_projection(self.dropout(embed(batch.context)))
        offered = batch.candidates >= 0
        if offered.all():
            return query, self.candidate_projection(self.dropout(embed(batch.candidates)))
        keys = self.candidate_projection(self.dropout(embed(batch.candidates[offered])))
        padded = keys.new_zeros(*offered.shape, keys.shape[-1])
        padded[offered] = keys
        return query, padded

    def values(self, numbers: Tensor, query: Tensor, scores: Tensor, *rest: Tensor) -> Tensor:
        """The value head on the evidence of a choice, to (B,).

        Args:
            numbers: (B, M), normalised; with the expected pair features, where they are read.
            query: (B, H), the projected context.
            scores: (B, K), masked; or their statistics (B, 8), where a choice has made them.
            rest: Log-softmax and mask of the scores, (B, K), where it has not.
        """
        statistics = score_statistics(scores, *rest) if rest else scores
        features = torch.cat([statistics, numbers, query], -1)
        return cast(Tensor, self.value_head(features).squeeze(-1))

    def decide(self, batch: ObservationBatch, representation: Representation) -> Choice:
        """A distribution over K + S actions."""
        query, keys = representation
        numbers = self.normalizer(batch.numbers)
        num_candidates = self.spec.max_candidates
        mask = batch.mask[:, :num_candidates]
        scores = self.scorer(query, keys, batch.pairs, numbers, self.dropout)
        masked = torch.where(mask, scores, ILLEGAL)
        logprobs = masked.log_softmax(-1)
        if self.spec.num_candidate_features:
            probs = logprobs.detach().exp()
            expected = torch.einsum("bk,bkp->bp", probs, batch.pairs)
            numbers = torch.cat([numbers, expected], -1)
        known = numbers, query.detach()
        scored = masked.detach(), logprobs.detach(), mask
        if self.special_head is None:
            return Choice(Categorical(logprobs), (*known, *scored))
        statistics = score_statistics(*scored)
        special = self.special_head(torch.cat([statistics, numbers], -1))
        logits = torch.cat([logprobs, special], -1)
        return Choice(Categorical.from_logits(logits, batch.mask), (*known, statistics))

    def contrastive_logits(
        self, batch: ObservationBatch, actions: Tensor, embed: Embed
    ) -> Tensor | None:
        """Context i against the expert's candidate of row j, (B', B'); None below two rows."""
        rows = (actions < self.spec.max_candidates).nonzero().squeeze(-1)
        if len(rows) < 2 or not self.spec.num_slots:
            return None
        chosen = batch.candidates[rows, actions[rows]]
        query = self.context_projection(self.dropout(embed(batch.context[rows])))
        keys = self.candidate_projection(self.dropout(embed(chosen)))
        logits = query @ keys.T * self.scorer.scale
        return cast(Tensor, logits * torch.exp(-self.scorer.log_temperature))

    def shift_special(self, shift: Tensor) -> None:
        """Add (S,) to the log-odds of the special actions."""
        assert self.special_head is not None
        bias = self.special_head[-1].bias
        assert isinstance(bias, Tensor)
        with torch.no_grad():
            bias += shift

    def projection_parameters(self) -> Iterator[nn.Parameter]:
        """What turns embeddings into projections."""
        yield from self.context_projection.parameters()
        yield from self.candidate_projection.parameters()

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Special and value heads, which PPO may train at another rate."""
        if self.special_head is not None:
            yield from self.special_head.parameters()
        yield from self.value_head.parameters()


class VectorNetwork(nn.Module):
    """Texts and numbers to a fixed action space; policy and value have trunks of their own."""

    def __init__(self, spec: ObservationSpec, action: ActionSpec, sizes: NetworkSizes) -> None:
        super().__init__()
        self.spec, self.action = spec, action
        self.normalizer = NumberNormalizer(spec.num_numbers)
        size = sizes.projection_size if spec.num_slots else 0
        self.projections = nn.ModuleList(
            orthogonal(sizes.embedding_size, size, 1.0) for _ in range(spec.num_slots)
        )
        inputs = spec.num_numbers + size * spec.num_slots
        trunk = [inputs, *sizes.hidden_sizes]
        self.policy_head = mlp([*trunk, action.num_logits], sizes.activation, 0.01)
        self.value_head = mlp([*trunk, 1], sizes.activation, 0.0)
        self.log_std = (
            nn.Parameter(torch.full((action.num_logits,), sizes.init_log_std))
            if action.kind == "box"
            else None
        )
        self.dropout = nn.Dropout(0.0)

    def values(self, inputs: Tensor) -> Tensor:
        """The value head, (B, F) to (B,)."""
        return cast(Tensor, self.value_head(inputs).squeeze(-1))

    def represent(self, batch: ObservationBatch, embed: Embed) -> Representation:
        """One projection (B, H) a slot of text."""
        if not len(self.projections):
            return ()
        slots = self.dropout(embed(batch.context)).unbind(1)
        return tuple(layer(slot) for layer, slot in zip(self.projections, slots, strict=True))

    def decide(self, batch: ObservationBatch, representation: Representation) -> Choice:
        """A distribution over the action space."""
        inputs = self.normalizer(batch.numbers)
        if representation:
            inputs = torch.cat([*representation, inputs], -1)
        outputs = self.policy_head(self.dropout(inputs))
        return Choice(self._distribution(outputs, batch.mask), (inputs.detach(),))

    def _distribution(self, outputs: Tensor, mask: Tensor) -> Distribution:
        if self.log_std is not None:
            stored = torch.cat([outputs, self.log_std.expand_as(outputs)], -1)
            return SquashedGaussian(stored, self.action)
        if self.action.kind == "multi":
            return MultiCategorical.from_logits(outputs, mask, self.action.sizes)
        return Categorical.from_logits(outputs, mask)

    def contrastive_logits(
        self, batch: ObservationBatch, actions: Tensor, embed: Embed
    ) -> Tensor | None:
        """Nothing to contrast: the actions have no texts."""
        return None

    def shift_special(self, shift: Tensor) -> None:
        """Add (S,) to the logits of the special actions."""
        bias = self.policy_head[-1].bias
        assert isinstance(bias, Tensor)
        with torch.no_grad():
            bias[-len(shift) :] += shift

    def projection_parameters(self) -> Iterator[nn.Parameter]:
        """What turns embeddings into projections."""
        yield from self.projections.parameters()

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """The value head."""
        yield from self.value_head.parameters()


PolicyNetwork = CandidateNetwork | VectorNetwork


def build_network(spec: ObservationSpec, action: ActionSpec, sizes: NetworkSizes) -> PolicyNetwork:
    """The network for these spaces."""
    kind = CandidateNetwork if spec.max_candidates else VectorNetwork
    return kind(spec, action, sizes)
