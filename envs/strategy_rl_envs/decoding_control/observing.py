"""What a policy sees of a text in the making: a pure function of logits and token ids.

No hidden state is needed, so that whoever has the logits can ask the policy, a `LogitsProcessor`
too: with the model's head W = U S V^T, a state h gives the logits z = W h, and its coordinates
along the head's principal directions are V_k^T h = (U_k^T z) / S_k.

    observer = Observer(head_of(network), TokenFacts(tokenizer), menu, max_new_tokens, end_ids)
    starts = observer.starts(logits)                         # at the prompt's end
    obs = observer.observe(logits, previous, starts, texts)

B rows, V tokens of the vocabulary, H hidden size, F features.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strategy_rl_envs.decoding_control.knobs import Menu
from strategy_rl_envs.decoding_control.surface import SURFACE, Facts, Text, count_words, surface
from strategy_rl_envs.decoding_control.targets import TARGETS

NUM_DIRECTIONS = 48
NUM_START = 12  # of them also as they were at the prompt's end
CERTAINTY = ("entropy", "top_1", "margin", "end")  # of the next token; `end`: that the text ends
NATS = 5.0  # entropies are divided by it
_CHUNK = 8192  # rows of a head that are squared at once
_PROBES = 32  # tokens that are read to learn how large states are

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Head:
    """What turns states into logits. It is equal to itself alone, so that caches may go by it.

    Attributes:
        weight: (V, H).
        bias: (V,) or None.
        size: Root mean square of a state's entries; coordinates are divided by it.
    """

    weight: Tensor
    bias: Tensor | None = None
    size: float = 1.0


@torch.no_grad()
def head_of(network: Any) -> Head:
    """A causal model's head, and how large the states before it are.

    Args:
        network: Of transformers, in evaluation mode.
    """
    head = network.get_output_embeddings()
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        count = min(_PROBES, len(head.weight))
        ids = torch.linspace(0, len(head.weight) - 1, count, device=head.weight.device).long()
        network(input_ids=ids[None], use_cache=False)
    finally:
        hook.remove()
    bias = getattr(head, "bias", None)
    size = float(seen[0].float().square().mean().sqrt())
    return Head(head.weight.detach().float(), None if bias is None else bias.detach().float(), size)


@lru_cache(maxsize=2)
def directions(head: Head, count: int) -> Tensor:
    """The matrix (V, K) whose product with logits gives the state's coordinates.

    Signs are fixed: the entry of each direction that is largest in size is positive. Computed
    in float64, since the singular values are roots of eigenvalues that differ by powers of ten.

    Args:
        head: Of the model.
        count: How many directions; no more than the rank are given.
    """
    hidden = head.weight.shape[1]
    gram = torch.zeros(hidden, hidden, dtype=torch.float64, device=head.weight.device)
    for part in _chunks(head.weight):
        wide = part.double()
        gram += wide.T @ wide
    squares, vectors = torch.linalg.eigh(gram)
    squares, vectors = squares.flip(0), vectors.flip(1)
    rank = int((squares > squares[0] * 1e-12).sum())
    chosen = vectors[:, : min(count, rank)]
    largest = chosen.gather(0, chosen.abs().argmax(0, keepdim=True))
    scaled = chosen * largest.sign() / squares[: chosen.shape[1]] / head.size
    return torch.cat([(part.double() @ scaled).float() for part in _chunks(head.weight)])


def _chunks(weight: Tensor) -> Iterator[Tensor]:
    for start in range(0, len(weight), _CHUNK):
        yield weight[start : start + _CHUNK]


class Observer:
    """Makes observations for texts that one model writes under one menu.

    Args:
        head: See `head_of`.
        facts: See `reading.TokenFacts`.
        menu: What can be chosen.
        max_new_tokens: The most tokens of a text.
        end_ids: Tokens that end one.
        targets: Whether the policy is told what each text is to reach.

    Attributes:
        feature_names: F names, in the order of an observation's entries.
        size: F.
    """

    def __init__(
        self,
        head: Head,
        facts: Facts,
        menu: Menu,
        max_new_tokens: int,
        end_ids: Collection[int],
        targets: bool = False,
    ) -> None:
        self._targets = targets
        self._directions = directions(head, NUM_DIRECTIONS)
        bias = head.bias
        self._origin = None if bias is None else bias @ self._directions
        self._facts, self._menu, self._limit = facts, menu, max_new_tokens
        self._ends = torch.tensor(sorted(end_ids), device=head.weight.device)
        self.feature_names = (
            *self._state_names(),
            *(f"{name}{when}" for when in ("", "_before") for name in CERTAINTY),
            *SURFACE,
            *(
                f"last_{name}_{value}"
                for name, size in zip(menu.factors, menu.sizes, strict=True)
                for value in range(size)
            ),
            *(TARGETS if targets else ()),
        )
        self.size = len(self.feature_names)

    def starts(self, logits: Tensor) -> Tensor:
        """What is kept of the state at the prompt's end, (B, `NUM_START` at most).

        Args:
            logits: Float32 (B, V) of the first token.
        """
        return self._coordinates(logits)[:, :NUM_START]

    def observe(
        self, logits: Tensor, previous: Tensor, starts: Tensor, texts: Sequence[Text]
    ) -> Array:
        """Observations, float32 (B, F).

        Args:
            logits: Float32 (B, V) of the next token, as the model gives them.
            previous: The same of the token before; of the next one where none was written.
            starts: See `starts`.
            texts: What was written.
        """
        wide = torch.cat(
            [self._coordinates(logits), starts, self._certainty(logits), self._certainty(previous)],
            1,
        )
        likeliest = logits.argmax(-1).tolist()
        narrow = [
            [
                *surface(text, token, self._facts, self._limit),
                *self._last(text),
                *self._target(text),
            ]
            for text, token in zip(texts, likeliest, strict=True)
        ]
        return np.concatenate([wide.cpu().numpy(), np.array(narrow, dtype=np.float32)], 1)

    def _state_names(self) -> list[str]:
        count = self._directions.shape[1]
        names = [f"state_{k}" for k in range(count)]
        return names + [f"start_{k}" for k in range(min(NUM_START, count))]

    def _coordinates(self, logits: Tensor) -> Tensor:
        found = logits @ self._directions
        return found if self._origin is None else found - self._origin

    def _certainty(self, logits: Tensor) -> Tensor:
        """Columns of `CERTAINTY`, (B, 4)."""
        logprobs = logits.log_softmax(-1)
        probs = logprobs.exp()
        top = probs.topk(2).values
        entropy = -(probs * logprobs.clamp(min=-1e9)).sum(-1)  # 0 times -inf counts as 0
        ended = probs[:, self._ends].sum(-1)
        return torch.stack([entropy / NATS, top[:, 0], top[:, 0] - top[:, 1], ended], 1)

    def _target(self, text: Text) -> list[float]:
        if not self._targets:
            return []
        return text.target.seen(text.tokens, count_words(text.tokens, self._facts))

    def _last(self, text: Text) -> list[float]:
        """The last action, one-hot by factor; zeros before the first."""
        return [
            float(text.choice is not None and text.choice[place] == value)
            for place, size in enumerate(self._menu.sizes)
            for value in range(size)
        ]
