"""How tokens are drawn. Pure functions of tensors; B rows, V tokens of the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strategy_rl.errors import DivergenceError

_FIRST_LOOK = 256  # most probable tokens that are sorted before more are
_LOOK_FACTOR = 8
_LOOK_SHARE = 16  # a larger share of the vocabulary is sorted as fast whole


@dataclass(frozen=True)
class Sampling:
    """The distribution that responses are drawn from, and that log-probabilities are of.

    Attributes:
        temperature: Scores are divided by it.
        top_k: Draw among so many most probable tokens; 0: all.
        top_p: Draw among the fewest tokens that hold this much probability, in (0, 1].
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


def kept_tokens(logits: Tensor, sampling: Sampling) -> Tensor | None:
    """Tokens that may be drawn, bool (B, V), at least one a row; None where nothing is cut.

    Of tokens with the same score those of lower ids are kept first, so that a row's set depends on
    nothing but its scores.

    Args:
        logits: Float32 (B, V), already divided by the temperature.
        sampling: Where it is cut: by `top_k` first, by `top_p` among what is left.
    """
    vocabulary = logits.shape[-1]
    cuts_k = 0 < sampling.top_k < vocabulary
    if cuts_k:
        ordered = logits.topk(sampling.top_k).values
        total = ordered.double().logsumexp(-1)
    elif sampling.top_p < 1:
        total = logits.double().logsumexp(-1)
        ordered = _enough(logits, total, sampling.top_p)
    else:
        return None
    counts = torch.full_like(ordered[:, 0], sampling.top_k, dtype=torch.long)
    if sampling.top_p < 1:
        held = (ordered.double() - total[:, None]).exp().cumsum(-1)
        counts = ((held < sampling.top_p).sum(-1) + 1).clamp(max=ordered.shape[-1])
    return _largest(logits, ordered, counts)


def _enough(logits: Tensor, total: Tensor, top_p: float) -> Tensor:
    """The most probable tokens' scores in order, (B, n), as many as hold `top_p` in every row.

    Few tokens hold most of it, and to sort few of a large vocabulary is far cheaper than all.
    """
    look, vocabulary = _FIRST_LOOK, logits.shape[-1]
    while look * _LOOK_SHARE <= vocabulary:
        ordered = logits.topk(look).values
        if bool((ordered.double().logsumexp(-1) - total).exp().min() >= top_p):
            return ordered
        look *= _LOOK_FACTOR
    return logits.sort(dim=-1, descending=True).values


def _largest(logits: Tensor, ordered: Tensor, counts: Tensor) -> Tensor:
    """The `counts` (B,) largest scores of each row as bools (B, V)."""
    least = ordered.gather(1, counts[:, None] - 1)
    above, equal = logits > least, logits == least
    room = counts - above.sum(-1)
    if bool((equal.sum(-1) > room).any()):
        equal &= equal.cumsum(-1) <= room[:, None]
    return above | equal


def draw(logits: Tensor, uniforms: Tensor, kept: Tensor | None) -> Tensor:
    """One token a row by the inverse of the cumulative distribution, int64 (B,).

    A row's draw depends on its own scores and number alone. Probabilities are summed in float64:
    in float32 the tail of a large vocabulary would be lost.

    Args:
        logits: Float32 (B, V), already divided by the temperature.
        uniforms: (B,) in [0, 1).
        kept: As `kept_tokens` gives it.

    Raises:
        DivergenceError: Scores are not finite.
    """
    if kept is not None:
        logits = logits.masked_fill(~kept, -torch.inf)
    cumulative = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1]
    if not bool(total.isfinite().all()):
        row = int((~total.isfinite()).nonzero()[0])
        raise DivergenceError(
            f"row {row} of {len(logits)}: the model's scores of the next token are not finite; "
            "lower the learning rate, or look for weights that are not finite"
        )
    # Strictly below the total for every uniform below 1, so the first sum above it exists and
    # its token has a probability.
    wanted = uniforms.double() * total
    return torch.searchsorted(cumulative, wanted[:, None], right=True).squeeze(-1)


def pack(kept: Tensor) -> Tensor:
    """Bools (B, V) as bits, uint8 (B, ceil(V / 8))."""
    padded = torch.nn.functional.pad(kept, (0, -kept.shape[-1] % 8))
    bits = padded.reshape(*padded.shape[:-1], -1, 8).to(torch.uint8)
    places = torch.arange(8, dtype=torch.uint8, device=kept.device)
    packed: Tensor = (bits << places).sum(-1, dtype=torch.uint8)
    return packed


def unpack(packed: Tensor, vocabulary: int) -> Tensor:
    """The inverse of `pack`: bools (B, `vocabulary`)."""
    numbers = torch.arange(256, device=packed.device)[:, None]
    bits = ((numbers >> torch.arange(8, device=packed.device)) & 1).to(torch.uint8)
    eights = bits.view(torch.int64).squeeze(1)  # eight bools in one number: one look-up a byte
    return eights[packed.int()].view(torch.bool)[..., :vocabulary]
