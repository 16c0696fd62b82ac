"""The candidate that a language model finds likeliest after the context, without any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from strategy_rl.actors import Choice
from strategy_rl.backbone import BackboneSettings, LanguageModel, load_language_model
from strategy_rl.generation.likelihood import CandidateScorer
from strategy_rl.generation.prompts import PromptEncoder, PromptFormat
from strategy_rl.models import resolve_model
from strategy_rl.policy.spaces import CANDIDATES, MASK, ObservationSpec, part_of

LikelihoodScore: TypeAlias = Literal["mean", "sum", "pmi"]

_MOST_PROMPT, _MOST_CANDIDATE = 512, 256  # tokens; together they fit into GPT-2


@dataclass(frozen=True)
class LikelihoodActor:
    """The likeliest legal candidate; zero-shot.

    Attributes:
        model: A language model of any kind, not the one that is trained.
        spec: Which fields of an observation are its context.
        score: `mean` log-probability of a candidate's tokens, their `sum`, or `pmi`: by how much
            the context raises the sum.
    """

    model: LanguageModel
    spec: ObservationSpec
    score: LikelihoodScore = "mean"

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """The likeliest legal candidate of each observation."""
        contexts = self._prompts.encode([self._context_of(obs) for obs in observations])
        candidates = [[self._ids_of(text) for text in obs[CANDIDATES]] for obs in observations]
        scores = self._scores(contexts, candidates)
        return [
            Choice(_likeliest(group, obs.get(MASK, info.get(MASK))))
            for group, obs, info in zip(scores, observations, infos, strict=True)
        ]

    def _scores(
        self, contexts: Sequence[Sequence[int]], candidates: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[float]]:
        found = self._scorer.logprobs(contexts, candidates)
        if self.score != "pmi":
            measure = torch.mean if self.score == "mean" else torch.sum
            return [[float(measure(tokens)) for tokens in group] for group in found]
        alone = self._alone([ids for group in candidates for ids in group])
        return [
            [
                float(tokens.sum() - alone[tuple(ids)].sum())
                for tokens, ids in zip(group, offered, strict=True)
            ]
            for group, offered in zip(found, candidates, strict=True)
        ]

    def _alone(self, candidates: Sequence[Sequence[int]]) -> dict[tuple[int, ...], Tensor]:
        """The same of each candidate after a prompt that says nothing."""
        known = self._known_alone
        new = list(dict.fromkeys(tuple(ids) for ids in candidates if tuple(ids) not in known))
        empty = self._prompts.encode([""])
        known.update(zip(new, self._scorer.logprobs(empty, [new])[0], strict=True))
        return known

    def _context_of(self, observation: Mapping[str, Any]) -> Any:
        texts = {name: part_of(observation, name) for name, _ in self.spec.text_fields}
        return texts if any(texts.values()) else ""

    def _ids_of(self, text: str) -> list[int]:
        return self._prompts.encode_response(text)[:_MOST_CANDIDATE]

    @cached_property
    def _prompts(self) -> PromptEncoder:
        return PromptEncoder(self.model.tokenizer, PromptFormat(max_tokens=_MOST_PROMPT))

    @cached_property
    def _scorer(self) -> CandidateScorer:
        return CandidateScorer(self.model)

    @cached_property
    def _known_alone(self) -> dict[tuple[int, ...], Tensor]:
        return {}


def load_likelihood_actor(
    model: str, spec: ObservationSpec, score: LikelihoodScore, device: torch.device
) -> LikelihoodActor:
    """Load a language model, frozen and in float32, to choose by.

    Args:
        model: A Hugging Face id, a folder or `package:NAME`.
        spec: Of the task's observations.
        score: What is compared.
        device: Where it runs.

    Raises:
        ModelError: It cannot be loaded.
    """
    settings = BackboneSettings(train="frozen", dtype="float32")
    return LikelihoodActor(
        load_language_model(str(resolve_model(model)), settings, device=device), spec, score
    )


def _likeliest(scores: Sequence[float], mask: Any) -> int:
    """The first of the best legal candidates; the first legal action where none is."""
    if mask is None:
        return int(np.argmax(scores))
    legal = np.asarray(mask, dtype=bool)
    offered = np.where(legal[: len(scores)], scores, -np.inf)
    return int(np.argmax(offered if np.isfinite(offered).any() else legal))
