"""Distributions over actions: sampling, log-probabilities, entropy and exact KL, masks included.

Each is a frozen view of one tensor `stored` of shape (batch, width), which a rollout keeps, and
from which the same distribution is built again. A mask is part of it: an illegal action has
log-probability below `ILLEGAL / 2`, probability exactly 0 and gradient exactly 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

ILLEGAL = -1e8  # finite: 0 * -inf would be NaN


@dataclass(frozen=True)
class ActionSpec:
    """What the action space is, in plain numbers."""

    kind: Literal["categorical", "multi", "box", "text"]
    sizes: tuple[int, ...]  # actions of each factor; for a box, its flat dimension
    num_special: int = 0
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    @property
    def num_logits(self) -> int:
        """Width of the mask and of the logits of a discrete space."""
        return sum(self.sizes)

    @property
    def num_draws(self) -> int:
        """Uniform numbers that one sample takes."""
        return self.sizes[0] if self.kind == "box" else len(self.sizes)


class Distribution(Protocol):
    """What PPO needs of a distribution; every result has shape (batch,) but for actions."""

    stored: Tensor

    def sample(self, uniforms: Tensor) -> Tensor:
        """Actions for given uniform numbers in [0, 1), float64, (batch, draws)."""

    def mode(self) -> Tensor:
        """The most probable action."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-probability (density for a box) of the actions."""

    def entropy(self) -> Tensor:
        """Entropy in nats."""

    def kl(self, other: Distribution, left_out: Tensor | None = None) -> Tensor:
        """Exact KL(self || other) in nats, given that no action of `left_out` is taken."""


class Categorical:
    """One choice among `size` actions. `stored` holds log-probabilities, (batch, size)."""

    def __init__(self, stored: Tensor) -> None:
        self.stored = stored

    @classmethod
    def from_logits(cls, logits: Tensor, mask: Tensor) -> Categorical:
        """Mask before the softmax, in float32."""
        logits = torch.where(mask, logits.float(), logits.new_tensor(ILLEGAL, dtype=torch.float32))
        return cls(F.log_softmax(logits, dim=-1))

    @property
    def probs(self) -> Tensor:
        """Probabilities, (batch, size); exactly 0 where illegal."""
        return self.stored.exp()

    def sample(self, uniforms: Tensor) -> Tensor:
        """Invert the cumulative distribution at the first uniform of each row."""
        cumulative = self.stored.double().exp().cumsum(-1)
        thresholds = uniforms[:, :1] * cumulative[:, -1:]
        return (cumulative <= thresholds).sum(-1).clamp(max=self.stored.shape[-1] - 1)

    def mode(self) -> Tensor:
        """The most probable action."""
        return self.stored.argmax(-1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-probability of the actions, (batch,)."""
        return self.stored.gather(-1, actions[:, None]).squeeze(-1)

    def entropy(self) -> Tensor:
        """Entropy over legal actions."""
        return -(self.probs * self.stored).sum(-1)  # an illegal action adds 0 * ILLEGAL = 0

    def kl(self, other: Distribution, left_out: Tensor | None = None) -> Tensor:
        """Exact KL over legal actions; `left_out` is bool, (size,)."""
        mine, theirs = self.stored, other.stored
        if left_out is not None:
            # With no other action legal, both are flat and the difference is 0.
            mine, theirs = (x[:, ~left_out].log_softmax(-1) for x in (mine, theirs))
        return (mine.exp() * (mine - theirs)).sum(-1)


class MultiCategorical:
    """Independent choices. `stored` holds the factors' log-probabilities side by side."""

    def __init__(self, stored: Tensor, sizes: tuple[int, ...]) -> None:
        self.stored = stored
        self.sizes = sizes

    @classmethod
    def from_logits(cls, logits: Tensor, mask: Tensor, sizes: tuple[int, ...]) -> MultiCategorical:
        """Mask and normalise each factor on its own."""
        parts = zip(
            torch.split(logits, list(sizes), -1), torch.split(mask, list(sizes), -1), strict=True
        )
        return cls(torch.cat([Categorical.from_logits(x, m).stored for x, m in parts], -1), sizes)

    @property
    def factors(self) -> list[Categorical]:
        """One distribution for each factor."""
        return [Categorical(part) for part in torch.split(self.stored, list(self.sizes), -1)]

    def sample(self, uniforms: Tensor) -> Tensor:
        """Shape (batch, factors); one uniform for each factor."""
        return torch.stack(
            [f.sample(uniforms[:, i : i + 1]) for i, f in enumerate(self.factors)], -1
        )

    def mode(self) -> Tensor:
        """Shape (batch, factors)."""
        return torch.stack([f.mode() for f in self.factors], -1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Sum over the factors."""
        logprobs = [f.log_prob(a) for f, a in zip(self.factors, actions.unbind(-1), strict=True)]
        return torch.stack(logprobs, -1).sum(-1)

    def entropy(self) -> Tensor:
        """Sum over the factors."""
        return torch.stack([f.entropy() for f in self.factors], -1).sum(-1)

    def kl(self, other: Distribution, left_out: Tensor | None = None) -> Tensor:
        """Sum over the factors; these spaces leave nothing out."""
        theirs = MultiCategorical(other.stored, self.sizes).factors
        parts = [mine.kl(their) for mine, their in zip(self.factors, theirs, strict=True)]
        return torch.stack(parts, -1).sum(-1)


class SquashedGaussian:
    """A tanh-squashed Gaussian on a box. `stored` holds means and log standard deviations.

    Actions are the squashed and scaled ones, (batch, dim). The change of variables follows
    Haarnoja et al. 2018, appendix C; the entropy is that of the Gaussian before squashing.
    """

    def __init__(self, stored: Tensor, spec: ActionSpec) -> None:
        self.stored = stored
        self.mean, log_std = stored.chunk(2, -1)
        self.log_std = log_std.clamp(-5.0, 2.0)
        low, high = (stored.new_tensor(bound) for bound in (spec.low, spec.high))
        self.centre, self.half_width = (high + low) / 2, (high - low) / 2

    def _squash(self, x: Tensor) -> Tensor:
        return self.centre + self.half_width * torch.tanh(x)

    def sample(self, uniforms: Tensor) -> Tensor:
        """One uniform for each dimension, through the Gaussian's quantile function."""
        noise = torch.special.ndtri(uniforms.clamp(1e-9, 1 - 1e-9)).to(self.mean.dtype)
        return self._squash(self.mean + self.log_std.exp() * noise)

    def mode(self) -> Tensor:
        """The squashed mean."""
        return self._squash(self.mean)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-density of the squashed actions."""
        y = ((actions - self.centre) / self.half_width).clamp(-1 + 1e-6, 1 - 1e-6)
        x = torch.atanh(y)
        z = (x - self.mean) / self.log_std.exp()
        gaussian = -0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi)
        return (gaussian - torch.log1p(-y.square()) - self.half_width.log()).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy of the Gaussian before squashing."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def kl(self, other: Distribution, left_out: Tensor | None = None) -> Tensor:
        """KL between the Gaussians; squashing both alike does not change it."""
        mean, log_std = other.stored.chunk(2, -1)
        log_std = log_std.clamp(-5.0, 2.0)
        variance_ratio = (2 * (self.log_std - log_std)).exp()
        shift = ((self.mean - mean) / log_std.exp()).square()
        return 0.5 * (variance_ratio + shift - 1 - variance_ratio.log()).sum(-1)


def rebuild(stored: Tensor, spec: ActionSpec) -> Distribution:
    """The distribution whose `stored` tensor a rollout kept."""
    if spec.kind == "categorical":
        return Categorical(stored)
    if spec.kind == "multi":
        return MultiCategorical(stored, spec.sizes)
    return SquashedGaussian(stored, spec)
