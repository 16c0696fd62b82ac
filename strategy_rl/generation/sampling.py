"""How tokens are drawn. Pure functions of tensors; B rows, V tokens of the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """The distribution that responses are drawn from, and that log-probabilities are of.

    Attributes:
        temperature: Scores are divided by it.
        top_k: Draw among so many most probable tokens; 0: all.
        top_p: Draw among the fewest tokens that hold this much probability.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


def kept_tokens(logits: Tensor, sampling: Sampling) -> Tensor | None:
    """Tokens that may be drawn, bool (B, V), at least one a row; None where nothing is cut.

    Args:
        logits: Float32 (B, V), already divided by the temperature.
        sampling: Where it is cut: by `top_k` first, by `top_p` among what is left.
    """
    kept: Tensor | None = None
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[:, -1:]
        kept = logits >= least
        logits = logits.masked_fill(~kept, -torch.inf)
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probs = ordered.softmax(-1)
        before = probs.cumsum(-1) - probs
        chosen = (before < sampling.top_p) & (probs > 0)
        chosen[:, 0] = True
        kept = torch.zeros_like(chosen).scatter(1, order, chosen)
    return kept


def draw(logits: Tensor, uniforms: Tensor, kept: Tensor | None) -> Tensor:
    """One token a row by the inverse of the cumulative distribution, (B,).

    Args:
        logits: (B, V).
        uniforms: (B,) in [0, 1): a row's draw depends on nothing else.
        kept: As `kept_tokens` gives it.
    """
    if kept is not None:
        logits = logits.masked_fill(~kept, -torch.inf)
    cumulative = logits.double().softmax(-1).cumsum(-1)
    wanted = (uniforms.double() * cumulative[:, -1]).unsqueeze(-1)
    tokens = torch.searchsorted(cumulative, wanted, right=True).squeeze(-1)
    return tokens.clamp(max=logits.shape[-1] - 1)


def pack(kept: Tensor) -> Tensor:
    """Bools (B, V) as bits, uint8 (B, ceil(V / 8))."""
    padded = torch.nn.functional.pad(kept, (0, -kept.shape[-1] % 8))
    bits = padded.reshape(*padded.shape[:-1], -1, 8).to(torch.uint8)
    places = 2 ** torch.arange(8, dtype=torch.uint8, device=kept.device)
    return (bits * places).sum(-1, dtype=torch.uint8)


def unpack(packed: Tensor, vocabulary: int) -> Tensor:
    """The inverse of `pack`."""
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)
    bits = (packed.unsqueeze(-1) >> places) & 1
    return bits.flatten(-2)[..., :vocabulary].bool()
