"""Task settings and reward out of an experiment file, for commands that train nothing.

The file may extend others, as strategy-rl's own reader has it: mappings are joined key by key,
anything else is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strategy_rl_envs.kit.errors import SettingError

PACKAGED = "package:"  # begins a name that the trainer resolves


def read_experiment(path: Path, model: str | None = None) -> tuple[dict[str, Any], Any]:
    """Settings of an experiment's task, and its reward; None where it names none.

    Args:
        path: YAML file; `extends` names files relative to it, later ones win.
        model: Instead of the setting `model`.

    Raises:
        SettingError: A file cannot be read, holds no task, or names a packaged model.
    """
    content = _read(path, ())
    task, reward = content.get("task"), content.get("reward")
    settings = task.get("settings") if isinstance(task, dict) else None
    if not isinstance(settings, dict):
        raise SettingError(f"{path}: expected task.settings, got the keys {list(content)}")
    settings = settings | ({"model": model} if model else {})
    _refuse_packaged(path, settings, reward)
    return settings, reward


def _read(path: Path, trail: tuple[Path, ...]) -> dict[str, Any]:
    """A file over those that it extends; `trail` holds the files that led here."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingError(f"{path}: cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise SettingError(f"{path}: expected a mapping with task.settings, got {content!r:.100}")
    trail = (*trail, path.resolve())
    given = content.pop("extends", [])
    base: dict[str, Any] = {}
    for name in given if isinstance(given, list) else [given]:
        if not isinstance(name, str):
            raise SettingError(f"{path}: extends: got {name!r:.100}, expected a file or a list")
        below = path.parent / name
        if below.resolve() in trail:
            raise SettingError(f"{path}: extends: {name} leads back here; remove one")
        base = _over(base, _read(below, trail))
    return _over(base, content)


def _over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    def joined(old: Any, new: Any) -> Any:
        both = isinstance(old, dict) and isinstance(new, dict)
        return _over(old, new) if both else new

    return below | {key: joined(below.get(key), value) for key, value in above.items()}


def _refuse_packaged(path: Path, settings: Mapping[str, Any], reward: Any) -> None:
    given = {f"task.settings.{name}": value for name, value in settings.items()}
    for term in reward if isinstance(reward, list) else []:
        said = term.get("settings") if isinstance(term, dict) else None
        for name, value in said.items() if isinstance(said, dict) else ():
            given[f"reward: {term.get('name')}: {name}"] = value
    for place, value in given.items():
        if isinstance(value, str) and value.startswith(PACKAGED):
            command = f"strategy-rl models {value.removeprefix(PACKAGED)}"
            where = "in its place"
            if place == "task.settings.model":
                where = f'by --model "$({command})"'
            raise SettingError(
                f"{path}: {place}: {value} is known to strategy-rl's commands alone; `{command}` "
                f"fetches it and prints its folder, which can be given {where}"
            )
