"""Experiment files: read, extended, overridden, checked as a whole, written. Knows no training."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from strategy_rl.config.faults import JsonSchema, explain
from strategy_rl.config.names import shorten
from strategy_rl.config.schema import Experiment
from strategy_rl.config.yaml_reader import (
    MAX_DEPTH,
    Document,
    Fault,
    KeyPath,
    Place,
    add_scalar_resolvers,
    dotted,
    read_file,
    read_text,
)
from strategy_rl.errors import ConfigError

MAX_FILES = 64  # files that extend each other twice over would double at every level


def load_experiment(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment file, the files it extends and the overrides, and check the whole.

    Args:
        path: a YAML file; its `extends:` names files relative to it, later ones win.
        overrides: texts such as `ppo.clip_range=0.1` or `reward.0.weight=2`.

    Raises:
        ConfigError: with one line for every fault.
    """
    document = _Files().load(Path(path), str(path), ())
    if not document.broken:
        for override in overrides:
            _apply_override(document, override)
        experiment = _check(document, Place(str(path), 1, 1))
        if experiment and not document.faults:
            return experiment
    raise ConfigError([str(fault) for fault in sorted(document.faults, key=lambda f: f.order)])


def dump_yaml(experiment: Experiment) -> str:
    """The experiment with every default, as YAML that loads back equal."""
    values = experiment.model_dump(mode="json", by_alias=True)
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


@cache
def _schema() -> JsonSchema:
    schema = Experiment.model_json_schema(by_alias=True)
    names: JsonSchema = {"type": "string", "minLength": 1}
    extends = {
        "description": "Files to start from, relative to this one; later ones win.",
        "anyOf": [names, {"type": "array", "items": names}],
    }
    schema["properties"] = {"extends": extends, **schema["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def json_schema() -> JsonSchema:
    """JSON Schema of an experiment file, with every option's help; for editors."""
    return dict(_schema())


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # PyYAML folds these line breaks away unless they are escaped.
        style = '"' if set(text) & set("\x85\u2028\u2029\ufeff") else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)
add_scalar_resolvers(_Dumper)  # beside PyYAML's own: a text that either reads as a number is quoted


class _Files:
    """Reads a file and, depth first, those it extends."""

    def __init__(self) -> None:
        self.count = 0

    def load(self, path: Path, source: str, trail: tuple[Path, ...]) -> Document:
        """Values of `path` over those it extends; `trail` holds the files that led here."""
        self.count += 1
        document = read_file(path, source)
        if document.broken:
            return document
        if not isinstance(document.values, dict):
            came = "is empty" if document.values is None else f"holds {shorten(document.values)}"
            message = f"{came}; expected a mapping with at least the keys name and task"
            fault = Fault(Place(source), "", message)
            return Document(faults=[*document.faults, fault], broken=True)
        _anchor_imports(document.values, path.parent)
        trail = (*trail, path.resolve())
        base = Document({})
        for name in self._names(document):
            base = _merge(base, self._load_base(document, path.parent, name, trail))
        return _merge(base, document)

    def _names(self, document: Document) -> list[str]:
        given = document.values.pop("extends", [])
        names = given if isinstance(given, list) else [given]
        if all(isinstance(name, str) and name for name in names):
            return names
        _refuse_base(document, f"got {shorten(given)}, expected a file or a list of files")
        return []

    def _load_base(
        self, document: Document, folder: Path, name: str, trail: tuple[Path, ...]
    ) -> Document:
        path = Path(os.path.normpath(folder / name))
        if _same_file(path, trail):
            chain = " -> ".join(p.name for p in (*trail, path))
            _refuse_base(document, f"goes in a circle: {chain}; remove one")
        elif self.count >= MAX_FILES:
            _refuse_base(document, f"leads to more than {MAX_FILES} files; extend fewer")
        elif not _is_file(path):
            _refuse_base(document, f"{shorten(name)}: there is no file {path}; check the path")
        else:
            return self.load(path, str(path), trail)
        return Document({})


def _anchor_imports(values: dict[str, Any], folder: Path) -> None:
    """Files of one's own stand beside the experiment file that names them, wherever it is run."""
    given = values.get("imports")
    if isinstance(given, list) and all(isinstance(name, str) and name for name in given):
        values["imports"] = [os.path.abspath(folder / name) for name in given]


def _refuse_base(document: Document, message: str) -> None:
    document.faults.append(Fault(document.places[("extends",)], "extends", message))
    document.broken = True  # what is missing may stand in the file that was not read


def _same_file(path: Path, trail: tuple[Path, ...]) -> bool:
    try:
        return path.resolve() in trail
    except (OSError, ValueError, RuntimeError):
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _merge(base: Document, top: Document) -> Document:
    """`top` over `base`: mappings key by key, everything else replaced; places follow."""
    replaced: set[KeyPath] = set()

    def merged(below: Any, above: Any, path: KeyPath) -> Any:
        if isinstance(below, dict) and isinstance(above, dict):
            both = {
                key: merged(below.get(key), value, (*path, key)) for key, value in above.items()
            }
            return {**below, **both}
        replaced.add(path)
        return above

    values = merged(base.values, top.values, ())
    kept = {path: place for path, place in base.places.items() if not _inside(path, replaced)}
    return Document(values, kept | top.places, base.faults + top.faults, base.broken or top.broken)


def _inside(path: KeyPath, outer: set[KeyPath]) -> bool:
    return any(path[:n] in outer for n in range(len(path) + 1))


def _apply_override(document: Document, override: str) -> None:
    """Set one `key.path=value`; what is wrong with it goes to the document's faults."""
    place = Place(f"override {shorten(override, 100)}")
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    message = None
    if not equals or not all(parts) or len(parts) > MAX_DEPTH or parts == ["extends"]:
        message = "expected key.path=value, e.g. ppo.clip_range=0.1"
    elif not text.strip():
        message = "the value is missing; write null for nothing, '\"\"' for an empty text"
    if message:
        document.faults.append(Fault(place, "", message))
        return
    value = read_text(text, place.source)
    if value.faults:
        document.faults.extend(Fault(place, key, fault.message) for fault in value.faults)
        return
    path, message = _set(document.values, parts, value.values)
    if message:
        document.faults.append(Fault(place, dotted(path), message))
        return
    kept = {p: where for p, where in document.places.items() if not _inside(p, {path})}
    document.places = {**kept, path: place}


def _set(values: Any, parts: list[str], value: Any) -> tuple[KeyPath, str | None]:
    """Put `value` at `parts` inside `values`; gives the key path, and a message if it cannot."""
    path: KeyPath = ()
    for i, part in enumerate(parts):
        key: str | int = part
        if isinstance(values, list):
            if not (
                part.isascii() and part.isdigit() and len(part) < 6 and int(part) < len(values)
            ):
                return (*path, part), f"no such item; the list has {len(values)}, counted from 0"
            key = int(part)
        elif not isinstance(values, dict):
            return path, f"holds {shorten(values)}, which has no keys; give the whole value instead"
        path = (*path, key)
        if i == len(parts) - 1:
            values[key] = value
        elif isinstance(values, dict) and values.get(part) is None:
            values[key] = {}
        values = values[key]
    return path, None


def _check(document: Document, start: Place) -> Experiment | None:
    """The experiment, or None and the faults added to the document."""
    try:
        return Experiment.model_validate(document.values)
    except ValidationError as error:
        for path, message in explain(error, document.values, _schema()):
            near = next(
                (path[:n] for n in range(len(path), 0, -1) if path[:n] in document.places), ()
            )
            place = document.places[near] if near else start
            if not any(old[:2] == (place, dotted(path)) for old in document.faults):
                document.faults.append(Fault(place, dotted(path), message))
    return None
