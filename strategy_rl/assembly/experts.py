"""Whether a task names expert actions. Knows how a row begins; plays none to its end."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

from strategy_rl.env import EnvSlots
from strategy_rl.seeding import derive_seed


def has_expert(slots: EnvSlots, seed: int) -> bool:
    """Whether the task names expert actions, in some of its rows at least."""
    return any(_first_experts(slots, seed))


def has_expert_everywhere(
    slots: EnvSlots, seed: int, known: Mapping[int, bool] | None = None
) -> bool:
    """Whether it names one in every row, so that the expert can be compared with.

    Args:
        slots: Of the task.
        seed: Of the experiment.
        known: Of rows that were played, whether they began with one. They are not begun again: to
            begin a row may cost a language model's reading of its prompt.
    """
    known = known or {}
    return all(known.values()) and all(_first_experts(slots, seed, known))


def _first_experts(slots: EnvSlots, seed: int, known: Container[int] = ()) -> Iterator[bool]:
    """Of each row, or of one episode without rows: whether it begins with an expert action."""
    rows = [None] if slots.num_rows is None else range(slots.num_rows)
    for row in rows:
        if row in known:
            continue
        options = None if row is None else {"row": row}
        start = slots.reset([0], [derive_seed(seed, "probe")], [options])[0]
        yield "expert_action" in start.info
