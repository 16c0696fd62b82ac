"""The report as plain data: one run, or several seeds of one experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from strategy_rl.episodes import Episode
from strategy_rl.report.behaviour import describe
from strategy_rl.report.health import curves_of, health
from strategy_rl.report.kinds import compare_kinds
from strategy_rl.report.returns import (
    Bootstrap,
    Returns,
    compare,
    default_comparisons,
    mean_over_seeds,
    returns_of,
)
from strategy_rl.report.rows import extreme_rows
from strategy_rl.report.run_folder import Run, refuse_mixed, seconds
from strategy_rl.report.settings import written_texts
from strategy_rl.report.values import compare_values

SCHEMA = 1

EpisodesByPolicy = Mapping[str, Sequence[Episode]]


def summarize(
    episodes_by_policy: EpisodesByPolicy,
    *,
    comparisons: Sequence[tuple[str, str]] | None = None,
    bootstrap_samples: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Figures of every policy and of the paired comparisons, from episodes alone.

    Args:
        episodes_by_policy: each policy's episodes on the same rows.
        comparisons: pairs to compare; None takes those of `default_comparisons`.
        bootstrap_samples: resamples behind every interval.
        seed: of the resampling.

    Returns:
        `schema`, `policies`, `comparisons`, `values` and `kinds` (PPO against SFT), `rows` (best
        and worst of PPO against SFT), `texts` (what PPO's steps wrote), `health`.

    Raises:
        RunError: a policy has no episodes, or two that are compared were played on other rows.
    """
    bootstrap = Bootstrap(bootstrap_samples, seed)
    returns = {name: returns_of(name, played) for name, played in episodes_by_policy.items()}
    policies = {
        name: {**_figures(returns[name], bootstrap), **describe(played)}
        for name, played in episodes_by_policy.items()
    }
    named = _named(comparisons, returns)
    return {
        "schema": SCHEMA,
        "policies": policies,
        "comparisons": {
            name: _comparison(name, pair, returns, bootstrap) for name, pair in named.items()
        },
        **_sft_to_ppo([episodes_by_policy], bootstrap),
        "rows": _extreme(episodes_by_policy),
        "texts": written_texts(episodes_by_policy.get("ppo", ())),
        "health": health(policies, {}),
    }


def report_of(run: Run, *, bootstrap_samples: int = 10_000, seed: int = 0) -> dict[str, Any]:
    """The report of one run: `summarize` plus what the rest of its folder tells."""
    figures = summarize(run.episodes, bootstrap_samples=bootstrap_samples, seed=seed)
    return {
        "schema": SCHEMA,
        "task": run.task,
        "seed": run.seed,
        **figures,
        "timings_s": seconds(run.timings),
        "health": [*_same_rows([run]), *health(figures["policies"], curves_of(run.metrics))],
    }


def combined_report(
    runs: Sequence[Run], *, bootstrap_samples: int = 10_000, seed: int = 0
) -> dict[str, Any]:
    """The report over several seeds of one experiment.

    Per row the returns are averaged over the seeds, then groups of rows are resampled: the
    interval tells what other rows would give, `by_seed` what other seeds did give.

    Raises:
        RunError: more than the seeds differs between the runs, a seed is there twice, or a policy
            was evaluated on other rows in another run.
    """
    refuse_mixed(runs)
    bootstrap = Bootstrap(bootstrap_samples, seed)
    shared = [n for n in runs[0].episodes if all(n in run.episodes for run in runs)]
    by_seed = {n: [returns_of(n, run.episodes[n]) for run in runs] for n in shared}
    returns = {name: mean_over_seeds(list(played)) for name, played in by_seed.items()}
    policies = {
        name: {
            **_figures(returns[name], bootstrap),
            "by_seed": [one.mean for one in by_seed[name]],
            **describe([episode for run in runs for episode in run.episodes[name]]),
        }
        for name in shared
    }
    comparisons = {
        name: {
            **_comparison(name, (a, b), returns, bootstrap),
            "by_seed": [x.mean - y.mean for x, y in zip(by_seed[a], by_seed[b], strict=True)],
        }
        for name, (a, b) in _named(None, returns).items()
    }
    return {
        "schema": SCHEMA,
        "task": runs[0].task,
        "seed": None,
        "seeds": [run.seed for run in runs],
        "policies": policies,
        "comparisons": comparisons,
        **_sft_to_ppo([run.episodes for run in runs], bootstrap),
        "timings_s": seconds([entry for run in runs for entry in run.timings]),
        "health": [*_missing(runs, shared), *_same_rows(runs), *_health_by_seed(runs)],
    }


def _figures(returns: Returns, bootstrap: Bootstrap) -> dict[str, Any]:
    return {
        "mean_return": returns.mean,
        "ci95": bootstrap.interval(returns.values, returns.groups),
    }


def _named(
    pairs: Sequence[tuple[str, str]] | None, returns: Mapping[str, Returns]
) -> dict[str, tuple[str, str]]:
    if pairs is None:
        return default_comparisons({name: one.mean for name, one in returns.items()})
    return {f"{a}_vs_{b}": (a, b) for a, b in pairs}


def _comparison(
    name: str, pair: tuple[str, str], returns: Mapping[str, Returns], bootstrap: Bootstrap
) -> dict[str, Any]:
    first, second = (returns[policy] for policy in pair)
    figures = compare(first, second, returns.get("expert"), bootstrap)
    return {"rival": pair[1], **figures} if name.endswith("_best_rival") else figures


def _extreme(episodes: EpisodesByPolicy) -> dict[str, Any]:
    if "ppo" in episodes and "sft" in episodes:
        return extreme_rows(episodes["ppo"], episodes["sft"])
    return {"best": [], "worst": []}


def _sft_to_ppo(seeds: Sequence[EpisodesByPolicy], bootstrap: Bootstrap) -> dict[str, Any]:
    """PPO against SFT, by component of the reward and by kind of row."""
    if not all("ppo" in episodes and "sft" in episodes for episodes in seeds):
        return {"values": {}, "kinds": {}}
    ppo, sft = ([episodes[name] for episodes in seeds] for name in ("ppo", "sft"))
    return {
        "values": compare_values(ppo, sft, bootstrap),
        "kinds": compare_kinds(ppo, sft, bootstrap),
    }


def _missing(runs: Sequence[Run], shared: Sequence[str]) -> list[str]:
    left_out = sorted({name for run in runs for name in run.episodes} - set(shared))
    return [
        f"warning: policy {name!r} is left out, not every run evaluated it" for name in left_out
    ]


def _same_rows(runs: Sequence[Run]) -> list[str]:
    if not any(run.same_rows for run in runs):
        return []
    return [
        "warning: train, validation and test are the same rows: the task takes no `split`, so no "
        "figure tells what unseen rows would give"
    ]


def _health_by_seed(runs: Sequence[Run]) -> list[str]:
    sentences = []
    for run in runs:
        both = {n: describe(e) for n, e in run.episodes.items() if n in ("ppo", "sft")}
        verdicts = health(both, curves_of(run.metrics))
        sentences += [f"{run.path.name}: {verdict}" for verdict in verdicts]
    return sentences
