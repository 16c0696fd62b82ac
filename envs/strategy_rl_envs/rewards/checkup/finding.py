"""What one check found. Knows no reward and no environment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["ok", "warn", "fail", "n/a"]
SHOWN_ROWS = 3


@dataclass(frozen=True)
class Finding:
    """One check: what was measured, what was expected, and what follows.

    Attributes:
        check: Number of the check; policies as strategies have a letter and a number.
        name: What was looked at.
        verdict: `n/a` where the check makes no sense for this task or reward.
        shown: The measured value, as it is printed.
        threshold: What it was held to.
        meaning: One line: what the verdict says about the reward.
        fault: Name of the fault, where the verdict is `warn` or `fail`.
        value: The measured value; None where there is no single number.
        rows: The worst rows, worst first.
    """

    check: str
    name: str
    verdict: Verdict
    shown: str
    threshold: str
    meaning: str
    fault: str | None = None
    value: float | None = None
    rows: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The fields, as JSON holds them."""
        return {**asdict(self), "rows": list(self.rows)}


def not_applicable(check: str, name: str, reason: str) -> Finding:
    """A check that makes no sense here."""
    return Finding(check, name, "n/a", "-", "-", f"not applicable: {reason}")


def graded(value: float, *, warn: float, fail: float) -> Verdict:
    """`fail` above one threshold, `warn` above the other, else `ok`; NaN fails."""
    if not value <= fail:
        return "fail"
    return "warn" if value > warn else "ok"


def worse(first: Verdict, second: Verdict) -> Verdict:
    """The more serious of two verdicts."""
    order: Sequence[Verdict] = ("n/a", "ok", "warn", "fail")
    return max(first, second, key=order.index)


def worst_rows(badness: Iterable[tuple[float, int]]) -> tuple[int, ...]:
    """The rows with the greatest badness above 0, greatest first, each once.

    Args:
        badness: Pairs of badness and row.
    """
    ranked = sorted(((value, -row) for value, row in badness if value > 0), reverse=True)
    return tuple(dict.fromkeys(-row for _, row in ranked))[:SHOWN_ROWS]
