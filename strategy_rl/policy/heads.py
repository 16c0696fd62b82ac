"""Small building blocks of policy networks. Knows tensors only.

Shapes: B observations, K candidates at most, D embedding, H projection, P pair features, M numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from strategy_rl.policy.distributions import ILLEGAL

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU}
NUM_STATISTICS = 8


def orthogonal(inputs: int, outputs: int, gain: float, bias: bool = True) -> nn.Linear:
    """A linear layer, orthogonal with the given gain, bias 0 (Engstrom et al. 2020)."""
    layer = nn.Linear(inputs, outputs, bias=bias)
    nn.init.orthogonal_(layer.weight, gain)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def mlp(sizes: Sequence[int], activation: str, last_gain: float) -> nn.Sequential:
    """A perceptron; `last_gain` 0.01 makes a policy near uniform at first, 0 a value exactly 0."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes[:-1]):
        layers += [orthogonal(inputs, outputs, 2**0.5), ACTIVATIONS[activation]()]
    layers.append(orthogonal(sizes[-2], sizes[-1], last_gain))
    return nn.Sequential(*layers)


class ContextProjection(nn.Module):
    """Projects each context slot with a matrix of its own and adds them up."""

    def __init__(self, num_slots: int, embedding_size: int, size: int, gain: float) -> None:
        super().__init__()
        self.size = size
        self.slots = nn.ModuleList(
            orthogonal(embedding_size, size, gain, bias=False) for _ in range(num_slots)
        )

    def forward(self, embeddings: Tensor) -> Tensor:
        """(B, C, D) to (B, H)."""
        if not len(self.slots):
            return embeddings.new_zeros(len(embeddings), self.size)
        parts = (layer(embeddings[:, i]) for i, layer in enumerate(self.slots))
        return torch.stack(list(parts)).sum(0)


class CandidateScorer(nn.Module):
    """Scores each candidate from its own projection, the context's, their pair and the numbers.

    A candidate's score never depends on the other candidates, on their order or on padding.
    """

    def __init__(self, size: int, num_pairs: int, num_numbers: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.scale = size**-0.5
        self.pairs = orthogonal(num_pairs, size, 1.0, bias=False) if num_pairs else None
        self.numbers = orthogonal(num_numbers, size, 1.0, bias=False) if num_numbers else None
        self.bias = nn.Parameter(torch.zeros(size))
        self.hidden = mlp([size, *hidden, 1], "tanh", last_gain=0.01)
        self.linear = orthogonal(num_pairs, 1, 0.01, bias=False) if num_pairs else None
        self.log_temperature = nn.Parameter(torch.tensor(0.5).log())

    def forward(
        self, query: Tensor, keys: Tensor, pairs: Tensor, numbers: Tensor, dropout: nn.Module
    ) -> Tensor:
        """(B, H), (B, K, H), (B, K, P), (B, M) to scores (B, K)."""
        joint = query + self.bias
        if self.numbers is not None:
            joint = joint + self.numbers(numbers)
        features = joint[:, None] + keys
        if self.pairs is not None:
            features = features + self.pairs(pairs)
        scores = self.hidden(dropout(torch.tanh(features))).squeeze(-1)
        scores = scores + self.scale * torch.bmm(keys, query[:, :, None]).squeeze(-1)
        if self.linear is not None:
            scores = scores + self.linear(pairs).squeeze(-1)
        return cast(Tensor, scores * torch.exp(-self.log_temperature))


def score_statistics(scores: Tensor, mask: Tensor) -> Tensor:
    """How sure the scorer is, detached: (B, K) scores and legal candidates to (B, 8).

    Top three probabilities, margin, entropy, best score, log-sum-exp, log count. All are 0 where
    no candidate is legal.
    """
    scores = torch.where(mask, scores.detach(), scores.new_tensor(ILLEGAL))
    logprobs = scores.log_softmax(-1)
    probs = logprobs.exp()
    top = probs.topk(min(3, probs.shape[-1]), dim=-1).values
    top = nn.functional.pad(top, (0, 3 - top.shape[-1]))
    entropy = -(probs * logprobs.clamp(min=ILLEGAL / 2)).sum(-1)
    best = scores.max(-1).values
    spread = scores.logsumexp(-1) - best
    count = mask.sum(-1).clamp(min=1).log()
    columns = (top[:, 0] - top[:, 1], entropy, best.clamp(-20, 20) / 4, spread, count)
    statistics = torch.cat([top, torch.stack(columns, -1)], -1)
    return torch.where(mask.any(-1, keepdim=True), statistics, torch.zeros_like(statistics))
