"""Verbs for authors of rewards: `check-reward` examines one, `rewards` lists the functions.

Knows how a reward is named on the command line and which environment it is tried in; not how it is
examined, which the kit knows, nor what `rescore` does with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from strategy_rl import files
from strategy_rl.config import Experiment, RewardTerm, load_experiment
from strategy_rl.errors import EnvironmentFault, InputError, RunError
from strategy_rl.imports import load_imports

if TYPE_CHECKING:
    import gymnasium

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
    env = make_env(experiment, terms, "train" if run is None else "test")
    try:
        composition_of(env).set_progress(1.0)  # weights as they are when policies are judged
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


def make_env(
    experiment: Experiment, terms: Sequence[RewardTerm], split: str
) -> gymnasium.Env[Any, Any]:
    """The environment of an experiment on a split, with the reward that is given.

    Raises:
        InputError: The task cannot be made by its `entry_point`, or refuses its settings.
    """
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


def composition_of(env: gymnasium.Env[Any, Any]) -> Any:
    """The `WeightedReward` of an environment.

    Raises:
        InputError: It has none.
    """
    reward = getattr(env.unwrapped, "reward", None)
    if not hasattr(reward, "score_many"):
        raise InputError(f"{env.unwrapped} has no `reward` that could be asked (WeightedReward)")
    return reward


def _names(env: gymnasium.Env[Any, Any]) -> tuple[str, ...]:
    names: tuple[str, ...] = composition_of(env).names
    return names


def _samples(run: Path, env: gymnasium.Env[Any, Any]) -> list[Played]:
    """The stored episodes of a run's SFT policy, under the reward of `env`."""
    from strategy_rl.report.run_folder import find_runs, read_run
    from strategy_rl.rescoring import facts_of
    from strategy_rl_envs.rewards.checkup import replayed

    episodes = read_run(find_runs([run])[0]).episodes
    found = [
        replayed(composition_of(env), name, episode.row or 0, [facts_of(s) for s in episode.steps])
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
