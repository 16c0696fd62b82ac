"""Texts written side by side by the frozen model. Knows tokens, no rows and no rewards.

A slot holds one text at most. The rows of the cache are the slots whose texts go on, in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strategy_rl_envs.decoding_control.cache import Rows, without
from strategy_rl_envs.decoding_control.drawing import Controls, draw, surprisals
from strategy_rl_envs.decoding_control.knobs import Setting
from strategy_rl_envs.decoding_control.language import Ids, Language
from strategy_rl_envs.decoding_control.observing import Array, Observer
from strategy_rl_envs.decoding_control.surface import Text


@dataclass(frozen=True)
class Order:
    """What to write in one slot.

    Attributes:
        setting: How.
        text: What stands there so far.
        uniforms: Float64 (T,) in [0, 1): a number for each token, one at least.
        closes: Whether the text is over after so many tokens.
    """

    setting: Setting
    text: Text
    uniforms: NDArray[np.float64]
    closes: bool


@dataclass
class Written:
    """What was written in one slot.

    Attributes:
        tokens: Without an end token.
        over: Whether the text is over.
        surprisals: Of what was drawn, an end token included, to the model as it is; nats.
    """

    tokens: list[int] = field(default_factory=list)
    over: bool = False
    surprisals: list[float] = field(default_factory=list)


class Writer:
    """Writes texts and makes observations of them.

    Args:
        language: The model.
        observer: Makes the observations.
    """

    def __init__(self, language: Language, observer: Observer) -> None:
        self._language, self._observer = language, observer
        self._rows = Rows()
        self._slots: list[int] = []  # by row
        self._logits = self._previous = self._starts = torch.empty(0, 0)  # by row

    @torch.no_grad()
    def begin(self, slots: Sequence[int], prompts: Sequence[Ids], prefix: Ids, room: int) -> None:
        """Read a prompt in each slot named; what was there is forgotten.

        Args:
            slots: Different ones.
            prompts: Token ids for each.
            prefix: What all prompts begin with.
            room: The most tokens that will be written after each.
        """
        self.drop(slots)
        reads = self._language.read(prompts, prefix)
        self._rows.add(reads, room)
        self._slots += slots
        logits = torch.stack([read.logits for read in reads])
        self._logits = _joined(self._logits, logits)
        self._previous = _joined(self._previous, logits)
        self._starts = _joined(self._starts, self._observer.starts(logits))

    def drop(self, slots: Iterable[int]) -> None:
        """Forget the texts in these slots, where there are any."""
        gone = set(slots)
        self._leave([row for row, slot in enumerate(self._slots) if slot in gone])

    @torch.no_grad()
    def write(self, orders: Mapping[int, Order]) -> dict[int, Written]:
        """Go on with every text there is; those that are over are forgotten.

        Args:
            orders: One for each slot that holds a text; those that do not close have the same
                number of tokens, and those that do no more.
        """
        written = {slot: Written() for slot in orders}
        own = [orders[slot] for slot in self._slots]
        controls = Controls.of([order.setting for order in own])
        for step in range(max((len(order.uniforms) for order in own), default=0)):
            uniforms = torch.tensor([orders[slot].uniforms[step] for slot in self._slots])
            wanted = [_wanted(orders[slot], written[slot]) for slot in self._slots]
            ends = self._language.end_ids
            tokens = draw(self._logits, self._rows.ids, controls, uniforms, wanted, ends)
            nats = surprisals(self._logits, tokens).tolist()
            over = []
            for row, (slot, token) in enumerate(zip(self._slots, tokens.tolist(), strict=True)):
                written[slot].surprisals.append(nats[row])
                if self._take(token, step, orders[slot], written[slot]):
                    over.append(row)
            left = self._leave(over)
            if not len(left):
                break
            tokens, controls = tokens[left], controls.take(left)
            self._previous = self._logits
            self._logits = self._language.feed(self._rows, tokens)
        return written

    @torch.no_grad()
    def observe(self, texts: Mapping[int, Text]) -> dict[int, Array]:
        """An observation (F,) for each slot named.

        Args:
            texts: What stands in it.
        """
        rows = torch.tensor([self._slots.index(slot) for slot in texts], dtype=torch.int64)
        if not len(rows):
            return {}
        logits, previous = self._logits[rows], self._previous[rows]
        found = self._observer.observe(logits, previous, self._starts[rows], list(texts.values()))
        return dict(zip(texts, found, strict=True))

    def _take(self, token: int, step: int, order: Order, written: Written) -> bool:
        """Note a token, and say whether the text is over."""
        if token in self._language.end_ids:
            written.over = True
        else:
            written.tokens.append(token)
            written.over = order.closes and step == len(order.uniforms) - 1
        return written.over

    def _leave(self, rows: Sequence[int]) -> Tensor:
        """Forget some rows; which rows the others were, in their new order."""
        order = without(len(self._slots), rows)
        kept = torch.tensor(order, dtype=torch.int64)
        if rows:
            self._rows.keep(order)
            self._slots = [self._slots[row] for row in order]
            self._logits, self._previous = self._logits[kept], self._previous[kept]
            self._starts = self._starts[kept]
        return kept


def _wanted(order: Order, written: Written) -> list[int]:
    """The tokens that a setting's keyword bonus is for."""
    if not order.setting.keyword_bonus:
        return []
    return order.text.target.next_ids([*order.text.tokens, *written.tokens])


def _joined(old: Tensor, new: Tensor) -> Tensor:
    return torch.cat([old, new]) if len(old) else new
