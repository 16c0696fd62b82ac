"""Collects what is wrong with an environment, each fault with what replays it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ACTIONS_SHOWN = 200


class ContractError(AssertionError):
    """An environment breaks its contract; `faults` maps each broken rule to what was seen."""

    def __init__(self, env_id: str, faults: Mapping[str, str]) -> None:
        lines = [f"{env_id} breaks {len(faults)} rule(s) of the environment contract:"]
        lines += [f"- {rule}: {seen}" for rule, seen in faults.items()]
        super().__init__("\n".join(lines))
        self.faults = dict(faults)


@dataclass
class Replay:
    """How to come again to the step in which a fault was seen."""

    seed: int | None = None
    options: Mapping[str, Any] | None = None
    actions: list[Any] = field(default_factory=list)

    def __str__(self) -> str:
        shown = ", ".join(str(action) for action in self.actions[:_ACTIONS_SHOWN])
        more = len(self.actions) - _ACTIONS_SHOWN
        tail = f", ... {more} more" if more > 0 else ""
        return f"replay: reset(seed={self.seed}, options={self.options}), actions [{shown}{tail}]"


class Faults:
    """The first sight of each broken rule.

    Args:
        env_id: the environment's id.
        kwargs: what it was made with.
    """

    def __init__(self, env_id: str, kwargs: Mapping[str, Any]) -> None:
        self._env_id = env_id
        self._kwargs = dict(kwargs)
        self._seen: dict[str, str] = {}

    def broken(self, *rules: str) -> bool:
        """Say whether any of these rules is broken."""
        return not self._seen.keys().isdisjoint(rules)

    def note(self, rule: str, seen: str, replay: Replay | None = None) -> None:
        """Record that `rule` is broken, unless it already is."""
        if rule in self._seen:
            return
        made = f"made with {self._kwargs}; " if self._kwargs else ""
        self._seen[rule] = f"{seen} ({made}{replay})" if replay else seen

    def raise_if_any(self) -> None:
        """Raise `ContractError` with every broken rule, if there is one."""
        if self._seen:
            raise ContractError(self._env_id, self._seen)
