"""The names under which a component appears in a score: the same ones at every step."""

from __future__ import annotations

from collections.abc import Sequence

from strategy_rl_envs.rewards.numbers import NotANumber, Raw


class Parts:
    """One name for a function that gives a number, `name/sub` for one that gives sub-scores.

    Sub-scores that were not declared are learned from the first step. A first step without them
    (abstained, dropped) is shown under the plain name, which later steps must keep to.
    """

    def __init__(self, name: str, declared: Sequence[str]) -> None:
        self._name = name
        self._subs: tuple[str, ...] | None = tuple(declared) or None
        self._shown_plain = False

    @property
    def names(self) -> tuple[str, ...]:
        """Under which names it appears."""
        if self._subs is None:
            self._shown_plain = True
            return (self._name,)
        return tuple(f"{self._name}/{sub}" for sub in self._subs)

    def entries(self, raw: Raw) -> dict[str, float | None]:
        """Values by name.

        Raises:
            NotANumber: there are other sub-scores than before.
        """
        if isinstance(raw, dict):
            self._check(tuple(raw))
            return {f"{self._name}/{sub}": raw[sub] for sub in self._subs or ()}
        if self._subs is None:
            self._shown_plain = True
            return {self._name: raw}
        if raw is None:
            return dict.fromkeys(self.names)
        raise NotANumber(f"gave the number {raw}; expected the sub-scores {', '.join(self._subs)}")

    def _check(self, subs: tuple[str, ...]) -> None:
        if self._subs is None and not self._shown_plain:
            self._subs = subs
        if self._subs is None:
            raise NotANumber(
                f"gave the sub-scores {', '.join(subs)} after steps without them; name them "
                f"beforehand: @reward(parts={list(subs)})"
            )
        if set(subs) != set(self._subs):
            raise NotANumber(
                f"gave the sub-scores {', '.join(subs)}; expected {', '.join(self._subs)}, "
                "the same at every step"
            )
