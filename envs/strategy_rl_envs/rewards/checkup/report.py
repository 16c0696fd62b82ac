"""The check-up's result as a table for the screen and as JSON."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from strategy_rl_envs.rewards.checkup.board import Entry
from strategy_rl_envs.rewards.checkup.finding import Finding

WIDTH = 110
_COLUMNS = (("", 4), ("check", 33), ("value", 32), ("expected", 24), ("rows", 0))


@dataclass(frozen=True)
class CheckUp:
    """What was found.

    Attributes:
        findings: One entry a check.
        scores: Mean reward and components by strategy, where outputs were scripted.
        returns: Mean episode return by policy.
        notes: What was looked at, and what stood in for what.
    """

    findings: tuple[Finding, ...]
    scores: Mapping[str, Entry] = field(default_factory=dict)
    returns: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether any verdict is `fail`."""
        return any(finding.verdict == "fail" for finding in self.findings)

    @property
    def faults(self) -> tuple[str, ...]:
        """Names of the faults whose verdict is `fail`, each once."""
        named = (f.fault or f.name for f in self.findings if f.verdict == "fail")
        return tuple(dict.fromkeys(named))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Names of the faults whose verdict is `warn`, each once."""
        named = (f.fault or f.name for f in self.findings if f.verdict == "warn")
        return tuple(dict.fromkeys(named))

    def to_json(self) -> dict[str, Any]:
        """Everything, as strict JSON holds it."""
        return {
            "schema": 1,
            "verdicts": dict(Counter(finding.verdict for finding in self.findings)),
            "faults": list(self.faults),
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "checks": [finding.to_json() for finding in self.findings],
            "strategies": {
                name: {"reward": entry.score, "components": dict(entry.components)}
                for name, entry in self.scores.items()
            },
            "policies": dict(self.returns),
        }

    def table(self) -> str:
        """The findings in at most `WIDTH` columns; below each that is not ok, what it means."""
        parts = ["\n".join(self.notes), _line([title for title, _ in _COLUMNS])]
        for finding in self.findings:
            if finding.verdict != "n/a":
                parts.append(_row(finding))
            if finding.verdict in ("warn", "fail"):
                parts.append(_indented(f"{finding.fault}: {finding.meaning}"))
        reasons = _grouped(self.findings).items()
        parts += [_indented(f"{why} ({', '.join(_ranges(checks))})") for why, checks in reasons]
        return "\n".join([*parts, self._summary()])

    def _summary(self) -> str:
        counts = Counter(finding.verdict for finding in self.findings)
        line = f"{counts['ok']} ok, {counts['warn']} warnings, {counts['fail']} failures, "
        line += f"{counts['n/a']} not applicable"
        named = textwrap.fill(f"failures: {'; '.join(self.faults)}", WIDTH)
        return f"{line}\n{named}" if self.faults else line


def _row(finding: Finding) -> str:
    rows = " ".join(map(str, finding.rows))
    verdict = finding.verdict.upper() if finding.verdict == "fail" else finding.verdict
    name = f"{finding.check} {finding.name}"
    return _line([verdict, name, finding.shown, finding.threshold, rows])


def _line(cells: Sequence[str]) -> str:
    padded = [
        textwrap.shorten(cell, width, placeholder="...").ljust(width) if width else cell
        for cell, (_, width) in zip(cells, _COLUMNS, strict=True)
    ]
    return " ".join(padded).rstrip()[:WIDTH]


def _indented(text: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=" " * 7, subsequent_indent=" " * 7, break_long_words=True
    )


def _grouped(findings: Sequence[Finding]) -> dict[str, list[str]]:
    """The checks that make no sense here, by the reason why."""
    reasons: dict[str, list[str]] = {}
    for finding in findings:
        if finding.verdict == "n/a":
            reasons.setdefault(finding.meaning, []).append(finding.check)
    return reasons


def _ranges(checks: Sequence[str]) -> list[str]:
    """Runs of three or more numbers as `8-26`."""
    found: list[list[str]] = []
    for check in checks:
        last = found[-1][-1] if found else ""
        if check.isdigit() and last.isdigit() and int(check) == int(last) + 1:
            found[-1].append(check)
        else:
            found.append([check])
    return [f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(run) for run in found]
