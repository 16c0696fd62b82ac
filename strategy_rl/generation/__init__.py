"""Policies that write: prompts in, texts out, one decision a token."""

from typing import TypeAlias

from strategy_rl.generation.engine import Engine, LocalEngine, Response
from strategy_rl.generation.policy import TextDecision, TextPolicy, TextPolicySpec, TokenOutput
from strategy_rl.policy import Policy

AnyPolicy: TypeAlias = Policy | TextPolicy

__all__ = [
    "AnyPolicy",
    "Engine",
    "LocalEngine",
    "Response",
    "TextDecision",
    "TextPolicy",
    "TextPolicySpec",
    "TokenOutput",
]
