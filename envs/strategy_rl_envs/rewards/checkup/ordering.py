"""Checks 8 to 26: scripted outputs must earn less than the reference, and policies than the expert.

Margins are in shares of the reference's mean score above the lowest of all strategies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from strategy_rl_envs.rewards.checkup.board import GOLD, NEAR_MISS, SOURCE, Board, Entry
from strategy_rl_envs.rewards.checkup.finding import (
    Finding,
    Verdict,
    graded,
    not_applicable,
    worse,
    worst_rows,
)
from strategy_rl_envs.rewards.checkup.material import EXPERT, RANDOM, Played, returns_by_row

MARGIN = 0.05  # by which the reference must win
FLOOR = 0.25  # how far above the lowest score an output without content may be
NEAR = 0.8  # what a near miss must keep of the reference's score
TIE = 1e-9


@dataclass(frozen=True)
class Rule:
    """What is asked of one strategy.

    Attributes:
        check: Its number.
        fault: What it is called when the strategy wins.
        at_floor: It must also be near the lowest score.
        tie: Verdict where it only equals the reference.
    """

    check: str
    fault: str
    at_floor: bool = False
    tie: Verdict = "fail"


RULES: Mapping[str, Rule] = {
    "shuffled words": Rule("13", "word order does not count", tie="warn"),
    "another row's reference": Rule("14", "rewards an answer to something else"),
    SOURCE: Rule("15", "rewards copying the source"),
    "copy of the question": Rule("16", "rewards copying the question"),
    "empty": Rule("17", "rewards empty output", at_floor=True),
    "a full stop": Rule("18", "rewards a bare full stop", at_floor=True),
    "reference repeated": Rule("19", "repetition pays"),
    "one word repeated": Rule("20", "repetition of one word pays"),
    "reference and filler": Rule("21", "rewards length"),
    "reference cut short": Rule("22", "rewards leaving things out"),
    "format only": Rule("23", "rewards form without content"),
    "most frequent reference": Rule("24", "rewards a generic answer"),
    "random words": Rule("25", "rewards random words", at_floor=True),
    "adversarial text": Rule("26", "rewards adversarial text"),
}
_NAMES = {"8": GOLD, "9": NEAR_MISS, "10": "greedy policy", "11": "sampled policy", "12": "lead"}
CHECKS: Mapping[str, str] = _NAMES | {rule.check: name for name, rule in RULES.items()}


@dataclass(frozen=True)
class Outputs:
    """How a policy's own outputs score.

    Attributes:
        greedy: Mean reward a step of the greedy policy; None where no run was given.
        sampled: The same of samples, or of the simple policies that stand in for them.
        gains: What the policy would gain a step by repeating, padding or copying.
        stand_in: The samples are those of simple policies.
    """

    greedy: float | None
    sampled: float | None
    gains: Mapping[str, float]
    stand_in: bool


def ordering_findings(board: Board, outputs: Outputs) -> list[Finding]:
    """Checks 8 to 26 for a reward that reads outputs, on a task that gives references."""
    if board.spread <= TIE:
        reason = "the same reward for every output: see check 27"
        return [not_applicable(check, name, reason) for check, name in CHECKS.items()]
    found = [_gold(board, outputs), _near_miss(board), *_policies_outputs(board, outputs)]
    found.append(_lead(board))
    return found + [_strategy(name, rule, board, outputs) for name, rule in RULES.items()]


def _gold(board: Board, outputs: Outputs) -> Finding:
    level = (board.gold - board.floor) / board.spread
    below = outputs.sampled is not None and board.gold <= outputs.sampled
    verdict: Verdict = "fail" if below or level < 0.5 else "warn" if level < 1 - MARGIN else "ok"
    return Finding(
        check="8",
        name=GOLD,
        verdict=verdict,
        shown=f"{board.gold:.3g}, {level:.0%} of the spread",
        threshold="the highest",
        meaning="the reference earns the most"
        if verdict == "ok"
        else "something else earns more than the reference: the rows below say what",
        fault=None if verdict == "ok" else "the reference is not the best output",
        value=board.gold,
    )


def _near_miss(board: Board) -> Finding:
    entry = board.entries.get(NEAR_MISS)
    if entry is None or board.gold <= board.floor:
        return not_applicable("9", NEAR_MISS, _missing(NEAR_MISS, board))
    kept = (entry.score - board.floor) / (board.gold - board.floor)
    verdict: Verdict = "ok" if kept >= NEAR else "warn"
    return Finding(
        check="9",
        name=NEAR_MISS,
        verdict=verdict,
        shown=f"keeps {kept:.0%}",
        threshold=f">= {NEAR:.0%}",
        meaning="one word dropped, or two swapped, costs little"
        if verdict == "ok"
        else "one slip costs much of the reward: few samples will be near enough to learn from",
        fault=None if verdict == "ok" else "a near miss earns little",
        value=kept,
        rows=worst_rows((-gain, row) for gain, row in entry.gains) if verdict != "ok" else (),
    )


def _policies_outputs(board: Board, outputs: Outputs) -> list[Finding]:
    found = []
    for check, score in (("10", outputs.greedy), ("11", outputs.sampled)):
        name = CHECKS[check]
        if score is None:
            reason = "give a finished run (--run)" if check == "10" else "no output was sampled"
            found.append(not_applicable(check, name, reason))
            continue
        if outputs.stand_in:
            name += " (stand-in)"
        verdict: Verdict = "ok" if score < board.gold else "warn"
        meaning = "the mean reward of what the policy says itself, to compare the others with"
        if verdict == "warn":
            meaning = "the policy's outputs earn as much as the reference: nothing is left to learn"
        fault = None if verdict == "ok" else "no room above the policy"
        shown = f"{score:.3g}"
        found.append(
            Finding(check, name, verdict, shown, "< reference", meaning, fault, float(score))
        )
    return found


def _lead(board: Board) -> Finding:
    entry = board.entries.get("lead")
    if entry is None:
        return not_applicable("12", "lead", _missing("lead", board))
    margin = (board.gold - entry.score) / board.unit
    verdict: Verdict = "ok" if margin > MARGIN else "warn"
    return Finding(
        check="12",
        name="lead",
        verdict=verdict,
        shown=_against_gold(entry, margin),
        threshold=f"margin > {MARGIN:.0%}",
        meaning="the first sentence of the source, which costs no thought",
        fault=None if verdict == "ok" else "the first sentence is as good as the reference",
        value=margin,
        rows=worst_rows(entry.gains) if verdict != "ok" else (),
    )


def _strategy(name: str, rule: Rule, board: Board, outputs: Outputs) -> Finding:
    entry = board.entries.get(name)
    if entry is None:
        return not_applicable(rule.check, name, _missing(name, board))
    margin = (board.gold - entry.score) / board.unit
    verdict: Verdict = "ok" if margin > MARGIN else "warn"
    if margin <= TIE:
        verdict = rule.tie if margin >= -TIE else "fail"
    meaning = f"earns {entry.score:.3g}, the reference {board.gold:.3g}"
    if rule.at_floor:
        level = (entry.score - board.floor) / board.unit
        verdict = worse(verdict, graded(level, warn=FLOOR, fail=2 * FLOOR))
        meaning += f": {min(level, 9.99):.0%} of the way up from the lowest score"
    gain = outputs.gains.get(name, -np.inf) / board.unit
    if gain > MARGIN:
        soft = name == SOURCE and outputs.stand_in  # a weak stand-in is easily beaten
        verdict = worse(verdict, "warn" if soft else "fail")
        meaning += f"; done to the policy's own output it gains {min(gain, 9.99):.0%}"
    return Finding(
        check=rule.check,
        name=name,
        verdict=verdict,
        shown=_against_gold(entry, margin),
        threshold=f"margin > {MARGIN:.0%}" + (", at floor" if rule.at_floor else ""),
        meaning=meaning,
        fault=None if verdict == "ok" else rule.fault,
        value=margin,
        rows=worst_rows(entry.gains),
    )


def _against_gold(entry: Entry, margin: float) -> str:
    return f"{entry.score:.3g}, margin {max(-9.99, min(9.99, margin)):.0%}"


def _missing(name: str, board: Board) -> str:
    if name in board.failed:
        return f"the reward fails on it: {board.failed[name]}"
    return "no row allows such an output"


def policy_findings(played: Sequence[Played]) -> list[Finding]:
    """Every policy that needs no thought must earn less than the expert, by episode return."""
    returns = {
        name: returns_by_row([episode for episode in played if episode.policy == name])
        for name in dict.fromkeys(episode.policy for episode in played)
    }
    expert = returns.pop(EXPERT, None)
    if not expert:
        return [not_applicable("P", "policies", "no expert to compare them with")]
    means = [float(np.mean([np.mean(values) for values in rows.values()]))
             for rows in (expert, *returns.values()) if rows]  # fmt: skip
    spread = max(means) - min(means)
    found = []
    for place, (name, rows) in enumerate(returns.items(), start=1):
        gains = [(float(np.mean(rows[r]) - np.mean(expert[r])), r) for r in rows if r in expert]
        if gains:
            found.append(_policy(f"P{place}", name, gains, spread))
        else:
            reason = "each of its episodes broke off: see check 1"
            found.append(not_applicable(f"P{place}", f"policy: {name}", reason))
    return found


def _policy(check: str, name: str, gains: Sequence[tuple[float, int]], spread: float) -> Finding:
    gain = float(np.mean([gain for gain, _ in gains]))
    thoughtless = name == RANDOM or name.startswith(("always ", "first "))
    verdict: Verdict = "ok" if gain < -MARGIN * spread else "warn"
    if gain >= -TIE * max(1.0, spread) and thoughtless:
        verdict = "fail"
    return Finding(
        check=check,
        name=f"policy: {name}",
        verdict=verdict,
        shown=f"{gain:+.3g} a row against the expert",
        threshold="below 0",
        meaning="its mean return less the expert's, on the same rows",
        fault=None if verdict == "ok" else f"policy '{name}' earns as much as the expert",
        value=gain,
        rows=worst_rows(gains),
    )
