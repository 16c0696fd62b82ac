"""A handful of environments of one task, stepped together. Knows no policy."""

from strategy_rl.env.answers import ResetResult, StepResult
from strategy_rl.env.composition import Composition, Moments
from strategy_rl.env.faults import fault_at
from strategy_rl.env.making import find_spec, make_slots
from strategy_rl.env.slots import EnvSlots
from strategy_rl.env.vector import VectorSlots

__all__ = [
    "Composition",
    "EnvSlots",
    "Moments",
    "ResetResult",
    "StepResult",
    "VectorSlots",
    "fault_at",
    "find_spec",
    "make_slots",
]
