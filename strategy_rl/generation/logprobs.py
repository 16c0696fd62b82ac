"""Log-probabilities of chosen tokens without a table of all of them. Pure functions of tensors.

N tokens, H hidden size, V tokens of the vocabulary. At no time is there a tensor of (N, V): rows
are taken in chunks, and what the backward pass needs of a chunk is one vector of H numbers a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from strategy_rl.generation.sampling import unpack

NEVER = -1e9  # finite: 0 * -inf would be NaN


@dataclass(frozen=True)
class Head:
    """What turns states into the scores of all tokens, in float32 whatever it is stored in.

    Attributes:
        weight: (V, H).
        bias: (V,) or None.
        scale: States are multiplied by it first.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0

    @property
    def learns(self) -> bool:
        """Whether it needs a gradient."""
        return self.weight.requires_grad or (self.bias is not None and self.bias.requires_grad)

    def logits(self, hidden: Tensor) -> Tensor:
        """(N, H) to (N, V)."""
        bias = None if self.bias is None else self.bias.float()
        return torch.nn.functional.linear(hidden.float() * self.scale, self.weight.float(), bias)


class TokenLogprobs(NamedTuple):
    """Of each chosen token, (N,), and the entropy of the distribution it was chosen from, (N,)."""

    logprobs: Tensor
    entropy: Tensor


def token_logprobs(
    hidden: Tensor,
    head: Head,
    tokens: Tensor,
    *,
    temperature: float = 1.0,
    kept: Tensor | None = None,
    chunk_rows: int = 64,
    entropy_gradient: bool = False,
) -> TokenLogprobs:
    """Log-softmax of the scores over the temperature, at the chosen tokens.

    Args:
        hidden: (N, H); its gradient is exact.
        head: Its gradient too, where it learns: the scores are then computed again in the
            backward pass. Where it does not, nothing is.
        tokens: (N,) int64.
        temperature: What scores are divided by.
        kept: (N, V/8) packed: the tokens that could be drawn; the softmax runs over them.
        chunk_rows: Rows of scores that exist at a time.
        entropy_gradient: Let the entropy have a gradient, by computing again.
    """
    if head.learns or entropy_gradient:
        chunks = _chunks(hidden, tokens, kept, chunk_rows)
        parts = [
            checkpoint(_dense, h, head, t, temperature, k, use_reentrant=False)
            for h, t, k in chunks
        ]
        logprobs, entropy = (torch.cat(part) for part in zip(*parts, strict=True))
        return TokenLogprobs(logprobs, entropy if entropy_gradient else entropy.detach())
    apply: Any = _FrozenHead.apply
    return TokenLogprobs(*apply(hidden, head, tokens, temperature, kept, chunk_rows))


def _chunks(
    hidden: Tensor, tokens: Tensor, kept: Tensor | None, rows: int
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    for start in range(0, len(tokens), rows):
        part = slice(start, start + rows)
        yield hidden[part], tokens[part], None if kept is None else kept[part]


def _logs(hidden: Tensor, head: Head, temperature: float, kept: Tensor | None) -> Tensor:
    """Log-probabilities of all tokens, (rows, V)."""
    logits = head.logits(hidden)
    if temperature != 1:
        logits = logits / temperature
    if kept is not None:
        logits = logits.masked_fill(~unpack(kept, logits.shape[-1]), NEVER)
    return logits.log_softmax(-1)


def _dense(
    hidden: Tensor, head: Head, tokens: Tensor, temperature: float, kept: Tensor | None
) -> tuple[Tensor, Tensor]:
    logs = _logs(hidden, head, temperature, kept)
    entropy = -(logs.exp() * logs).sum(-1)
    return logs.gather(1, tokens[:, None]).squeeze(1), entropy


class _FrozenHead(torch.autograd.Function):
    """The gradient of a row is (W[token] - sum over v of p(v) W[v]) times what comes from above.

    It is made in the forward pass while p is at hand.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Head,
        tokens: Tensor,
        temperature: float,
        kept: Tensor | None,
        chunk_rows: int,
    ) -> tuple[Tensor, Tensor]:
        logprobs = hidden.new_empty(len(tokens), dtype=torch.float32)
        entropy = torch.empty_like(logprobs)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        weight = head.weight.float()
        done = 0
        for states, chosen, chunk_kept in _chunks(hidden, tokens, kept, chunk_rows):
            rows = slice(done, done + len(chosen))
            done = rows.stop
            logs = _logs(states, head, temperature, chunk_kept)
            probs = logs.exp()
            logprobs[rows] = logs.gather(1, chosen[:, None]).squeeze(1)
            entropy[rows] = -(probs * logs).sum(-1)
            if gradient is not None:
                gradient[rows] = (weight[chosen] - probs @ weight) * (head.scale / temperature)
        ctx.gradient = gradient
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, from_logprobs: Tensor, from_entropy: Tensor) -> Any:
        return from_logprobs[:, None] * ctx.gradient, None, None, None, None, None
