"""Log-probabilities of chosen tokens and entropies, chunk by chunk. Pure functions of tensors.

No tensor of all rows and the whole vocabulary is ever made. Shapes: N tokens, H hidden size,
V vocabulary. With z = logits / T, p = softmax(z) and S = -sum p log p,

    d log p_a / dz = onehot(a) - p        dS / dz = -p (log p + S)

so under a frozen head a token's whole gradient is one row of H numbers, computed while p is at
hand: the backward pass only scales it. A head that learns needs p again, which is computed anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from strategy_rl.generation.sampling import unpack

CHUNK_SCORES = 6 * 2**20  # of one chunk: 24 MiB, which allocators still reuse
_FEWEST_ROWS = 64  # of a chunk, for matrix products to be worth it
_LOG2_E = math.log2(math.e)  # exp2 is as fast where it underflows; exp may be 30 times slower
_NEVER = -1e30  # of tokens that cannot be drawn; finite, so that 0 times it is 0


class Head(NamedTuple):
    """What turns states into scores of all tokens; products are float32 whatever is stored.

    Attributes:
        weight: (V, H).
        bias: (V,) or None.
        scale: What states are multiplied by first.
    """

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., H) to float32 (..., V)."""
        with torch.autocast(hidden.device.type, enabled=False):
            scaled = hidden.float() * self.scale
            bias = None if self.bias is None else self.bias.float()
            return torch.nn.functional.linear(scaled, self.weight.float(), bias)


class TokenLogprobs(NamedTuple):
    """Of each token; (N,) float32 each.

    Attributes:
        logprobs: log pi(token).
        entropy: Of the distribution it was chosen from, in nats.
    """

    logprobs: Tensor
    entropy: Tensor


def token_logprobs(
    hidden: Tensor,
    head: Head,
    tokens: Tensor,
    *,
    temperature: float = 1.0,
    kept: Tensor | None = None,
    chunk_rows: int | None = None,
    entropy_gradient: bool = False,
) -> TokenLogprobs:
    """log-softmax of head(hidden) / temperature over the kept tokens, at the chosen ones.

    Args:
        hidden: (N, H), the state before each token.
        head: Frozen, or with weights that learn.
        tokens: (N,) int64; each is among the kept ones.
        temperature: Above 0.
        kept: (N, ceil(V / 8)), packed as `sampling.pack` does; None: all tokens.
        chunk_rows: Rows worked on at once; None: as many as `CHUNK_SCORES` allows.
        entropy_gradient: Let the entropy have a gradient; with a frozen head it costs one more
            matrix product.
    """
    head = Head(head.weight.float(), None if head.bias is None else head.bias.float(), head.scale)
    rows = chunk_rows or max(_FEWEST_ROWS, CHUNK_SCORES // head.weight.shape[0])
    task = _Task(tokens, kept, temperature, head.scale, rows, entropy_gradient)
    learns = any(part is not None and part.requires_grad for part in head[:2])
    function = _LearningHead if learns else _FrozenHead
    if not torch.is_grad_enabled() or not (learns or hidden.requires_grad):
        return _values(hidden.float(), head, task)
    spoken = function.apply(hidden.float(), head.weight, head.bias, task)  # type: ignore[no-untyped-call]
    return TokenLogprobs(*spoken)


@dataclass(frozen=True)
class _Task:
    """What is asked about the states; nothing in it has a gradient."""

    tokens: Tensor
    kept: Tensor | None
    temperature: float
    scale: float
    rows: int
    entropy_gradient: bool

    def chunks(self, hidden: Tensor, head: Head) -> Iterator[_Chunk]:
        """The log-probabilities of all tokens for a few rows at a time.

        Whoever takes one lets go of it before the next, so that no two are in memory at once.
        """
        for start in range(0, len(hidden), self.rows):
            yield self._chunk(hidden, head, slice(start, start + self.rows))

    def _chunk(self, hidden: Tensor, head: Head, part: slice) -> _Chunk:
        logits = head.logits(hidden[part]).div_(self.temperature)
        if self.kept is not None:
            logits.masked_fill_(~unpack(self.kept[part], logits.shape[-1]), _NEVER)
        logs = logits.log_softmax(-1)
        del logits
        return _Chunk(part, self.tokens[part], logs, (logs * _LOG2_E).exp2_())


@dataclass(frozen=True)
class _Chunk:
    """Some rows; R of them.

    Attributes:
        part: Which rows.
        tokens: (R,) chosen.
        logs: (R, V) log-probabilities.
        probs: (R, V), 0 where a token cannot be drawn.
    """

    part: slice
    tokens: Tensor
    logs: Tensor
    probs: Tensor

    @property
    def chosen(self) -> Tensor:
        """(R,) log-probabilities of the chosen tokens."""
        return self.logs.gather(1, self.tokens[:, None]).squeeze(1)

    @property
    def entropy(self) -> Tensor:
        """(R,)."""
        entropy: Tensor = -torch.linalg.vecdot(self.probs, self.logs)
        return entropy


@torch.no_grad()
def _values(hidden: Tensor, head: Head, task: _Task) -> TokenLogprobs:
    logprobs, entropy = hidden.new_empty(2, len(hidden)).unbind()
    for chunk in task.chunks(hidden, head):
        logprobs[chunk.part], entropy[chunk.part] = chunk.chosen, chunk.entropy
        del chunk
    return TokenLogprobs(logprobs, entropy)


class _FrozenHead(torch.autograd.Function):
    """Gradients for the states alone, computed on the way forward; (N, H) is kept of each."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, task: _Task
    ) -> tuple[Tensor, Tensor]:
        head = Head(weight, bias, task.scale)
        logprobs, entropy = hidden.new_empty(2, len(hidden)).unbind()
        slopes = torch.empty_like(hidden)  # of the log-probability
        bends = torch.empty_like(hidden) if task.entropy_gradient else None  # of the entropy
        with torch.autocast(hidden.device.type, enabled=False):
            for chunk in task.chunks(hidden, head):
                spread, mean = chunk.entropy, chunk.probs @ weight
                logprobs[chunk.part], entropy[chunk.part] = chunk.chosen, spread
                slopes[chunk.part] = weight[chunk.tokens] - mean
                if bends is not None:
                    chunk.probs.mul_(chunk.logs)
                    bends[chunk.part] = -(chunk.probs @ weight + spread[:, None] * mean)
                del chunk
        factor = task.scale / task.temperature
        kept = [slope.mul_(factor) for slope in (slopes, bends) if slope is not None]
        ctx.save_for_backward(*kept)
        if not task.entropy_gradient:
            ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        slopes = ctx.saved_tensors
        hidden = sum(grad[:, None] * slope for grad, slope in zip(grads, slopes, strict=False))
        return hidden, None, None, None


class _LearningHead(torch.autograd.Function):
    """Gradients for the states and the head; the scores are computed a second time."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, task: _Task
    ) -> tuple[Tensor, Tensor]:
        spoken = _values(hidden, Head(weight, bias, task.scale), task)
        ctx.task = task
        ctx.save_for_backward(hidden, weight, bias, spoken.entropy)
        if not task.entropy_gradient:
            ctx.mark_non_differentiable(spoken.entropy)
        return spoken.logprobs, spoken.entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        task: _Task = ctx.task
        hidden, weight, bias, entropy = ctx.saved_tensors
        needed = ctx.needs_input_grad
        into = [
            torch.zeros_like(tensor) if need else None
            for tensor, need in zip((hidden, weight, bias), needed, strict=False)
        ]
        factor = task.scale / task.temperature
        with torch.autocast(hidden.device.type, enabled=False):
            for chunk in task.chunks(hidden, Head(weight, bias, task.scale)):
                scores = _score_gradient(chunk, task, entropy[chunk.part], grads)
                if into[0] is not None:
                    into[0][chunk.part] = (scores @ weight).mul_(factor)
                if into[1] is not None:
                    into[1].addmm_(scores.T, hidden[chunk.part], alpha=factor)
                if into[2] is not None:
                    into[2] += scores.sum(0) / task.temperature
                del chunk, scores
        return *into, None


def _score_gradient(
    chunk: _Chunk, task: _Task, entropy: Tensor, grads: tuple[Tensor, ...]
) -> Tensor:
    """The gradient for z, (R, V), made in place of what the chunk holds."""
    logprobs = grads[0][chunk.part, None]
    if task.entropy_gradient:
        bend = grads[1][chunk.part, None]
        weights = chunk.logs.add_(entropy[:, None]).mul_(bend).add_(logprobs)
        gradient = chunk.probs.mul_(weights).neg_()
    else:
        gradient = chunk.probs.mul_(-logprobs)
    return gradient.scatter_add_(1, chunk.tokens[:, None], logprobs)
