"""The verb `rescore`: a run's stored episodes under another reward, as a table and as JSON.

Knows how the result is shown; `rescoring` scores, `cli_rewards` reads the reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategy_rl import files
from strategy_rl.cli_rewards import composition_of, make_env, read_reward
from strategy_rl.config import RewardTerm
from strategy_rl.errors import InputError

if TYPE_CHECKING:
    from strategy_rl.rescoring import Rescored


def rescore(
    run: Path,
    *,
    reward: Path,
    out: Path | None = None,
    samples: int = 10_000,
    trust_imports: bool = False,
) -> int:
    """Print what a run's policies would have earned under another reward, and write it as JSON.

    Args:
        run: A finished run, or a folder of one run a seed.
        reward: A list in YAML, or a Python file with `@reward` functions.
        out: The JSON file; None: `rescore-NAME.json` in the run's folder.
        samples: Bootstrap resamples.
        trust_imports: Run the Python files that the run's folder names, though not known here.

    Raises:
        InputError: The run or the reward cannot be used.
        EnvironmentFault: The reward fails.
    """
    from strategy_rl.folder import experiment_of
    from strategy_rl.report.run_folder import find_runs, read_run
    from strategy_rl.rescoring import rescore as score_again

    paths = find_runs([run])
    terms = read_reward(reward)
    _refuse_running(reward, terms)
    experiment = experiment_of(paths[0], trust_imports=trust_imports)
    env = make_env(experiment, terms, "test")
    try:
        composition = composition_of(env)
        composition.set_progress(1.0)
        found, silent = score_again([read_run(p).episodes for p in paths], composition.score_many)
    finally:
        env.close()
    report = _report(found, silent, samples)
    path = run / f"rescore-{reward.stem}.json" if out is None else out
    files.write_json(path, {"run": str(run), "reward": [t.name for t in terms], **report})
    print(_table(report))
    print(f"written: {path}")
    return 0


def _refuse_running(path: Path, terms: Sequence[RewardTerm]) -> None:
    """A running scale has no moments where nothing was trained under it."""
    named = ", ".join(term.name for term in terms if term.scale == "running")
    if named:
        raise InputError(
            f"--reward {path}: scale: running of {named} needs the moments of a training, which "
            "stored episodes do not hold; give scale: {shift: NUMBER, divide: NUMBER}"
        )


def _report(
    found: Mapping[str, Rescored], silent: Mapping[str, int], samples: int
) -> dict[str, Any]:
    from strategy_rl.rescoring import ranks

    policies = {name: result.to_json(samples) for name, result in found.items()}
    before = ranks({name: figures["before"] for name, figures in policies.items()})
    after = ranks({name: figures["after"] for name, figures in policies.items()})
    for name, figures in policies.items():
        figures |= {"rank_before": before[name], "rank_after": after[name]}
    return {"schema": 1, "policies": policies, "not_scored": dict(silent)}


def _table(report: Mapping[str, Any]) -> str:
    """At most 110 columns: policies by their new mean, then the rows that change most."""
    policies = sorted(report["policies"].items(), key=lambda item: item[1]["rank_after"])
    head = ("policy", "before", "after", "change", "95% interval", "rank", "rows")
    lines = ["{:<24}{:>10}{:>10}{:>10}{:>22}{:>10}{:>7}".format(*head)]
    for name, policy in policies:
        interval = "[{:+.3f}, {:+.3f}]".format(*policy["ci95"])
        rank = f"{policy['rank_before']} -> {policy['rank_after']}"
        lines.append(
            f"{name[:23]:<24}{policy['before']:>10.3f}{policy['after']:>10.3f}"
            f"{policy['mean_difference']:>+10.3f}{interval:>22}{rank:>10}{policy['rows']:>7}"
        )
    for name, policy in policies:
        changes = [
            f"{c['row']} ({c['before']:.2f} -> {c['after']:.2f})"
            for c in policy["most_changed_rows"][:3]
        ]
        if changes:
            lines.append(f"rows that change most, {name}: {', '.join(changes)}"[:110])
    return "\n".join([*lines, *_left_out(report)])


def _left_out(report: Mapping[str, Any]) -> list[str]:
    """Say which episodes could not be scored, and why."""
    policies = report["policies"].items()
    left_out = {
        "policies not scored (no reward_inputs, or all dropped)": report["not_scored"],
        "episodes without reward_inputs": {n: p["unscored_episodes"] for n, p in policies},
        "episodes dropped by the reward": {n: p["dropped_episodes"] for n, p in policies},
    }
    lines = []
    for why, counts in left_out.items():
        named = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        if named:
            lines.append(f"{why}: {named}"[:110])
    return lines
