"""Two verbs for authors of rewards: `check-reward` examines one, `rescore` tries one on a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from strategy_rl import files
from strategy_rl.config import Experiment, RewardTerm, load_experiment
from strategy_rl.errors import EnvironmentFault, InputError, RunError
from strategy_rl.imports import load_imports

if TYPE_CHECKING:
    import gymnasium

    from strategy_rl.rescoring import Rescored
    from strategy_rl_envs.rewards.checkup import Played

_SAMPLED = {"sft": "greedy", "sft_sampled": "sampled"}  # a run's policies, as the check-up has them
_MAX_SAMPLES = 64  # episodes of a run that are looked at, by policy


def check_reward(
    target: str,
    *,
    reward: Path | None = None,
    run: Path | None = None,
    out: Path | None = None,
    steps: int = 500,
    seed: int = 0,
) -> int:
    """Print the check-up of a task's reward, and write it as JSON.

    Args:
        target: An experiment file, or the id of a task.
        reward: Another reward: a list in YAML, or a Python file with `@reward` functions.
        run: A finished run, whose SFT policy's stored episodes are used.
        out: The JSON file; None: `check-reward.json` here.
        steps: About so many steps are played.
        seed: Of all choices.

    Returns:
        0, or 6 where a verdict is a failure.

    Raises:
        InputError: The target, the reward or the run cannot be used.
    """
    from strategy_rl_envs.kit.errors import TaskError
    from strategy_rl_envs.rewards.checkup import check_up

    experiment = _experiment_of(target)
    load_imports(experiment.imports, trust=True)
    terms = experiment.reward if reward is None else read_reward(reward)
    # A run's episodes are on test rows: only there can its samples be held against other policies.
    env = _make(experiment, terms, "train" if run is None else "test")
    try:
        _composition(env).set_progress(1.0)  # weights as they are when policies are judged
        samples = [] if run is None else _samples(run, env)
        result = check_up(env, samples=samples, steps=steps, seed=seed)
    except TaskError as error:
        raise InputError(f"{experiment.task.id}: {error}") from error
    finally:
        env.close()
    path = Path("check-reward.json") if out is None else out
    files.write_json(path, {"target": target, **result.to_json()})
    print(f"{experiment.task.id}, reward: {', '.join(_names(env))}")
    print(result.table())
    print(f"written: {path}")
    return EnvironmentFault.exit_code if result.failed else 0


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
    env = _make(experiment, terms, "test")
    try:
        composition = _composition(env)
        composition.set_progress(1.0)
        found, silent = score_again([read_run(p).episodes for p in paths], composition.score_many)
    finally:
        env.close()
    report = _rescore_report(found, silent, samples)
    path = run / f"rescore-{reward.stem}.json" if out is None else out
    files.write_json(path, {"run": str(run), "reward": [t.name for t in terms], **report})
    print(_rescore_table(report))
    print(f"written: {path}")
    return 0


def list_rewards(imports: Sequence[str] = ()) -> int:
    """Print every reward function with what it reads, its settings and its first line."""
    from strategy_rl_envs.rewards import registered
    from strategy_rl_envs.rewards.library import LIBRARY

    load_imports(imports, trust=True)
    for name, function in sorted({**LIBRARY, **registered()}.items()):
        settings = ", ".join(f"{key}={s.default!r}" for key, s in function.settings.items())
        facts = ", ".join([*function.needs, *(f"[{fact}]" for fact in function.wants)])
        print(f"{name}({facts}{'; ' + settings if settings else ''})")
        print(f"    {(function.__doc__ or '').strip().partition(chr(10))[0]}")
    return 0


def read_reward(path: Path) -> tuple[RewardTerm, ...]:
    """The components that a file names: YAML, a list as in an experiment file, or Python.

    A Python file is run; each of its `@reward` functions counts with weight 1.

    Raises:
        InputError: It cannot be read, or names nothing.
    """
    if path.suffix == ".py":
        return _python_reward(path)
    from pydantic import ValidationError

    try:
        given = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise InputError(f"--reward {path}: cannot be read: {error}") from error
    if not isinstance(given, list) or not given:
        raise InputError(
            f"--reward {path}: expected a list of names or of {{name, weight, settings}}, "
            f"got {type(given).__name__}"
        )
    terms = [{"name": term} if isinstance(term, str) else term for term in given]
    try:
        return Experiment.model_validate(
            {"name": "reward", "task": {"id": "none"}, "reward": terms}
        ).reward
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise InputError(f"--reward {path}: {'; '.join(faults)}") from error


def _python_reward(path: Path) -> tuple[RewardTerm, ...]:
    from strategy_rl_envs.rewards import registered

    load_imports([str(path)], trust=True)  # the user has named it
    names = [name for name, function in registered().items() if function.__module__ == path.stem]
    if not names:
        raise InputError(f"--reward {path}: it has no function under @reward; decorate one")
    return tuple(RewardTerm(name=name) for name in names)


def _experiment_of(target: str) -> Experiment:
    path = Path(target)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return load_experiment(path)
    return Experiment.model_validate({"name": "check-reward", "task": {"id": target}})


def _refuse_running(path: Path, terms: Sequence[RewardTerm]) -> None:
    """A running scale has no moments where nothing was trained under it."""
    named = ", ".join(term.name for term in terms if term.scale == "running")
    if named:
        raise InputError(
            f"--reward {path}: scale: running of {named} needs the moments of a training, which "
            "stored episodes do not hold; give scale: {shift: NUMBER, divide: NUMBER}"
        )


def _make(
    experiment: Experiment, terms: Sequence[RewardTerm], split: str
) -> gymnasium.Env[Any, Any]:
    """The environment of an experiment, with its reward."""
    import gymnasium

    from strategy_rl.assembly import task_settings  # heavy
    from strategy_rl.env import find_spec

    task = experiment.task.id
    if find_spec(task).entry_point is None:
        raise InputError(f"{task}: has a vector_entry_point only; register an entry_point too")
    settings = task_settings(experiment.task, split, terms)
    try:
        return gymnasium.make(task, disable_env_checker=True, **settings)
    except Exception as error:  # a constructor refuses what the user gave
        raise InputError(f"the task cannot be made: {error}") from error


def _composition(env: gymnasium.Env[Any, Any]) -> Any:
    reward = getattr(env.unwrapped, "reward", None)
    if not hasattr(reward, "score_many"):
        raise InputError(f"{env.unwrapped} has no `reward` that could be asked (WeightedReward)")
    return reward


def _names(env: gymnasium.Env[Any, Any]) -> tuple[str, ...]:
    names: tuple[str, ...] = _composition(env).names
    return names


def _samples(run: Path, env: gymnasium.Env[Any, Any]) -> list[Played]:
    """The stored episodes of a run's SFT policy, under the reward of `env`."""
    from strategy_rl.report.run_folder import find_runs, read_run
    from strategy_rl.rescoring import facts_of
    from strategy_rl_envs.rewards.checkup import replayed

    episodes = read_run(find_runs([run])[0]).episodes
    found = [
        replayed(_composition(env), name, episode.row or 0, [facts_of(s) for s in episode.steps])
        for policy, name in _SAMPLED.items()
        for episode in episodes.get(policy, [])[:_MAX_SAMPLES]
        if all(step.reward_inputs for step in episode.steps)
    ]
    if not found:
        raise RunError(
            f"{run}: its episodes of sft do not say what the reward was given (reward_inputs); "
            "train with `sft` among logging.full_episodes"
        )
    return found


def _rescore_report(
    found: Mapping[str, Rescored], silent: Mapping[str, int], samples: int
) -> dict[str, Any]:
    from strategy_rl.rescoring import ranks

    policies = {name: result.to_json(samples) for name, result in found.items()}
    before = ranks({name: figures["before"] for name, figures in policies.items()})
    after = ranks({name: figures["after"] for name, figures in policies.items()})
    for name, figures in policies.items():
        figures |= {"rank_before": before[name], "rank_after": after[name]}
    return {"schema": 1, "policies": policies, "not_scored": dict(silent)}


def _rescore_table(report: Mapping[str, Any]) -> str:
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
