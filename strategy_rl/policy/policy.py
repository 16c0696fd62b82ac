"""The policy: a network, the encoder of its observations and its table of texts, as one thing.

This is what a user loads, asks and saves. Knows no environment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from strategy_rl.backbone import BackboneSettings
from strategy_rl.features import TextTable
from strategy_rl.policy import saving
from strategy_rl.policy.distributions import ActionSpec, Distribution, rebuild
from strategy_rl.policy.network import (
    CandidateNetwork,
    Choice,
    NetworkSizes,
    PolicyNetwork,
    PolicyOutput,
    Representation,
    build_network,
)
from strategy_rl.policy.observations import ObservationBatch, ObservationEncoder
from strategy_rl.policy.pairs import PairFeatures
from strategy_rl.policy.spaces import CANDIDATE_FEATURES, MASK, ObservationSpec, part_of

_CHUNK = 4096  # observations of one forward pass without gradients
_PROJECTED_ROWS = 64  # texts of one matrix product


class Decision(NamedTuple):
    """What the policy decided for one observation."""

    action: int | list[int] | list[float]
    probability: float  # density for a box
    probabilities: list[float]  # of every action; empty for a box
    value: float


@dataclass(frozen=True)
class PolicySpec:
    """Everything but weights that a policy is made of; plain, so that it can be a JSON file."""

    observation: ObservationSpec
    action: ActionSpec
    sizes: NetworkSizes
    special_actions: tuple[str, ...] = ()
    pair_features: bool = True


@dataclass(frozen=True)
class BackboneSource:
    """Which backbone a policy reads texts with: what it takes to load the same one again."""

    model: str
    revision: str | None = None
    settings: BackboneSettings = field(default_factory=BackboneSettings)


class Policy:
    """A policy network over one environment's spaces.

    Attributes:
        spec: Its shape.
        source: Where its backbone came from; None without texts.
        network: The trainable part beyond the backbone.
        table: Texts and their vectors; None where observations have no text.
    """

    def __init__(
        self,
        spec: PolicySpec,
        table: TextTable | None,
        source: BackboneSource | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.spec = spec
        self.table = table
        self.source = source
        self.device = torch.device(device)
        self.pairs: PairFeatures | None = None
        if spec.pair_features and table is not None and spec.observation.max_candidates:
            self.pairs = PairFeatures(table, spec.observation.num_slots)
        self.encoder = ObservationEncoder(spec.observation, spec.action, table, self.pairs)
        self.network: PolicyNetwork = build_network(spec.observation, spec.action, spec.sizes)
        self.network.to(self.device)
        self._projections: _ProjectedTable | None = None

    def encode(
        self, observations: Sequence[Any], masks: Sequence[Any] | None = None
    ) -> ObservationBatch:
        """Observations as tensors on the policy's device."""
        batch = self.encoder.encode(observations, masks)
        return batch if self.device.type == "cpu" else batch.to(self.device)

    def __call__(
        self, batch: ObservationBatch, representation: Representation | None = None
    ) -> PolicyOutput:
        """Distribution and values of a batch, with gradients where they are on."""
        distribution, evidence = self.choose(batch, representation)
        return PolicyOutput(distribution, self.values(evidence))

    def choose(
        self, batch: ObservationBatch, representation: Representation | None = None
    ) -> Choice:
        """Distribution of a batch, and what `values` reads.

        Args:
            batch: Observations.
            representation: What `represent` made of them; None: it is made now.
        """
        if representation is None:
            representation = self._represent(batch)
        return self.network.decide(batch, representation)

    def _represent(self, batch: ObservationBatch) -> Representation:
        if self._projections is not None and isinstance(self.network, CandidateNetwork):
            return self._projections.project(batch)
        return self.network.represent(batch, self.embed)

    @torch.no_grad()
    def represent(self, batch: ObservationBatch) -> Representation:
        """Projections of all texts of a batch, to be used again: no gradient, in chunks."""
        parts = [self._represent(part) for part in batch.split(_CHUNK)]
        return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))

    def values(self, evidence: Sequence[Tensor]) -> Tensor:
        """Values, (B,), from what `choose` gave."""
        return self.network.values(*evidence)

    def embed(self, ids: Tensor) -> Tensor:
        """Vectors of texts, of unit root mean square; zeros for `NO_TEXT`."""
        assert self.table is not None
        return self.table.embed(ids)

    @torch.no_grad()
    def evaluate(self, batch: ObservationBatch) -> PolicyOutput:
        """As calling the policy, without gradients and in chunks."""
        if len(batch) <= _CHUNK:
            return self(batch)
        parts = [self(part) for part in batch.split(_CHUNK)]
        stored = torch.cat([part.distribution.stored for part in parts])
        values = torch.cat([part.values for part in parts])
        return PolicyOutput(rebuild(stored, self.spec.action), values)

    def rebuild(self, stored: Tensor) -> Distribution:
        """A distribution of this policy from the tensor that a rollout kept."""
        return rebuild(stored, self.spec.action)

    def act(
        self,
        obs: Any,
        *,
        action_mask: Any = None,
        greedy: bool = False,
        rng: np.random.Generator | None = None,
    ) -> Decision:
        """Decide for one unbatched observation, from an environment or built by hand.

        Args:
            obs: As the observation space has it. A hand-made one needs its texts; numeric fields
                may be plain numbers or lists, and those left out count as 0.
            action_mask: Legal actions; takes the place of one in the observation.
            greedy: Take the most probable action instead of sampling.
            rng: Where sampling draws from; None draws from fresh entropy.
        """
        batch = self.encode([self._completed(obs, action_mask)])
        distribution, values = self.evaluate(batch)
        uniforms = (rng or np.random.default_rng()).random((1, self.spec.action.num_draws))
        drawn = torch.from_numpy(uniforms).to(self.device)
        chosen = distribution.mode() if greedy else distribution.sample(drawn)
        return Decision(
            action=chosen[0].tolist(),
            probability=float(distribution.log_prob(chosen)[0].exp()),
            probabilities=[]
            if self.spec.action.kind == "box"
            else distribution.stored[0].exp().tolist(),
            value=float(values[0]),
        )

    def _completed(self, obs: Any, action_mask: Any) -> Any:
        if not isinstance(obs, Mapping):
            return obs if action_mask is None else {"": obs, MASK: action_mask}
        completed = dict(obs)
        for name, width, one_hot in self.spec.observation.number_fields:
            if not _holds(obs, name):
                completed[name] = 0 if one_hot else np.zeros(width, dtype=np.float32)
        for name, _ in self.spec.observation.text_fields:
            if not _holds(obs, name):
                completed[name] = ()
        spec = self.spec.observation
        if spec.num_candidate_features:
            shape = spec.max_candidates, spec.num_candidate_features
            completed.setdefault(CANDIDATE_FEATURES, np.zeros(shape, dtype=np.float32))
        if action_mask is not None:
            completed[MASK] = action_mask
        return completed

    def parameters(self) -> Iterator[nn.Parameter]:
        """Everything trainable: the network's, then the backbone's."""
        yield from (p for p in self.network.parameters() if p.requires_grad)
        yield from self.backbone_parameters()

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """The trainable part of the backbone; nothing where it is frozen."""
        if self.table is not None:
            yield from self.table.backbone.trainable_parameters()

    def state(self, twins: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Copies of every tensor that training changes, by name; small, so no twin is shared."""
        network = {f"network.{k}": v.clone() for k, v in self.network.state_dict().items()}
        return network | {f"backbone.{k}": v for k, v in self.backbone_state().items()}

    def backbone_state(self) -> dict[str, Tensor]:
        """Copies of the backbone's trainable tensors; nothing where it is frozen."""
        if self.table is None:
            return {}
        return {k: v.detach().clone() for k, v in self.table.backbone.save_trainable().items()}

    @contextmanager
    def lent_to(self, network: PolicyNetwork, backbone: Mapping[str, Tensor]) -> Iterator[None]:
        """Decide with another network and backbone for a while; the texts are shared."""
        live = self.network, self.backbone_state()
        try:
            self.network = network
            if self.table is not None and backbone:
                self.table.backbone.load_trainable(backbone)
            yield
        finally:
            self.network = live[0]
            if self.table is not None and backbone:
                self.table.backbone.load_trainable(live[1])

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave; strict."""

        def part(prefix: str) -> dict[str, Tensor]:
            names = [name for name in state if name.startswith(prefix)]
            return {name.removeprefix(prefix): state[name] for name in names}

        self.network.load_state_dict(part("network."))
        if self.table is not None:
            self.table.backbone.load_trainable(part("backbone."))
        if self._projections is not None:
            self.freeze_projections()

    def save_pretrained(
        self,
        directory: str | Path,
        *,
        card: str = "",
        include_backbone: bool = False,
        task: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the policy to a folder; see `strategy_rl.policy.saving.save`."""
        saving.save(self, Path(directory), card=card, include_backbone=include_backbone, task=task)

    @classmethod
    def from_pretrained(
        cls,
        directory: str | Path,
        device: torch.device | str = "cpu",
        *,
        cache_dir: str | Path | None = None,
        cache_max_mb: int = 2048,
    ) -> Policy:
        """Load what `save_pretrained` wrote; see `strategy_rl.policy.saving.load`."""
        return saving.load(Path(directory), device, cache_dir=cache_dir, cache_max_mb=cache_max_mb)

    def train(self, dropout: float) -> None:
        """For SFT: dropout in the heads, and in adapters as they were made."""
        self.network.dropout.p = dropout
        if self.table is not None:
            self.table.backbone.train()

    def eval(self) -> None:
        """Everywhere else: no dropout, since PPO's ratio must start at exactly 1."""
        self.network.dropout.p = 0.0
        if self.table is not None:
            self.table.backbone.eval()

    def freeze_projections(self) -> None:
        """Train what follows the projections only; with frozen vectors each text projects once."""
        for parameter in self.network.projection_parameters():
            parameter.requires_grad_(False)
        network, table = self.network, self.table
        if table is not None and table.is_frozen and isinstance(network, CandidateNetwork):
            self._projections = _ProjectedTable(table, network)


def _holds(obs: Mapping[str, Any], name: str) -> bool:
    try:
        part_of(obs, name)
    except LookupError:
        return False
    return True


class _ProjectedTable:
    """Projections of every text of a table, made once and extended as the table grows."""

    def __init__(self, table: TextTable, network: CandidateNetwork) -> None:
        layers = [*network.context_projection.slots, network.candidate_projection]
        self.weights = [layer.weight.detach() for layer in layers]
        self.table = table
        size = len(self.weights[0])
        self.rows = [weight.new_zeros(1, size) for weight in self.weights]

    def project(self, batch: ObservationBatch) -> tuple[Tensor, Tensor]:
        """Context (B, H) and candidates (B, K, H). Index -1, no text, is the last row: zeros."""
        self._extend()
        slots = [rows[batch.context[:, i]] for i, rows in enumerate(self.rows[:-1])]
        keys = self.rows[-1][batch.candidates]
        query = torch.stack(slots).sum(0) if slots else keys.new_zeros(len(keys), keys.shape[-1])
        return query, keys

    @torch.no_grad()
    def _extend(self) -> None:
        known, total = len(self.rows[-1]) - 1, len(self.table)
        if known == total:
            return
        fresh = self.table.embed(torch.arange(known, total, device=self.rows[-1].device))
        self.rows = [
            torch.cat([rows[:-1], _project_rows(fresh, weight), rows[-1:]])
            for rows, weight in zip(self.rows, self.weights, strict=True)
        ]


def _project_rows(embeddings: Tensor, weight: Tensor) -> Tensor:
    """(N, D) to (N, H) in products of one shape: a text's bits do not depend on when it is met."""
    padded = nn.functional.pad(embeddings, (0, 0, 0, -len(embeddings) % _PROJECTED_ROWS))
    blocks = [block @ weight.T for block in torch.split(padded, _PROJECTED_ROWS)]
    return torch.cat(blocks)[: len(embeddings)]
