"""A bound: the matrix products of this project's network alone, for as many decisions.

Each product writes to memory that is there already. Left out: looking vectors up, activations,
softmax, loss, optimizer, environment and Python itself.
"""

from __future__ import annotations

import torch
from contest import Clock, Figures, Settings, contender_main
from rows import WIDTH
from torch import Tensor

from strategy_rl.policy.heads import NUM_STATISTICS

SIZE = 64  # of the projections and of every hidden layer
NUM_PAIRS = 7  # six of words, one cosine

Product = tuple[Tensor, Tensor, Tensor]  # left, right, where the result goes


class Products:
    """The products of one batch: forward, and backward to weights and to what has a gradient."""

    def __init__(self, batch: int, settings: Settings) -> None:
        choices = batch * settings.num_candidates
        # (rows, inputs, outputs): layers that read data, then layers that read other layers.
        first = [(batch, NUM_STATISTICS + SIZE, SIZE)]
        if not settings.freeze_projections:
            first += [(batch, WIDTH, SIZE), (choices, WIDTH, SIZE)]
        if settings.pair_features:
            first += [(choices, NUM_PAIRS, SIZE), (choices, NUM_PAIRS, 1)]
        inner = [(choices, SIZE, SIZE), (choices, SIZE, 1), (batch, SIZE, SIZE), (batch, SIZE, 1)]
        self.forward = [_product(n, i, o) for n, i, o in first + inner]
        self.forward.append(_product(batch, settings.num_candidates, SIZE, 1))  # keys x query
        self.backward = [_product(i, n, o) for n, i, o in first + inner]
        self.backward += [_product(n, o, i) for n, i, o in inner]
        self.backward.append(_product(batch, SIZE, settings.num_candidates, 1))
        if not settings.freeze_projections:
            self.backward.append(_product(batch, settings.num_candidates, 1, SIZE))

    def run(self, *, backward: bool) -> None:
        """All of them once."""
        for left, right, out in self.forward + (self.backward if backward else []):
            torch.matmul(left, right, out=out)


def _product(*shape: int) -> Product:
    """Matrices for (..., n, i) x (..., i, o)."""
    *batch, n, i, o = shape
    return torch.rand(*batch, n, i), torch.rand(*batch, i, o), torch.empty(*batch, n, o)


def measure(settings: Settings) -> Figures:
    """Time the products of as many rounds."""
    torch.set_num_threads(1)
    deciding = Products(settings.num_envs, settings)
    learning = Products(settings.minibatch_size, settings)
    clock = Clock(settings.decisions)
    for _ in range(settings.iterations):
        for _ in range(settings.num_steps):
            deciding.run(backward=False)
        for _ in range(settings.epochs * settings.decisions // settings.minibatch_size):
            learning.run(backward=True)
        clock.round_over()
    return clock.figures()


if __name__ == "__main__":
    contender_main(measure)
