"""Checks 27 to 34: what the reward is worth as a signal to learn from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from strategy_rl_envs.rewards.checkup.finding import (
    Finding,
    Verdict,
    graded,
    not_applicable,
    worse,
    worst_rows,
)
from strategy_rl_envs.rewards.checkup.material import Facts, Played, returns_by_row
from strategy_rl_envs.rewards.checkup.strategies import item_of, split

Floats = npt.NDArray[np.float64]

FLAT = 1e-3  # of the spread of all returns: below it a row's samples teach nothing
CORRELATED = 0.5
DRIFT_WORDS = ("length", "copy ratio", "repetition")
KL_COEF = 0.05  # the trainer's default, meant for returns that spread by about 1
VALUE_CLIP = 0.2


def statistics_findings(
    played: Sequence[Played], samples: Sequence[Played], *, reads_output: bool
) -> list[Finding]:
    """Checks 27 to 34, in their order.

    Args:
        played: Episodes of all policies.
        samples: Several episodes a row of one sampled policy.
        reads_output: Whether the reward changes with the output.
    """
    steps = [(step, episode.row) for episode in played for step in episode.steps]
    rewards = np.array([step.reward for step, _ in steps])
    spread = _spread(played)
    return [
        _row_spread(played, samples, spread),
        _headroom(played, samples, spread),
        _drift(samples, reads_output),
        _shares([step.components for step, _ in steps]),
        _distribution(rewards, [row for _, row in steps]),
        _sparsity(rewards, samples),
        _over_time(played),
        _scale(spread),
    ]


def _spread(played: Sequence[Played]) -> float:
    returns = [episode.return_ for episode in played if episode.fault is None]
    return float(np.std(returns)) if returns else 0.0


def _row_spread(played: Sequence[Played], samples: Sequence[Played], spread: float) -> Finding:
    rows = {row: r for row, r in returns_by_row(samples).items() if len(r) > 1}
    if not rows:
        return not_applicable("27", "spread within a row", "no row was sampled twice")
    deviations = {row: float(np.std(returns)) for row, returns in rows.items()}
    flat = [row for row, deviation in deviations.items() if deviation <= FLAT * spread]
    everyone = returns_by_row(played)
    constant = all(np.ptp(r) <= 1e-9 * max(1.0, abs(r[0])) for r in everyone.values())
    share = len(flat) / len(rows)
    verdict = "fail" if constant else graded(share, warn=0.5, fail=1.0)
    fault = "constant on these rows" if constant else "no spread on most rows"
    meaning = "samples of one row earn differently: there is something to learn from"
    if constant:
        meaning = "whatever is done on a row earns the same: there is no gradient"
    elif verdict == "warn":
        meaning = "on most rows all samples earn the same: these rows give no gradient"
    return Finding(
        check="27",
        name="spread within a row",
        verdict=verdict,
        shown=f"std {np.mean(list(deviations.values())):.3g}, flat rows {share:.0%}",
        threshold="flat <= 50%",
        meaning=meaning,
        fault=None if verdict == "ok" else fault,
        value=share,
        rows=tuple(sorted(flat)[:3]),
    )


def _headroom(played: Sequence[Played], samples: Sequence[Played], spread: float) -> Finding:
    """Best of n less the mean is what sampling can find; the oracle is the best of anyone."""
    name = "headroom"
    rows = {row: r for row, r in returns_by_row(samples).items() if len(r) > 1}
    if not rows or spread <= 0:
        return not_applicable("28", name, "all samples of a row earn the same, or there are none")
    everyone = returns_by_row(played)
    count = min(len(returns) for returns in rows.values())
    gain = float(np.mean([max(r) - np.mean(r) for r in rows.values()]))
    left = [max([*everyone.get(row, []), max(r)]) - max(r) for row, r in rows.items()]
    verdict: Verdict = "ok" if gain > FLAT * spread else "warn"
    return Finding(
        check="28",
        name=name,
        verdict=verdict,
        shown=f"+{gain:.3g}, beyond {np.mean(left):.3g}",
        threshold="above 0",
        meaning=f"best of {count} samples less their mean is within reach of RL; what the best "
        "policy earns beyond that is not yet",
        fault=None if verdict == "ok" else "nothing better is ever sampled",
        value=gain,
        rows=worst_rows(zip(left, rows, strict=True)),
    )


def _drift(samples: Sequence[Played], reads_output: bool) -> Finding:
    """Rank correlation (Spearman 1904) of the reward with what a policy can inflate."""
    name = "follows form"
    if not reads_output:
        return not_applicable("29", name, "the reward reads no output")
    spoken = [step for e in samples if not e.fault for step in e.steps if step.facts.get("output")]
    said = [(step.reward, step.facts) for step in spoken]
    if len(said) < 10:
        return not_applicable("29", name, "fewer than 10 outputs were sampled")
    rewards = np.array([reward for reward, _ in said])
    form = np.array([_form(facts) for _, facts in said])
    found = {
        word: rank_correlation(rewards, form[:, place]) for place, word in enumerate(DRIFT_WORDS)
    }
    known = {word: rho for word, rho in found.items() if rho is not None}
    if not known:
        return not_applicable("29", name, "the outputs, or their rewards, are all alike in form")
    top = max(known, key=lambda word: abs(known[word]))
    verdict = graded(abs(known[top]), warn=CORRELATED, fail=math.inf)
    return Finding(
        check="29",
        name=name,
        verdict=verdict,
        shown=f"{top} rho {known[top]:+.2f}",
        threshold=f"|rho| <= {CORRELATED}",
        meaning="; ".join(f"{word} {rho:+.2f}" for word, rho in known.items())
        + "; perplexity is not measured: no language model here",
        fault=None if verdict == "ok" else f"follows {top}",
        value=known[top],
    )


def _form(facts: Facts) -> tuple[float, float, float]:
    """Words of the output, share of them that the source has, share that repeats."""
    words, _ = split(str(facts["output"]).lower())
    item = item_of(facts)
    source = set(split((item.source or "").lower())[0]) if item is not None else set()
    count = max(1, len(words))
    copied = sum(word in source for word in words) / count
    return float(len(words)), copied, 1 - len(set(words)) / count


def rank_correlation(first: Floats, second: Floats) -> float | None:
    """Spearman's rho, ties given their mean rank; None where one side does not vary.

    Shapes: (n,) each.
    """
    ranks = [_ranks(values) for values in (first, second)]
    if any(np.ptp(values) == 0 for values in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: Floats = ends - (counts - 1) / 2
    return means[inverse]


def _shares(parts: Sequence[Mapping[str, float]]) -> Finding:
    """Shares of the components in the spread of the reward, their correlation and conflict."""
    name = "component shares"
    names = list(parts[0]) if parts else []
    if len(names) < 2:
        return not_applicable("30", name, "there is one component")
    table = np.array([[components[part] for part in names] for components in parts])
    deviations = table.std(axis=0)
    if deviations.sum() == 0:
        return not_applicable("30", name, "no component varies: see check 27")
    shares = deviations / deviations.sum()
    top = int(shares.argmax())
    verdict = graded(float(shares[top]), warn=0.75, fail=0.9)
    silent = [part for part, deviation in zip(names, deviations, strict=True) if deviation == 0]
    if len(silent) == len(names) - 1:
        verdict = "warn"  # the others may pay on other rows
    meaning = ", ".join(f"{part} {s:.0%}" for part, s in zip(names, shares, strict=True))
    meaning += _pairs(names, table)
    return Finding(
        check="30",
        name=name,
        verdict=verdict,
        shown=f"{names[top]} {shares[top]:.0%}",
        threshold="<= 75%",
        meaning=meaning + (f"; never varies here: {', '.join(silent)}" if silent else ""),
        fault={
            "warn": f"{names[top]} outweighs the other components",
            "fail": f"{names[top]} drowns the other components",
        }.get(verdict),
        value=float(shares[top]),
    )


def _pairs(names: Sequence[str], table: Floats) -> str:
    """The strongest correlation of two components, and how often these two pull apart."""
    moving = [place for place in range(len(names)) if np.ptp(table[:, place]) > 0]
    if len(moving) < 2:
        return ""
    matrix = np.abs(np.corrcoef(table[:, moving], rowvar=False) - np.eye(len(moving)))
    one, other = (moving[i] for i in np.unravel_index(int(matrix.argmax()), matrix.shape))
    sides = np.sign(table[:, [one, other]] - table[:, [one, other]].mean(axis=0))
    conflict = float((sides.prod(axis=1) < 0).mean())
    rho = float(np.corrcoef(table[:, one], table[:, other])[0, 1])
    return f"; {names[one]} and {names[other]}: r {rho:+.2f}, opposed on {conflict:.0%} of steps"


def _distribution(rewards: Floats, rows: Sequence[int]) -> Finding:
    name = "distribution of step rewards"
    if not len(rewards):
        return not_applicable("31", name, "no step could be scored")
    distinct, deviation = len(np.unique(rewards)), float(rewards.std())
    if distinct == 1 or deviation <= 1e-12 * float(np.abs(rewards).max()):
        return Finding(
            "31", name, "fail", "1 value", "2 or more", "every step of every policy earns the "
            "same", "constant on these rows", 1.0, tuple(dict.fromkeys(rows))[:3],
        )  # fmt: skip
    scaled = (rewards - rewards.mean()) / deviation
    outliers = np.abs(scaled) > 5
    verdict = graded(float(outliers.mean()), warn=0.0, fail=math.inf)
    ceiling = float((rewards == rewards.max()).mean())
    if ceiling > 0.9:
        verdict = worse(verdict, "warn")
    return Finding(
        check="31",
        name=name,
        verdict=verdict,
        shown=f"{distinct} values, skew {float((scaled**3).mean()):+.1f}",
        threshold="none past 5 sigma",
        meaning=f"{outliers.sum()} of {len(rewards)} beyond 5 sigma; {ceiling:.0%} at the highest "
        f"and {float((rewards == rewards.min()).mean()):.0%} at the lowest value"
        + ("; two values: a yes or no" if distinct == 2 else ""),
        fault=None if verdict == "ok" else "outliers, or most steps at the ceiling",
        value=float(distinct),
        rows=worst_rows(zip(np.abs(scaled) - 5, rows, strict=True)),
    )


def _sparsity(rewards: Floats, samples: Sequence[Played]) -> Finding:
    name = "sparsity"
    returns = [episode.return_ for episode in samples if episode.fault is None]
    if not returns or not len(rewards):
        return not_applicable("32", name, "no step could be scored")
    share = float((rewards != 0).mean())
    success = float(np.mean([value > 0 for value in returns]))
    waiting = f"{1 / success:.0f} episodes" if success else f"more than {len(returns)} episodes"
    verdict: Verdict = "ok" if success * 100 > 1 or share > 0.5 else "warn"
    return Finding(
        check="32",
        name=name,
        verdict=verdict,
        shown=f"{share:.0%} of steps not 0",
        threshold="success < 100",
        meaning=f"a return above 0 is first met after about {waiting}",
        fault=None if verdict == "ok" else "sparse: success is hardly ever sampled",
        value=share,
    )


def _over_time(played: Sequence[Played]) -> Finding:
    """Where in an episode the return is earned, and whether the way to the end matters."""
    name = "step rewards"
    late = [e.row for e in played if any(facts.get("ended") for facts in e.facts[:-1])]
    if late:
        return Finding(
            "33", name, "fail", f"{len(late)} episodes", "0", "a step was paid after a step that "
            "said the episode had ended", "reward after the end", float(len(late)),
            tuple(dict.fromkeys(late))[:3],
        )  # fmt: skip
    long = [e for e in played if len(e.steps) > 1 and e.fault is None]
    if not long:
        return not_applicable("33", name, "episodes have one step")
    totals = sum(abs(step.reward) for e in long for step in e.steps)
    share = sum(abs(e.steps[-1].reward) for e in long) / totals if totals else 0.0
    length = float(np.mean([len(e.steps) for e in long]))
    verdict: Verdict = "warn" if share > 0.95 and length > 10 else "ok"
    return Finding(
        check="33",
        name=name,
        verdict=verdict,
        shown=f"last step {share:.0%} of the return",
        threshold="<= 95%",
        meaning=f"episodes have {length:.1f} steps; {_telescopes(long)}",
        fault=None if verdict == "ok" else "all credit comes at the end",
        value=share,
    )


def _telescopes(episodes: Sequence[Played]) -> str:
    """Whether the same actions in another order earn the same: gains of a potential do."""
    ways: dict[tuple[int, tuple[str, ...]], dict[tuple[str, ...], float]] = {}
    for episode in episodes:
        path = tuple(repr(facts.get("action", facts.get("output"))) for facts in episode.facts)
        ways.setdefault((episode.row, tuple(sorted(path))), {})[path] = episode.return_
    groups = [list(paths.values()) for paths in ways.values() if len(paths) > 1]
    if not groups:
        return "no two took the same actions in another order"
    same = sum(math.isclose(min(g), max(g), rel_tol=1e-6, abs_tol=1e-9) for g in groups)
    return f"order of the same actions made no difference in {same} of {len(groups)} cases"


def _scale(spread: float) -> Finding:
    name = "scale of returns"
    if not spread > 0:
        return not_applicable("34", name, "all returns are equal: see check 27")
    divisor = float(f"{spread:.1g}")
    verdict = graded(abs(math.log10(spread)), warn=1.0, fail=3.0)
    return Finding(
        check="34",
        name=name,
        verdict=verdict,
        shown=f"std {spread:.3g}",
        threshold="0.1 to 10",
        meaning=f"weights / {divisor:g} bring it to about 1; as it is, kl_coef "
        f"{KL_COEF * divisor:.2g} and value_clip_range {VALUE_CLIP * divisor:.2g} fit",
        fault=None if verdict == "ok" else f"scale: returns spread by {spread:.0e}",
        value=spread,
    )
