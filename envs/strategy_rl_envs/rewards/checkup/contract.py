"""Checks 1 to 7: whether the reward keeps the contract of a reward at all."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from random import Random

import numpy as np

from strategy_rl_envs.rewards.checkup.finding import (
    Finding,
    Verdict,
    graded,
    not_applicable,
    worst_rows,
)
from strategy_rl_envs.rewards.checkup.material import Facts, Played, spread_out
from strategy_rl_envs.rewards.checkup.scoring import (
    Composition,
    Scored,
    declared_bounds,
    score_one,
    score_together,
)

PROBED = 40  # steps that are scored several times over
SECONDS = 8.0  # for all of that; a slow reward is probed on fewer steps
CALLS_A_STEP = 14
REPEATS = 5
_BATCH = "batch = single = shuffled"
_TOGETHER = "fails on several steps at once"
_CHANGES = re.compile(r"^reward '[^']*' changes ")
SAME = 1e-9
SAME_IN_A_BATCH = 1e-6  # a model's padding moves the last digits
TRAINING_STEP_MS = 1.0  # a decision of a small frozen encoder, learning included, on one core

# What an output may be, by the name under which a failure is reported.
EDGES: Mapping[str, str] = {
    "empty": "",
    "whitespace": " \n\t ",
    "one word": "yes",
    "10 times as long": "a long reply that goes on and on " * 100,
    "emoji": "🙂👍🏽🎉",
    "another script": "Ответ 答案 الجواب",
    "control characters": "a\x00b\x07\u200b\ufeffc",
}


def contract_findings(
    reward: Composition, played: Sequence[Played], *, reads_output: bool
) -> list[Finding]:
    """Checks 1 to 7, in their order."""
    facts = [facts for episode in played for facts in episode.facts if facts]
    if not facts:
        return [_finite(played, []), *_unprobed()]
    pace = float(np.median(_time_each(reward, spread_out(facts, 5)))) / 1000
    probed = spread_out(facts, int(min(PROBED, max(5, SECONDS / (CALLS_A_STEP * pace)))))
    milliseconds = _time_each(reward, probed)
    repeatable = _repeatable(reward, probed)
    scores = [score_one(reward, facts) for facts in probed]
    sound = [f for f, score in zip(probed, scores, strict=True) if math.isfinite(score.reward)]
    batch = _same_in_a_batch(reward, sound, noisy=repeatable.verdict != "ok")
    return [
        _finite(played, scores),
        repeatable,
        batch,
        _leaves_alone(reward, sound, batch),
        _edges(reward, probed, reads_output),
        _timing(milliseconds),
        _in_bounds(reward, played),
    ]


def _unprobed() -> list[Finding]:
    names = ["same input, same value", _BATCH]
    names += ["leaves inputs and process alone", "edge outputs", "time a call", "declared range"]
    return [
        not_applicable(str(number), name, "no step could be scored")
        for number, name in enumerate(names, start=2)
    ]


def _finite(played: Sequence[Played], scores: Sequence[Scored]) -> Finding:
    broken = [(1.0, episode.row) for episode in played if episode.fault]
    faults = [episode.fault for episode in played if episode.fault]
    faults += [score.fault for score in scores if score.fault]
    total = len(played) + len(scores)
    return Finding(
        check="1",
        name="one finite number a step",
        verdict="fail" if faults or not played else "ok",
        shown=f"{len(faults)} of {total} failed",
        threshold="0",
        meaning=f"the reward fails: {faults[0]}" if faults else "every step has a finite reward",
        fault="fails on steps of the task" if faults else None,
        value=float(len(faults)),
        rows=worst_rows(broken),
    )


def _repeatable(reward: Composition, probed: Sequence[Facts]) -> Finding:
    """Noise against the spread between steps: what a policy would have to learn through."""
    values = np.array([[score_one(reward, f).reward for f in probed] for _ in range(REPEATS)])
    values = values[:, np.isfinite(values).all(axis=0)]
    noise = float(np.sqrt(values.var(axis=0).mean())) if values.size else 0.0
    spread = float(values.mean(axis=0).std()) if values.size else 0.0
    scale = max(spread, float(np.abs(values).max(initial=0.0)), 1e-12)
    verdict: Verdict = "warn" if spread > 100 * noise else "fail"
    if noise <= SAME * scale:
        verdict, noise = "ok", 0.0
    ratio = f"{spread / noise:.1f}" if noise > 0 else "-"
    return Finding(
        check="2",
        name="same input, same value",
        verdict=verdict,
        shown=f"sigma {noise:.2g}, signal/noise {ratio}",
        threshold="sigma 0",
        meaning="the same step is scored alike each time"
        if verdict == "ok"
        else f"one step scored {REPEATS} times gives different values: a run cannot be repeated",
        fault=None if verdict == "ok" else "non-deterministic",
        value=noise,
    )


def _same_in_a_batch(reward: Composition, sound: Sequence[Facts], *, noisy: bool) -> Finding:
    """Steps that have a reward alone must have the same one together, in any order."""
    if not sound:
        return not_applicable("3", _BATCH, "the reward fails on each step alone: see check 1")
    order = Random(0).sample(range(len(sound)), len(sound))
    alone = np.array([score_one(reward, facts).reward for facts in sound])
    try:
        together = np.array(_rewards(reward, sound))
        shuffled = np.empty(len(sound))
        shuffled[order] = _rewards(reward, [sound[i] for i in order])
    except Exception as error:
        return _fails_together(len(sound), error)
    if noisy:
        return not_applicable("3", _BATCH, "the reward is noisy: see check 2")
    apart = np.maximum(np.abs(together - alone), np.abs(shuffled - alone))
    scale = max(1.0, float(np.abs(alone).max()))
    verdict = graded(float(apart.max()) / scale, warn=SAME_IN_A_BATCH, fail=1e-3)
    return Finding(
        check="3",
        name=_BATCH,
        verdict=verdict,
        shown=f"differs by {apart.max():.2g}",
        threshold=f"{SAME_IN_A_BATCH:.0e}",
        meaning="a step's reward does not depend on the steps beside it"
        if verdict == "ok"
        else "a step's reward changes with the steps scored before or beside it: it keeps a state",
        fault=None if verdict == "ok" else "depends on other steps",
        value=float(apart.max()),
        rows=worst_rows(zip(apart - SAME_IN_A_BATCH, map(_row, sound), strict=True)),
    )


def _rewards(reward: Composition, facts: Sequence[Facts]) -> Sequence[float]:
    """The rewards of steps scored at once.

    Raises:
        ValueError: One of them has none.
        Exception: Whatever the reward raises.
    """
    scores = score_together(reward, facts)
    for score in scores:
        if not math.isfinite(score.reward):
            raise ValueError(score.fault or f"the reward is {score.reward}")
    return [score.reward for score in scores]


def _fails_together(steps: int, error: Exception) -> Finding:
    return Finding(
        check="3",
        name=_BATCH,
        verdict="fail",
        shown="fails together",
        threshold=f"{SAME_IN_A_BATCH:.0e}",
        meaning=f"{steps} steps have a reward alone but not together: {error}",
        fault=_TOGETHER,
    )


def _leaves_alone(reward: Composition, sound: Sequence[Facts], batch: Finding) -> Finding:
    """The composition itself watches its functions while it is probed."""
    name = "leaves inputs and process alone"
    if not sound:
        return not_applicable("4", name, "the reward fails on each step alone: see check 1")
    try:
        noticed = [finding.message for finding in reward.probe(sound)]
    except Exception as error:
        if batch.fault == _TOGETHER:
            return not_applicable("4", name, "the reward fails on steps together: see check 3")
        meaning = f"a probe fails on steps that have a reward: {error}"
        return Finding("4", name, "fail", "probe fails", "0", meaning, fault="fails when probed")
    changed = [message for message in noticed if _CHANGES.search(message)]
    return Finding(
        check="4",
        name=name,
        verdict="fail" if changed else "ok",
        shown=f"{len(changed)} changed",
        threshold="0",
        meaning=changed[0]
        if changed
        else "no function changes its inputs or the random generators of the process",
        fault="changes what is not its own" if changed else None,
        value=float(len(changed)),
    )


def _edges(reward: Composition, probed: Sequence[Facts], reads_output: bool) -> Finding:
    name = "edge outputs"
    if not reads_output:
        return not_applicable("5", name, "the reward reads no output")
    facts = next((f for f in probed if score_one(reward, f).fault is None), probed[0])
    faults = {
        edge: fault
        for edge, text in EDGES.items()
        if (fault := score_one(reward, {**facts, "output": text}).fault)
    }
    meaning = "odd outputs, from empty to another script, get a number too"
    if faults:
        meaning = f"on {', '.join(faults)}: {next(iter(faults.values()))}"
    elif "reference" in facts and score_one(reward, {**facts, "reference": None}).fault:
        meaning += "; a step without a reference (None) would fail, but none was met"
    return Finding(
        check="5",
        name=name,
        verdict="fail" if faults else "ok",
        shown=f"{len(faults)} of {len(EDGES)} fail",
        threshold="0",
        meaning=meaning,
        fault=f"NaN or error on {', '.join(faults)}" if faults else None,
        value=float(len(faults)),
    )


def _time_each(reward: Composition, probed: Sequence[Facts]) -> list[float]:
    taken = []
    for facts in probed:
        begun = time.perf_counter()
        score_one(reward, facts)
        taken.append(1000 * (time.perf_counter() - begun))
    return taken


def _timing(milliseconds: Sequence[float]) -> Finding:
    p50, p95, top = np.percentile(milliseconds, [50, 95, 100])
    share = p50 / (p50 + TRAINING_STEP_MS)
    verdict = graded(float(p95), warn=10.0, fail=1000.0)
    return Finding(
        check="6",
        name="time a call",
        verdict=verdict,
        shown=f"{p50:.2g} / {p95:.2g} / {top:.2g} ms",
        threshold="p95 10 ms",
        meaning=f"p50 / p95 / max; beside {TRAINING_STEP_MS:g} ms of training a step about "
        f"{share:.0%} of the time",
        fault=None if verdict == "ok" else "slow",
        value=float(p95),
    )


def _in_bounds(reward: Composition, played: Sequence[Played]) -> Finding:
    """Hold each function to the range that its author declares."""
    name = "declared range"
    bounds = declared_bounds(reward)
    if not bounds:
        return not_applicable("7", name, "no component declares its bounds")
    outside: list[tuple[float, int]] = []
    at_limit = 0
    for row, values in ((episode.row, step.values) for episode in played for step in episode.steps):
        for part, value in values.items():
            low, high = bounds.get(part.partition("/")[0], (-math.inf, math.inf))
            if value is not None:
                at_limit += value in (low, high)
                outside.append((max(low - value, value - high), row))
    broken = sum(excess > SAME for excess, _ in outside)
    return Finding(
        check="7",
        name=name,
        verdict="fail" if broken else "ok",
        shown=f"{broken} outside, {at_limit / max(1, len(outside)):.0%} at a limit",
        threshold="0 outside",
        meaning=f"{', '.join(bounds)} must stay within the bounds given to @reward",
        fault="leaves its declared range" if broken else None,
        value=float(broken),
        rows=worst_rows((excess - SAME, row) for excess, row in outside),
    )


def _row(facts: Facts) -> int:
    row = facts.get("row")
    return row if isinstance(row, int) else 0
