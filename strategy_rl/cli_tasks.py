"""Verbs about tasks: `tasks` lists them, `new-task` writes one, `check-env` tests one."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shlex
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.resources import files as package_files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from strategy_rl.config.names import name_fault, shorten
from strategy_rl.errors import EnvironmentFault, InputError, RunError
from strategy_rl.models import PREFIX

if TYPE_CHECKING:
    from gymnasium.envs.registration import EnvSpec

_TASK_KIT = "strategy_rl_envs"
KINDS = ("selection", "numbers")
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_NAME_RULE = "a lower-case Python name of at most 40 characters, such as ticket_routing"
# Ending of the template -> name of the file, and what it is.
_FILES = {
    "py": ("{name}.py", "environment, reward functions, expert"),
    "yaml": ("{name}.yaml", "experiment"),
    "test": ("test_{name}.py", "tests"),
    "md": ("{name}.md", "a section for your README"),
}


def list_tasks(modules: Sequence[str] = ()) -> int:
    """Print the tasks of the kit and of further modules, a line each with what they are about."""
    for module in [_TASK_KIT, *modules]:
        try:
            import_module(module)
        except ImportError as error:
            raise InputError(f"{module} cannot be imported: {error}; install it") from error
        for spec in _specs_of(module):
            print(f"{module}:{spec.id}\n    {_first_line(spec)}")
    return 0


def _specs_of(module: str) -> Iterator[EnvSpec]:
    from gymnasium.envs.registration import registry

    package = module.partition(".")[0]
    for name in sorted(registry):
        entry = registry[name].entry_point or registry[name].vector_entry_point
        home = entry if isinstance(entry, str) else getattr(entry, "__module__", "")
        if home.partition(":")[0].partition(".")[0] == package:
            yield registry[name]


def _first_line(spec: EnvSpec) -> str:
    from gymnasium.envs.registration import load_env_creator

    entry = spec.entry_point or spec.vector_entry_point
    try:
        creator = load_env_creator(entry) if isinstance(entry, str) else entry
    except (ImportError, AttributeError) as error:
        return f"cannot be imported: {error}"
    return (creator.__doc__ or "").strip().partition("\n")[0]


def new_task(name: str, folder: Path, kind: str = "selection") -> int:
    """Write a task that runs at once: environment, experiment, test and README section.

    Args:
        name: Name of its module; its class and id follow from it.
        folder: Where the four files go; made where it is missing.
        kind: `selection` among texts, or `numbers` for observations without text.

    Raises:
        InputError: The name or the kind cannot be used.
        RunError: One of the files exists; nothing is written then.
    """
    fault = _task_name_fault(name)
    if fault:
        raise InputError(f"{shorten(name)} {fault}; expected {_NAME_RULE}")
    if kind not in KINDS:
        raise InputError(f"--kind: got {shorten(kind)}, expected {' or '.join(KINDS)}")
    paths = {ending: folder / file.format(name=name) for ending, (file, _) in _FILES.items()}
    taken = [str(path) for path in paths.values() if path.exists() or path.is_symlink()]
    if taken:
        raise RunError(f"{', '.join(taken)} exists already; choose another name or --dir")
    _write(paths, kind, name)
    for ending, path in paths.items():
        print(f"{path}  {_FILES[ending][1]}")
    experiment = shlex.quote(str(paths["yaml"]))
    print(f"next: strategy-rl check-env {experiment}\n      strategy-rl run {experiment}")
    return 0


def _task_name_fault(name: str) -> str | None:
    """Why a task cannot have this name, or None."""
    if not _NAME.fullmatch(name) or len(name) > 40 or keyword.iskeyword(name):
        return "is no usable name of a task"
    if name_fault(name):
        return "is a device on Windows"
    if importlib.util.find_spec(name) is not None:
        return "is the name of an installed module, which it would hide"
    return None


def _write(paths: dict[str, Path], kind: str, name: str) -> None:
    title = name.replace("_", " ").capitalize()
    class_name = "".join(part.capitalize() for part in name.split("_"))
    values = {"name": name, "title": title, "class_name": class_name}
    templates = package_files("strategy_rl") / "templates"
    try:
        for ending, path in paths.items():
            template = (templates / f"{kind}.{ending}.txt").read_text("utf-8")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(Template(template).substitute(values))
    except OSError as error:
        raise RunError(f"{error.filename}: cannot be written: {error.strerror}") from error


def check_env(
    task: str, settings: Sequence[str] = (), episodes: int = 12, imports: Sequence[str] = ()
) -> int:
    """Play whole episodes of a task and print every rule of the contract that it breaks.

    A packaged model among the settings is given as its folder, as in a run.

    Args:
        task: A Gymnasium id, or an experiment file, whose task is taken with its settings.
        settings: `key=value` of the environment's constructor.
        episodes: How many episodes are played, each several times over.
        imports: Python files that register the task.

    Returns:
        0 where no rule is broken, else 6.

    Raises:
        InputError: There is no such task, or it refuses its settings.
        ModelError: A packaged model is named that cannot be had.
    """
    if episodes < 1:
        raise InputError(f"--episodes: got {episodes}, expected 1 or more")
    task_id, values = task, _read_settings(settings)
    if task.endswith((".yaml", ".yml")):
        from strategy_rl.assembly import plain_reward
        from strategy_rl.config import load_experiment

        experiment = load_experiment(task)
        reward = plain_reward(experiment.reward)
        given = {**experiment.task.settings, **({"reward": reward} if reward else {})}
        task_id, values = experiment.task.id, {**given, **values}
        imports = [*experiment.imports, *imports]
    from strategy_rl.env import make_slots
    from strategy_rl.imports import load_imports
    from strategy_rl_envs.testing import ContractError, check_env_contract

    if any(str(value).startswith(PREFIX) for value in values.values()):
        from strategy_rl.assembly import with_folders  # heavy

        values = with_folders(values)
    load_imports(imports, trust=True)
    make_slots(task_id, values, 1).close()  # refuses what cannot be made, by its cause
    try:
        report = check_env_contract(task_id, episodes=episodes, **values)
    except ContractError as error:
        print(error)
        return EnvironmentFault.exit_code
    print(f"{task_id} keeps the contract: {report.episodes} episodes, {report.steps} steps")
    return 0


def _read_settings(settings: Sequence[str]) -> dict[str, Any]:
    from strategy_rl.config.yaml_reader import read_text

    values = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not key.isidentifier() or not equals:
            raise InputError(f"--settings: got {shorten(setting)}, expected key=value")
        document = read_text(text, f"--settings {key}")
        if document.faults:
            raise InputError(str(document.faults[0]))
        values[key] = document.values
    return values
