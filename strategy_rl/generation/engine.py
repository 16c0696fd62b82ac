"""Writes responses to prompts, many at once. Knows tokens, no texts and no environment.

`LocalEngine` runs the policy's own model with a key-value cache; rows that have ended leave the
batch. Another engine needs `generate` alone: what it leaves out (states, log-probabilities of the
training path) is computed afterwards, and what differs is corrected by importance weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from strategy_rl.backbone import Decoding, LanguageModel, Row
from strategy_rl.generation.logprobs import Head
from strategy_rl.generation.sampling import Sampling, draw, kept_tokens, pack


@dataclass(frozen=True)
class Response(Row):
    """One written response; T is its number of tokens.

    Attributes:
        ended: Whether the end token came, and not the limit.
        logprobs: (T,) under the distribution that the engine drew from.
        states: (T, H) before each token; None where the engine does not give them.
        kept: (T, V/8) packed: which tokens could be drawn; None: all.
        exact: Whether `logprobs` are those of the training path, up to float32 rounding.
    """

    ended: bool = True
    logprobs: Tensor = field(default_factory=lambda: torch.empty(0))
    states: Tensor | None = None
    kept: Tensor | None = None
    exact: bool = True


class Engine(Protocol):
    """Whatever writes responses."""

    def generate(
        self, prompts: Sequence[Sequence[int]], uniforms: np.ndarray | None
    ) -> list[Response]:
        """One response a prompt, in their order.

        Args:
            prompts: Token ids.
            uniforms: (B, tokens) in [0, 1): row i's draws, so that a response does not depend on
                its neighbours; None: the most probable token each time.
        """


@dataclass(frozen=True)
class LocalEngine:
    """The model that is being trained, with a key-value cache.

    Attributes:
        model: Writes.
        sampling: How tokens are drawn.
        max_new_tokens: The most tokens of a response.
        batch_rows: The most rows written side by side.
    """

    model: LanguageModel
    sampling: Sampling
    max_new_tokens: int
    batch_rows: int = 64

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[Sequence[int]], uniforms: np.ndarray | None
    ) -> list[Response]:
        """One response a prompt, in their order."""
        responses: list[Response] = []
        for start in range(0, len(prompts), self.batch_rows):
            part = slice(start, start + self.batch_rows)
            drawn = None if uniforms is None else torch.from_numpy(uniforms[part])
            responses += self._batch(prompts[part], drawn)
        return responses

    def _batch(self, prompts: Sequence[Sequence[int]], uniforms: Tensor | None) -> list[Response]:
        model, head = self.model, head_of(self.model)
        ends = torch.tensor(model.end_ids, device=model.device)
        decoding = model.begin(prompts)
        written = [_Written() for _ in prompts]
        encoded = _encoded_rows(model, decoding)
        alive = torch.arange(len(prompts))
        for step in range(self.max_new_tokens):
            uniform = None if uniforms is None else uniforms[alive, step].to(model.device)
            chosen = self._choose(head.logits(decoding.hidden), uniform)
            ended = torch.isin(chosen.tokens, ends)
            for place, row in enumerate(alive.tolist()):
                written[row].add(decoding, chosen, place)
            going = (~ended).nonzero().squeeze(-1)
            if not len(going) or step == self.max_new_tokens - 1:
                break
            tokens = chosen.tokens
            if len(going) < len(alive):
                decoding.keep(going)
                alive, tokens = alive[going.cpu()], tokens[going]
            model.advance(decoding, tokens)
        stopped = set(alive[going.cpu()].tolist())
        return [
            w.response(prompt, row not in stopped, encoded[row], model.is_exact)
            for row, (prompt, w) in enumerate(zip(prompts, written, strict=True))
        ]

    def _choose(self, logits: Tensor, uniforms: Tensor | None) -> _Chosen:
        """One token a row: drawn, or the most probable."""
        logits = logits / self.sampling.temperature
        kept = kept_tokens(logits, self.sampling)
        tokens = logits.argmax(-1) if uniforms is None else draw(logits, uniforms, kept)
        if kept is not None:
            logits = logits.masked_fill(~kept, -torch.inf)
        logprobs = logits.gather(1, tokens[:, None]).squeeze(1) - logits.logsumexp(-1)
        return _Chosen(tokens, logprobs, None if kept is None else pack(kept))


def head_of(model: LanguageModel) -> Head:
    """The model's head, as log-probabilities are computed from it."""
    return Head(model.head_weight, model.head_bias, model.head_scale)


@dataclass(frozen=True)
class _Chosen:
    """One step of all rows of a batch."""

    tokens: Tensor
    logprobs: Tensor
    kept: Tensor | None


@dataclass
class _Written:
    """One response on its way."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[Tensor] = field(default_factory=list)
    states: list[Tensor] = field(default_factory=list)
    kept: list[Tensor] = field(default_factory=list)
    trunk: list[Tensor] = field(default_factory=list)

    def add(self, decoding: Decoding, chosen: _Chosen, place: int) -> None:
        """Keep what stood in one row of the batch."""
        self.tokens.append(int(chosen.tokens[place]))
        self.logprobs.append(chosen.logprobs[place])
        self.states.append(decoding.hidden[place])
        if chosen.kept is not None:
            self.kept.append(chosen.kept[place])
        if decoding.trunk is not None:
            self.trunk.append(decoding.trunk[place][decoding.fed[place]])

    def response(
        self, prompt: Sequence[int], ended: bool, encoded: Tensor | None, exact: bool
    ) -> Response:
        """The whole of it."""
        return Response(
            prompt=prompt,
            response=self.tokens,
            trunk=torch.cat(self.trunk) if self.trunk else None,
            encoded=encoded,
            ended=ended,
            logprobs=torch.stack(self.logprobs),
            states=torch.stack(self.states),
            kept=torch.stack(self.kept) if self.kept else None,
            exact=exact,
        )


def _encoded_rows(model: LanguageModel, decoding: Decoding) -> list[Tensor | None]:
    """What a frozen encoder said of each prompt, without padding."""
    if decoding.encoded is None or model.encoder_learns:
        return [None] * len(decoding.mask)
    return [row[mask] for row, mask in zip(*decoding.encoded, strict=True)]
