"""Observations to tensors. Knows spaces and the table of texts; nothing of networks.

Shapes: B observations, C context slots, K candidates at most, P pair features (the task's own
numbers of a candidate are the last of them), M numbers, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strategy_rl.errors import EnvironmentFault
from strategy_rl.features import TextTable
from strategy_rl.policy.distributions import ActionSpec
from strategy_rl.policy.pairs import PairFeatures
from strategy_rl.policy.spaces import (
    CANDIDATE_FEATURES,
    CANDIDATES,
    MASK,
    WHOLE,
    ObservationSpec,
    part_of,
)

NO_TEXT = -1


@dataclass(frozen=True)
class ObservationBatch:
    """Observations side by side; texts as ids of the table, `NO_TEXT` where there is none."""

    context: Tensor  # (B, C) int64
    candidates: Tensor  # (B, K) int64
    pairs: Tensor  # (B, K, P) float32
    numbers: Tensor  # (B, M) float32
    mask: Tensor  # (B, A) bool

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, index: Tensor | slice) -> ObservationBatch:
        return ObservationBatch(
            self.context[index],
            self.candidates[index],
            self.pairs[index],
            self.numbers[index],
            self.mask[index],
        )

    def split(self, size: int) -> list[ObservationBatch]:
        """Batches of `size` observations in order; the last may be shorter."""
        if len(self) == 0:
            return []
        parts = (getattr(self, f.name).split(size) for f in fields(self))
        return [ObservationBatch(*tensors) for tensors in zip(*parts, strict=True)]

    def to(self, device: torch.device | str) -> ObservationBatch:
        """The same batch on another device."""
        return ObservationBatch(*(getattr(self, f.name).to(device) for f in fields(self)))

    @staticmethod
    def concatenate(batches: Sequence[ObservationBatch]) -> ObservationBatch:
        """All batches as one, in order."""
        names = [f.name for f in fields(ObservationBatch)]
        return ObservationBatch(*(torch.cat([getattr(b, n) for b in batches]) for n in names))


class ObservationEncoder:
    """Turns the observations of one environment into an `ObservationBatch`."""

    def __init__(
        self,
        spec: ObservationSpec,
        action: ActionSpec,
        table: TextTable | None,
        pairs: PairFeatures | None,
    ) -> None:
        self.spec = spec
        self.action = action
        self.table = table
        self.pairs = pairs

    def encode(
        self,
        observations: Sequence[Any],
        masks: Sequence[Any] | None = None,
        *,
        to_act: bool = True,
    ) -> ObservationBatch:
        """Encode observations; `masks[i]` counts where observation i carries none itself.

        Without `to_act`, as after the end of an episode, no action need be legal.

        Raises:
            EnvironmentFault: No legal action, a mask or numbers of the wrong shape, numbers that
                are not finite, or too many candidates.
        """
        size, spec = len(observations), self.spec
        num_slots = spec.num_slots
        context = np.full((size, num_slots), NO_TEXT, dtype=np.int64)
        candidates = np.full((size, spec.max_candidates), NO_TEXT, dtype=np.int64)
        numbers = np.empty((size, spec.num_numbers), dtype=np.float32)
        mask = np.empty((size, self.action.num_logits), dtype=bool)
        width = self.pairs.width if self.pairs else 0
        columns = width + spec.num_candidate_features
        pairs = np.zeros((size, spec.max_candidates, columns), dtype=np.float32)
        for row, observation in enumerate(observations):
            parts = observation if isinstance(observation, Mapping) else {WHOLE: observation}
            try:
                if num_slots:
                    self._context_into(parts, context[row])
                offered = self._candidates_into(parts, candidates[row])
                self._numbers_into(parts, numbers[row])
                if columns > width:
                    self._features_into(parts, offered, pairs[row, :, width:])
                given = parts.get(MASK, masks[row] if masks is not None else None)
                self._mask_into(given, offered, mask[row])
            except (EnvironmentFault, LookupError, TypeError, ValueError) as error:
                raise _misfit(error, row) from error
            if self.pairs and offered:
                pairs[row, :offered, :width] = self.pairs.of(
                    context[row], candidates[row, :offered]
                )
        if to_act:
            self._require_legal(mask)
        arrays = (context, candidates, pairs, numbers, mask)
        return ObservationBatch(*(torch.from_numpy(array) for array in arrays))

    def _context_into(self, parts: Mapping[str, Any], out: np.ndarray) -> None:
        assert self.table is not None
        start = 0
        for name, slots in self.spec.text_fields:
            value = part_of(parts, name)
            texts = (value,) if isinstance(value, str) else tuple(value)[-slots:]
            if texts:
                ids = self.table.ids(texts)
                out[start + slots - len(ids) : start + slots] = ids  # the last turn comes last
            start += slots

    def _candidates_into(self, parts: Mapping[str, Any], out: np.ndarray) -> int:
        if not self.spec.max_candidates:
            return 0
        assert self.table is not None
        texts = parts[CANDIDATES]
        if len(texts) > len(out):
            raise EnvironmentFault(
                f"an observation offers {len(texts)} candidates, the action space has room for "
                f"{len(out)}; raise the task's max_candidates"
            )
        out[: len(texts)] = self.table.ids(texts)
        return len(texts)

    def _numbers_into(self, parts: Mapping[str, Any], out: np.ndarray) -> None:
        start = 0
        for name, width, one_hot in self.spec.number_fields:
            given = part_of(parts, name)
            value = np.ravel(given)
            fits = value.size == (1 if one_hot else width)
            if fits and one_hot:
                value = np.arange(one_hot) == value
                fits = value.any()
            if not fits:
                wanted = f"a whole number below {one_hot}" if one_hot else f"{width} numbers"
                raise EnvironmentFault(
                    f"observation field {name!r} holds {given}, the space asks for {wanted}"
                )
            out[start : start + width] = value
            start += width
        if start and not np.isfinite(out).all():
            raise EnvironmentFault(f"an observation holds numbers that are not finite: {out}")

    def _features_into(self, parts: Mapping[str, Any], offered: int, out: np.ndarray) -> None:
        """The task's numbers of the candidates that are there; padding stays 0."""
        given = np.asarray(parts[CANDIDATE_FEATURES], dtype=np.float32)
        if given.ndim != 2 or given.shape[1] != out.shape[1] or not offered <= len(given):
            raise EnvironmentFault(
                f"{CANDIDATE_FEATURES!r} has shape {given.shape}, expected {out.shape[1]} numbers "
                f"for each of {offered} candidates"
            )
        if not np.isfinite(given[:offered]).all():
            raise EnvironmentFault(f"{CANDIDATE_FEATURES!r} holds numbers that are not finite")
        out[:offered] = given[:offered]

    def _mask_into(self, given: Any, offered: int, out: np.ndarray) -> None:
        if given is not None:
            given = np.concatenate(given) if isinstance(given, tuple) else np.asarray(given)
            given = given.reshape(-1)
            if given.shape != out.shape:
                raise EnvironmentFault(
                    f"an action mask has shape {given.shape}, the action space asks for {out.shape}"
                )
            out[:] = given
        else:
            out[:] = True
        if self.spec.max_candidates:
            out[offered : self.spec.max_candidates] = False

    def _require_legal(self, mask: np.ndarray) -> None:
        """Every factor of every observation has a legal action; `mask` has shape (B, A)."""
        start = 0
        for size in self.action.sizes if self.action.kind != "box" else ():
            legal = mask[:, start : start + size].any(1)
            if not legal.all():
                text = "an observation leaves no legal action; end the episode instead"
                raise _misfit(EnvironmentFault(text), int(legal.argmin()))
            start += size


def _misfit(error: Exception, row: int) -> EnvironmentFault:
    """The fault of one observation of several."""
    text = str(error)
    if not isinstance(error, EnvironmentFault):
        text = f"an observation does not fit its space: {type(error).__name__}: {error}"
    fault = EnvironmentFault(text)
    fault.place = row
    return fault
