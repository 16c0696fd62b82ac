"""A language model as the policy of any Gymnasium environment: SFT, then PPO, open to inspection.

Public names load on first use, so that importing the package imports neither torch nor pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strategy_rl import errors
    from strategy_rl.config import Experiment, load_experiment
    from strategy_rl.generation import TextDecision, TextPolicy
    from strategy_rl.policy import Decision, Policy
    from strategy_rl.runner import resume, run

__version__ = "0.1.0"

__all__ = [
    "Decision",
    "Experiment",
    "Policy",
    "TextDecision",
    "TextPolicy",
    "errors",
    "load_experiment",
    "resume",
    "run",
]

_HOMES = {
    "Decision": "strategy_rl.policy",
    "Experiment": "strategy_rl.config",
    "Policy": "strategy_rl.policy",
    "TextDecision": "strategy_rl.generation",
    "TextPolicy": "strategy_rl.generation",
    "load_experiment": "strategy_rl.config",
    "resume": "strategy_rl.runner",
    "run": "strategy_rl.runner",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("strategy_rl.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'strategy_rl' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
