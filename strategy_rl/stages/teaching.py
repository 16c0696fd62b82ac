"""What a run's policy is taught by: a file of demonstrations, or the task's expert.

Knows which rows are shown and which are held back to judge by; no loss, and nothing of the run's
folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from strategy_rl.assembly import World, has_expert, row_plans, validation_plans
from strategy_rl.config import Experiment
from strategy_rl.demonstrations import (
    AnyDemonstrations,
    RawDemonstrations,
    first_looks,
    read_demonstrations,
    roll_expert,
)
from strategy_rl.errors import EnvironmentFault, InputError
from strategy_rl.evaluation import greedy_return
from strategy_rl.generation import AnyPolicy
from strategy_rl.policy import Policy
from strategy_rl.sft import Validation, unused_specials


class Teaching:
    """The demonstrations of a run.

    Attributes:
        raw: Them before any text is encoded, as `file`, or by split where the task has an expert.

    Raises:
        InputError: The file does not suit the policy, or there is nobody to imitate.
    """

    def __init__(self, experiment: Experiment, world: World, policy: AnyPolicy) -> None:
        self.sft, self.seed, self.world = experiment.sft, experiment.seed, world
        self.raw: dict[str, RawDemonstrations] = {}
        if self.sft.demonstrations is not None:
            self.raw["file"] = _read_file(Path(self.sft.demonstrations), policy)
        elif self.sft.epochs and not has_expert(world.train, self.seed):
            raise InputError(
                "the task has no expert (its info holds no `expert_action`); give "
                "sft.demonstrations, or set sft.epochs=0"
            )

    def gather(self, *, encoded: bool, heed: Callable[[], None]) -> dict[str, RawDemonstrations]:
        """All that is known beforehand, by split: what the expert does, or how episodes begin.

        Args:
            encoded: Texts of the observations will be encoded.
            heed: Called after each split; it may raise.

        Raises:
            InputError: The expert leads in training rows alone, and SFT is judged by it.
        """
        world, expert = self.world, has_expert(self.world.train, self.seed)
        splits = {"train": world.train, "validation": world.validation, "test": world.test}
        seen = dict(self.raw)
        for name, slots in splits.items():
            every = None if slots.num_rows is None else list(range(slots.num_rows))
            plans = row_plans(every, self.seed, name)
            # Where no text is encoded, nothing is learnt of what the expert does in test rows.
            led = expert and (name != "test" or encoded)
            seen[name] = roll_expert(slots, plans) if led else first_looks(slots, plans)
            heed()
        if expert:
            self.raw = seen
            self._check_validation()
        return seen

    def _check_validation(self) -> None:
        if self.sft.epochs and "file" not in self.raw and not self.raw["validation"].taught:
            raise InputError(
                "the task has an expert in training rows, but in no validation row, by which SFT "
                "is judged; give it one there (under decoding control: search --split validation), "
                "or set sft.epochs=0"
            )

    def of_rows(self, rows: list[int] | None) -> RawDemonstrations:
        """The file, else what the expert does in these training rows.

        Raises:
            InputError: It does nothing there.
        """
        raw = self.raw.get("file") or roll_expert(
            self.world.train, row_plans(rows, self.seed, "demonstrations")
        )
        if not raw.taught:
            raise InputError("no row of sft.share has an expert action; raise the share")
        return raw.taught

    def with_validation(
        self, policy: AnyPolicy, demonstrations: AnyDemonstrations
    ) -> tuple[AnyDemonstrations, Validation]:
        """What to train on, and what to judge by: the expert, else the last tenth of a file."""
        slots = self.world.validation
        plans = validation_plans(slots, self.seed)
        if "validation" in self.raw:
            held_out = self.raw["validation"].taught.encode(policy)
        else:
            count = max(len(demonstrations) // 10, 1)
            held_out = demonstrations[slice(-count, None)]
            demonstrations = demonstrations[slice(None, -count)]
        return demonstrations, Validation(held_out, lambda: greedy_return(policy, slots, plans))

    def left_out(self, policy: Policy) -> Tensor | None:
        """Special actions that SFT has never seen, bool (actions,); None where there are none."""
        if policy.spec.action.kind != "categorical":
            return None
        raw = self.raw.get("file") or self.raw["train"]
        unused = unused_specials(policy, torch.as_tensor(raw.taught.actions))
        if not unused:
            return None
        left_out = torch.zeros(policy.spec.action.num_logits, dtype=torch.bool)
        left_out[unused] = True
        return left_out.to(policy.device)


def _read_file(path: Path, policy: AnyPolicy) -> RawDemonstrations:
    """Demonstrations that this policy can learn from."""
    raw = read_demonstrations(path)
    try:
        raw.encode(policy)
    except EnvironmentFault as fault:
        raise InputError(f"{path}:{(fault.place or 0) + 1}: {fault}") from fault
    return raw
