"""What SFT teaches a policy that writes: each token of the expert's text, and its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from strategy_rl.demonstrations import WrittenDemonstrations
from strategy_rl.generation import Response, TextPolicy
from strategy_rl.generation.micro_batches import cut_by_tokens

MICRO_BATCH_TOKENS = 4096  # padded tokens of one forward and backward pass


@dataclass(frozen=True)
class TokenLessons:
    """Cross-entropy of the expert's tokens given the prompt; the prompt itself is not learnt.

    The mean runs over all tokens of a minibatch, so that how it is cut into forward passes does
    not change its gradient.
    """

    policy: TextPolicy
    demonstrations: WrittenDemonstrations
    held_out: WrittenDemonstrations

    @property
    def has_accuracy(self) -> bool:
        """A text is right in many ways."""
        return False

    def losses(self, index: Tensor, parts: list[dict[str, Tensor]]) -> Iterator[Tensor]:
        """The shares of the minibatch's loss, one a forward pass."""
        responses = [self.demonstrations.responses[i] for i in index.tolist()]
        total = sum(len(response.response) for response in responses)
        for numbers in cut_by_tokens(responses, range(len(responses)), MICRO_BATCH_TOKENS):
            loss = self._summed([responses[i] for i in numbers]) / total
            parts.append({"loss": loss.detach()})
            yield loss

    def _summed(self, responses: list[Response]) -> Tensor:
        return -self.policy.imitation_logprobs(responses).sum()

    @torch.no_grad()
    def judge(self) -> dict[str, float]:
        """Loss a token on validation rows, and its exponential."""
        responses = self.held_out.responses
        total = sum(len(response.response) for response in responses)
        summed = 0.0
        for numbers in cut_by_tokens(responses, range(len(responses)), MICRO_BATCH_TOKENS):
            summed += float(self._summed([responses[i] for i in numbers]))
        loss = summed / total
        return {"validation_loss": loss, "validation_perplexity": float(torch.tensor(loss).exp())}

    def finished(self) -> AbstractContextManager[None]:
        """Nothing is done when training ends."""
        return nullcontext()
