"""A policy that writes: a language model, a value head, and how it reads and draws.

Knows no environment. One decision is one token; the action of a step is the text of a response.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from strategy_rl.backbone import LanguageModel
from strategy_rl.generation.engine import Engine, LocalEngine, Response, head_of
from strategy_rl.generation.logprobs import TokenLogprobs, token_logprobs
from strategy_rl.generation.micro_batches import cut_by_tokens
from strategy_rl.generation.prompts import PromptEncoder, PromptFormat
from strategy_rl.generation.sampling import Sampling
from strategy_rl.policy import BackboneSource
from strategy_rl.policy.distributions import ActionSpec
from strategy_rl.policy.heads import mlp

READ_TOKENS = 4096  # padded tokens of one forward pass without gradients


class TextDecision(NamedTuple):
    """What the policy wrote for one observation."""

    action: str
    probability: float  # of the whole response
    num_tokens: int
    value: float  # before the first token


class TokenOutput(NamedTuple):
    """What the policy says of each token of some responses; (N,) each."""

    logprobs: Tensor
    entropy: Tensor
    values: Tensor


@dataclass(frozen=True)
class TextPolicySpec:
    """Everything but weights that a policy is made of; plain, so that it can be a JSON file.

    Attributes:
        prompt: How observations become prompts.
        sampling: How tokens are drawn; log-probabilities are those of this distribution.
        max_new_tokens: The most tokens of a response.
        hidden_sizes: Hidden layers of the value head.
        activation: Between them.
        max_length: The most characters of an action.
        charset: Characters an action may have; None: any.
    """

    prompt: PromptFormat = field(default_factory=PromptFormat)
    sampling: Sampling = field(default_factory=Sampling)
    max_new_tokens: int = 64
    hidden_sizes: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    max_length: int = 10_000
    charset: str | None = None

    @property
    def action(self) -> ActionSpec:
        """Texts have no sizes."""
        return ActionSpec("text", ())

    @property
    def special_actions(self) -> tuple[str, ...]:
        """None: a text may be anything."""
        return ()


class ValueHead(nn.Module):
    """Values from the states before each token, detached: the critic does not bend the writer."""

    def __init__(self, hidden_size: int, sizes: Sequence[int], activation: str) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size, elementwise_affine=False)
        self.layers = mlp([hidden_size, *sizes, 1], activation, last_gain=0.0)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """All of it is head."""
        return self.parameters()

    def forward(self, states: Tensor) -> Tensor:
        """(N, H) to (N,)."""
        values: Tensor = self.layers(self.norm(states.detach().float())).squeeze(-1)
        return values


class TextPolicy:
    """A language model and a value head over one environment's texts.

    Attributes:
        spec: All that is no weight.
        source: Where the model came from.
        model: The language model; part of it learns.
        network: The value head.
        prompts: Observations to token ids.
        engine: Writes responses.
    """

    def __init__(
        self,
        spec: TextPolicySpec,
        model: LanguageModel,
        source: BackboneSource,
        *,
        batch_rows: int = 64,
        engine: Engine | None = None,
    ) -> None:
        self.spec = spec
        self.source = source
        self.model = model
        self.device = model.device
        self.network = ValueHead(model.hidden_size, spec.hidden_sizes, spec.activation)
        self.network.to(self.device)
        self.prompts = PromptEncoder(model.tokenizer, spec.prompt)
        local = LocalEngine(model, spec.sampling, spec.max_new_tokens, batch_rows)
        self.engine: Engine = engine or local

    # Writing.

    def encode(self, observations: Sequence[Any]) -> list[list[int]]:
        """Prompts of observations."""
        return self.prompts.encode(observations)

    def generate(
        self, prompts: Sequence[Sequence[int]], uniforms: np.ndarray | None
    ) -> list[Response]:
        """One response a prompt; see `Engine.generate`."""
        return self.engine.generate(prompts, uniforms)

    def text_of(self, response: Response) -> str:
        """The action that a response means."""
        return self.prompts.decode_response(
            response.response, self.spec.max_length, self.spec.charset
        )

    def response_of(self, prompt: Sequence[int], text: str) -> Response:
        """A response that somebody else wrote, cut after `max_new_tokens`."""
        tokens = self.prompts.encode_response(text)
        kept = tokens[: self.spec.max_new_tokens]
        return Response(prompt, kept, ended=len(kept) == len(tokens))

    def act(
        self,
        obs: Any,
        *,
        greedy: bool = False,
        rng: np.random.Generator | None = None,
    ) -> TextDecision:
        """Write for one observation, from an environment or built by hand.

        Args:
            obs: As the observation space has it.
            greedy: Take the most probable token each time instead of sampling.
            rng: Where sampling draws from; None draws from fresh entropy.
        """
        uniforms = (rng or np.random.default_rng()).random((1, self.spec.max_new_tokens))
        response = self.generate(self.encode([obs]), None if greedy else uniforms)[0]
        return TextDecision(
            action=self.text_of(response),
            probability=float(response.logprobs.sum().exp()),
            num_tokens=len(response.response),
            value=float(self.values_of([response])[0]),
        )

    # Reading.

    def read(
        self,
        responses: Sequence[Response],
        *,
        entropy_gradient: bool = False,
        critic_only: bool = False,
    ) -> TokenOutput:
        """What the policy says of responses, with gradients where they are on: one forward pass.

        Args:
            responses: Written by this policy or by others.
            entropy_gradient: Let the entropy have a gradient; it costs a second pass of the head.
            critic_only: Let the values alone have one.
        """
        kept = [response.kept for response in responses]
        with torch.set_grad_enabled(torch.is_grad_enabled() and not critic_only):
            states = self.model.states(responses)
            spoken = self._logprobs(
                states,
                responses,
                self.spec.sampling.temperature,
                None if kept[0] is None else torch.cat([k for k in kept if k is not None]),
                entropy_gradient,
            )
        return TokenOutput(*spoken, self.network(states))

    def imitation_logprobs(self, responses: Sequence[Response]) -> Tensor:
        """Log-probabilities (N,) under the whole distribution at temperature 1: what SFT raises."""
        return self._logprobs(self.model.states(responses), responses, 1.0, None, False).logprobs

    def _logprobs(
        self,
        states: Tensor,
        responses: Sequence[Response],
        temperature: float,
        kept: Tensor | None,
        entropy_gradient: bool,
    ) -> TokenLogprobs:
        tokens = [token for response in responses for token in response.response]
        return token_logprobs(
            states,
            head_of(self.model),
            torch.tensor(tokens, device=self.device),
            temperature=temperature,
            kept=kept,
            entropy_gradient=entropy_gradient,
        )

    @torch.no_grad()
    def evaluate(self, responses: Sequence[Response]) -> TokenOutput:
        """As `read`, without gradients and in chunks of like length; (N,) each, in order."""
        return _in_chunks(responses, self.read)

    @torch.no_grad()
    def values_of(self, responses: Sequence[Response]) -> Tensor:
        """Values (N,) of every token, from the states that the engine kept where it did."""
        states = [response.states for response in responses]
        if any(state is None for state in states):
            return self.evaluate(responses).values
        return self.network(torch.cat([s for s in states if s is not None]))  # type: ignore[no-any-return]

    @torch.no_grad()
    def with_trunk(self, responses: Sequence[Response]) -> list[Response]:
        """The same with what the frozen blocks make of them, so that they run but once."""
        if not self.model.reuses_trunk:
            return list(responses)
        return [
            replace(response, trunk=trunk, encoded=encoded)
            for response in responses
            for trunk, encoded in [self.model.trunk_of(response)]
        ]

    @torch.no_grad()
    def first_values(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Values (B,) before the first token."""
        return self.network(self.model.begin(prompts).hidden)  # type: ignore[no-any-return]

    # Learning.

    def parameters(self) -> Iterator[nn.Parameter]:
        """Everything trainable: the value head's, then the model's."""
        yield from self.network.parameters()
        yield from self.backbone_parameters()

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """The part of the model that learns."""
        yield from self.model.trainable_parameters()

    def state(self, twins: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Copies of every tensor that training changes, by name; `twins` stand for their equals."""
        live = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        live |= {f"backbone.{k}": v.detach() for k, v in self.model.trainable().items()}
        known = twins or {}
        return {
            name: known[name] if name in known and tensor.equal(known[name]) else tensor.clone()
            for name, tensor in live.items()
        }

    def backbone_state(self) -> dict[str, Tensor]:
        """Copies of the model's tensors that learn."""
        return {k: v.detach().clone() for k, v in self.model.trainable().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave; strict."""

        def part(prefix: str) -> dict[str, Tensor]:
            names = [name for name in state if name.startswith(prefix)]
            return {name.removeprefix(prefix): state[name] for name in names}

        self.network.load_state_dict(part("network."))
        self.model.load_trainable(part("backbone."))

    @contextmanager
    def lent_to(self, backbone: Mapping[str, Tensor]) -> Iterator[None]:
        """Write and read with other weights for a while; nothing is copied."""
        live = {name: p.data for name, p in self.model.trainable().items()}
        try:
            self._point_to(backbone)
            yield
        finally:
            self._point_to(live)

    def _point_to(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self.model.trainable().items():
            parameter.data = weights[name]

    def train(self, dropout: float) -> None:
        """For SFT: dropout in adapters as they were made; there is none elsewhere."""
        self.model.train()

    def eval(self) -> None:
        """Everywhere else: no dropout, since PPO's ratio must start at exactly 1."""
        self.model.eval()

    def save_pretrained(
        self,
        directory: str | Path,
        *,
        card: str = "",
        include_backbone: bool = False,
        task: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the policy to a folder; see `strategy_rl.generation.saving.save`."""
        from strategy_rl.generation import saving

        saving.save(self, Path(directory), card=card, include_backbone=include_backbone, task=task)

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, device: torch.device | str = "cpu"
    ) -> TextPolicy:
        """Load what `save_pretrained` wrote; see `strategy_rl.generation.saving.load`."""
        from strategy_rl.generation import saving

        return saving.load(Path(directory), device)


def _in_chunks(responses: Sequence[Response], read: Any) -> TokenOutput:
    """Read responses of like length together and put the answers back in order."""
    outputs: dict[int, list[Tensor]] = {}
    for numbers in cut_by_tokens(responses, range(len(responses)), READ_TOKENS):
        lengths = [len(responses[i].response) for i in numbers]
        parts = [part.split(lengths) for part in read([responses[i] for i in numbers])]
        for place, i in enumerate(numbers):
            outputs[i] = [part[place] for part in parts]
    ordered = [outputs[i] for i in range(len(responses))]
    return TokenOutput(*(torch.cat(part) for part in zip(*ordered, strict=True)))
