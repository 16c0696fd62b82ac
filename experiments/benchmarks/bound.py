"""A bound: the matrix products of this project's network alone, for as many decisions.

Each product runs into memory that is there already. What is left out: looking vectors up,
activations, softmax, loss, optimizer, environment and Python.
"""

from __future__ import annotations

import torch
from contest import Clock, Figures, Settings, contender_main
from rows import WIDTH
from torch import Tensor

from strategy_rl.policy.heads import NUM_STATISTICS

SIZE = 64  # projection and hidden layers
PAIRS = 7  # six of words, one cosine


class Products:
    """The products of a batch: each layer's forward, and backward into weights and inputs."""

    def __init__(self, batch: int, settings: Settings) -> None:
        choices = batch * settings.num_candidates
        embeddings = [] if settings.freeze_projections else [(batch, WIDTH), (choices, WIDTH)]
        # (rows, inputs, outputs) of layers whose inputs are data, and of those that pass on.
        data = [(n, width, SIZE) for n, width in embeddings]
        data += [(choices, PAIRS, SIZE), (choices, PAIRS, 1), (batch, NUM_STATISTICS + SIZE, SIZE)]
        inner = [(choices, SIZE, SIZE), (choices, SIZE, 1), (batch, SIZE, SIZE), (batch, SIZE, 1)]
        self.forward = [_product(n, i, o) for n, i, o in data + inner]
        self.backward = [_product(i, n, o, transposed=True) for n, i, o in data + inner]
        self.backward += [_product(n, o, i) for n, i, o in inner]
        query, keys = torch.rand(batch, SIZE, 1), torch.rand(batch, settings.num_candidates, SIZE)
        self.match = keys, query, torch.empty(batch, settings.num_candidates, 1)

    def run(self, *, backward: bool) -> None:
        """All of them once."""
        keys, query, scores = self.match
        torch.bmm(keys, query, out=scores)
        for left, right, out in self.forward + (self.backward if backward else []):
            torch.mm(left, right, out=out)
        if backward and not self.frozen:
            ...
