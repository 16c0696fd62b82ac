"""Small building blocks of policy networks. Knows tensors only.

Shapes: B observations, K candidates at most, D embedding, H projection, P pair features, M numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

NUM_STATISTICS = 8


class Tanh(nn.Module):
    """tanh in the memory of its input: the output of a linear layer, which nothing else reads."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x.tanh_()


ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": Tanh, "relu": nn.ReLU, "gelu": nn.GELU}


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
        parts = [layer(embeddings[:, i]) for i, layer in enumerate(self.slots)]
        return cast(Tensor, sum(parts[1:], start=parts[0]))


class CandidateScorer(nn.Module):
    """Scores each candidate from its own projection, the context's, their pair and the numbers.

    A candidate's score never depends on the other candidates, on their order or on padding.
    """

    def __init__(
        self, size: int, num_pairs: int, num_numbers: int, hidden: Sequence[int], activation: str
    ) -> None:
        super().__init__()
        self.scale = size**-0.5
        self.pairs = orthogonal(num_pairs, size, 1.0, bias=False) if num_pairs else None
        self.numbers = orthogonal(num_numbers, size, 1.0, bias=False) if num_numbers else None
        self.bias = nn.Parameter(torch.zeros(size))
        self.activation = ACTIVATIONS[activation]()
        self.hidden = mlp([size, *hidden, 1], activation, last_gain=0.01)
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
            features += self.pairs(pairs)
        # Flat, so that no layer's output is a view: what is done in place would copy its gradient.
        hidden = self.hidden(dropout(self.activation(features)).flatten(0, 1))
        scores = hidden.view(*keys.shape[:2], 1)
        scores = torch.baddbmm(scores, keys, query[:, :, None], alpha=self.scale)
        if self.linear is not None:
            scores = scores + self.linear(pairs)
        return cast(Tensor, scores.squeeze(-1) * torch.exp(-self.log_temperature))


def score_statistics(scores: Tensor, logprobs: Tensor, mask: Tensor) -> Tensor:
    """How sure the scorer is: masked scores, their log-softmax and the mask, (B, K), to (B, 8).

    Top three probabilities, margin, entropy, best score, log-sum-exp above it, log count. All are
    0 where no candidate is legal.
    """
    best = logprobs.topk(min(3, logprobs.shape[-1]), dim=-1).values
    top = nn.functional.pad(best.exp(), (0, 3 - best.shape[-1]))
    entropy = torch.special.entr(logprobs.exp()).sum(-1)
    highest = scores.amax(-1).clamp(-20, 20) / 4
    count = mask.sum(-1, keepdim=True)
    columns = torch.stack([top[:, 0] - top[:, 1], entropy, highest, -best[:, 0]], -1)
    statistics = torch.cat([top, columns, count.log()], -1)
    return statistics.masked_fill_(count == 0, 0.0)
