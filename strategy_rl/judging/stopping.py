"""Rivals that answer or stop by how sure a policy is: the wanted ones, made in their turn.

Knows the rules of `rivals` and the rows that they are fitted on; not who else is judged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeAlias, cast

from strategy_rl.actors import Actor
from strategy_rl.assembly import validation_plans
from strategy_rl.config import Experiment
from strategy_rl.env import EnvSlots
from strategy_rl.generation import AnyPolicy
from strategy_rl.policy import Policy
from strategy_rl.rivals import (
    StoppingActor,
    StoppingRecord,
    StoppingRule,
    fit_plug_in_dp,
    fit_threshold,
    fit_threshold_by_state,
    record_stopping,
)

Maker: TypeAlias = Callable[[], Actor | None]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoppingRivals:
    """The stopping rules of a policy with special actions.

    Attributes:
        experiment: Says which are wanted.
        slots: Environments of the validation split, on which the rules are fitted.
        sft: Lends the policy as it was after SFT.
        train_all_rows: Trains the rival that sees every training row's label.
    """

    experiment: Experiment
    slots: EnvSlots
    sft: Callable[[], Policy]
    train_all_rows: Callable[[], AnyPolicy]

    def makers(self) -> dict[str, Maker]:
        """The wanted ones by name; None where a special action does not end an episode."""
        wanted = self.experiment.evaluation.rivals
        rules = {
            "threshold": ("sft_threshold", fit_threshold),
            "threshold_by_state": ("sft_threshold_by_state", fit_threshold_by_state),
            "dp": ("sft_dp", fit_plug_in_dp),
        }
        found: dict[str, Maker] = {
            name: partial(self._stopping, fit)
            for key, (name, fit) in rules.items()
            if key in wanted
        }
        if "special_bias" in wanted:
            found["sft_special_bias"] = self._biased
        if self.experiment.sft.demonstrations is None:
            if "all_rows_dp" in wanted:
                found["all_rows_dp"] = partial(self._stopping_on_all_rows, fit_plug_in_dp)
            if "all_rows_special_bias" in wanted:
                bias = partial(self._stopping_on_all_rows, fit_threshold, odds=True)
                found["all_rows_special_bias"] = bias
        return found

    def _stopping(self, fit: Callable[[StoppingRecord], StoppingRule]) -> Actor | None:
        record = self._sft_record
        if record is None:
            return None
        return StoppingActor(self.sft(), fit(record))

    def _biased(self) -> Actor | None:
        """SFT with the best bias of its special action: a threshold on the odds against it."""
        policy = self.sft()
        record = self._record(policy, odds=True)
        if record is None:
            return None
        return StoppingActor(policy, fit_threshold(record), odds=True)

    def _stopping_on_all_rows(
        self, fit: Callable[[StoppingRecord], StoppingRule], *, odds: bool = False
    ) -> Actor | None:
        if self._sft_record is None:
            return None
        policy = self._all_rows_policy
        record = self._record(policy, odds)
        return None if record is None else StoppingActor(policy, fit(record), odds)

    @cached_property
    def _all_rows_policy(self) -> Policy:
        return cast(Policy, self.train_all_rows())

    @cached_property
    def _sft_record(self) -> StoppingRecord | None:
        record = self._record(self.sft())
        if record is None:
            log.info("a special action does not end an episode here: no stopping rules to compare")
        return record

    def _record(self, policy: Policy, odds: bool = False) -> StoppingRecord | None:
        plans = validation_plans(self.slots, self.experiment.seed)
        return record_stopping(policy, self.slots, plans, odds)
