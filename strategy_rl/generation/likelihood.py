"""How likely a language model finds given texts after a context: C + K c tokens, not K (C + c)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from strategy_rl.backbone import LanguageModel, Row
from strategy_rl.errors import InputError
from strategy_rl.generation.engine import head_of
from strategy_rl.generation.logprobs import Head
from strategy_rl.generation.micro_batches import cut_by_tokens
from strategy_rl.generation.prefix_sharing import (
    Ids,
    Offered,
    States,
    read_in_one_row,
    read_in_rows,
    read_whole,
)

log = logging.getLogger(__name__)

Way: TypeAlias = Callable[[LanguageModel, Sequence[Ids], Offered, int], States]

_SHARING: tuple[Way, ...] = (read_in_one_row, read_in_rows)  # the faster first
_HEAD_ROWS = 64  # scores of all tokens exist for so many states at a time
_SAME = 1e-4  # mean difference of states by two ways, over their mean size
_SAME_HALF = 0.05  # in bfloat16


class CandidateScorer:
    """Log-probabilities of candidates after contexts that are read once.

    How the model can share a context is found out at first use, by comparison with the plain way.

    Attributes:
        model: Reads; no gradient is kept.
        most_tokens: Read side by side, more or less; it bounds the memory.
    """

    def __init__(self, model: LanguageModel, *, most_tokens: int = 2048) -> None:
        self.model = model
        self.most_tokens = most_tokens
        self._way: Way | None = None

    @torch.no_grad()
    def logprobs(self, contexts: Sequence[Ids], candidates: Offered) -> list[list[Tensor]]:
        """Log-probability of each token of each candidate, given context and tokens before it.

        Args:
            contexts: Token ids, at least one each.
            candidates: Of each context any number of candidates, with at least one token each.

        Returns:
            By context and candidate, float32 of shape (T,). The sum is the candidate's
            log-probability.

        Raises:
            InputError: A context or a candidate has no tokens.
        """
        _refuse_empty(contexts, candidates)
        self._way = self._way or first_that_agrees(self.model)
        rows = [
            Row(context, [token for ids in group for token in ids])
            for context, group in zip(contexts, candidates, strict=True)
        ]
        asked = [number for number, group in enumerate(candidates) if group]
        found: list[list[Tensor]] = [[] for _ in contexts]
        for numbers in cut_by_tokens(rows, asked, self.most_tokens):
            offered = [candidates[i] for i in numbers]
            states = self._way(
                self.model, [contexts[i] for i in numbers], offered, self.most_tokens
            )
            tokens = torch.tensor([token for i in numbers for token in rows[i].response])
            flat = logprobs_of(states, head_of(self.model), tokens.to(self.model.device))
            parts = iter(torch.split(flat, [len(ids) for group in offered for ids in group]))
            for i in numbers:
                found[i] = [next(parts) for _ in candidates[i]]
        return found


def logprobs_of(states: States, head: Head, tokens: Tensor) -> Tensor:
    """Log-probabilities (N,) of tokens; the head scores all others once for each state."""
    hidden, places = states
    totals = [head.logits(part).logsumexp(-1) for part in torch.split(hidden, _HEAD_ROWS)]
    scores = (hidden[places] * head.weight[tokens].float()).sum(-1) * head.scale
    if head.bias is not None:
        scores = scores + head.bias[tokens].float()
    return scores - torch.cat(totals)[places]


@torch.no_grad()
def first_that_agrees(model: LanguageModel) -> Way:
    """The fastest way that gives the states that the plain one gives, with this model."""
    if model.has_encoder:
        return read_whole
    size = len(model.head_weight)
    one, other = ([(7 * i + start) % size for i in range(5)] for start in (1, 3))
    sample = ([one, other[:3]], [[other, one[:3], other[1:4]], [one[2:], other[:1]]])
    expected = _in_order(read_whole(model, *sample, len(one)))
    for way in _SHARING:
        try:
            got = _in_order(way(model, *sample, len(one)))
        except (AttributeError, IndexError, TypeError, ValueError, RuntimeError) as error:
            log.info("%s does not do with this model: %s", way.__name__, error)
            continue
        off = float((got - expected).abs().mean() / expected.abs().mean())
        if off < (_SAME_HALF if model.is_half else _SAME):
            return way
        log.info("%s gives other states with this model, off by %.2g", way.__name__, off)
    log.warning("this model reads the context again for each candidate, which takes longer")
    return read_whole


def _in_order(states: States) -> Tensor:
    return states.hidden[states.places]


def _refuse_empty(contexts: Sequence[Ids], candidates: Offered) -> None:
    """Name the first text without tokens."""
    for number, (context, group) in enumerate(zip(contexts, candidates, strict=True)):
        if not len(context):
            raise InputError(f"context {number} has no tokens, expected at least one")
        for place, ids in enumerate(group):
            if not len(ids):
                raise InputError(
                    f"candidate {place} of context {number} has no tokens, expected at least one; "
                    "close texts by the end token"
                )
