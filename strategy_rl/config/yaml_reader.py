"""YAML text to plain values, each with its place. Knows nothing of experiments.

Stricter than PyYAML on purpose: YAML 1.2 scalars (`1e-5` is a number, `12:30` and `010` are texts),
no tags, no duplicate keys, no plain yes/no/on/off, and bounds on size, depth and expansion.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from strategy_rl.config.names import shorten

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 20_000

KeyPath = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_WHOLE = r"(?:0|[1-9][0-9]*)"
_SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "int": (rf"[-+]?{_WHOLE}|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        rf"[-+]?(?:\.[0-9]+|{_WHOLE}\.[0-9]*)(?:[eE][-+]?[0-9]+)?"
        rf"|[-+]?{_WHOLE}[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
}
_TRAPS = {"yes", "no", "on", "off"}


class Place(NamedTuple):
    """Where something was written; line 0 means the source as a whole."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


class Fault(NamedTuple):
    """One thing that is wrong."""

    place: Place
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(str(part) for part in self if str(part))

    @property
    def order(self) -> tuple[bool, Place]:
        """Sorts by file and line; whole sources come last, in the order given."""
        return (False, self.place) if self.place.line else (True, Place(""))


@dataclass
class Document:
    """Values of a text, and the place of each key or item; `broken` where nothing could be read."""

    values: Any = None
    places: dict[KeyPath, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    broken: bool = False


def dotted(path: KeyPath) -> str:
    """A key path as users write it: `reward.0.weight`."""
    return ".".join(str(part) for part in path)


def add_scalar_resolvers(yaml_class: type[yaml.SafeLoader] | type[yaml.SafeDumper]) -> None:
    """Teach a loader or dumper class which plain scalars are no texts."""
    for name, (pattern, first) in _SCALARS.items():
        regexp = re.compile(f"^(?:{pattern})$")
        yaml_class.add_implicit_resolver(_TAG + name, regexp, list(first))


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML copies it per class

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.get_mark()
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH}", problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


add_scalar_resolvers(_Loader)


def read_file(path: Path, source: str) -> Document:
    """Values of a YAML file; never raises, what is wrong is among the faults."""
    try:
        if path.is_dir():
            return _broken(Place(source), "is a folder; expected a YAML file")
        if not path.is_file():
            return _broken(Place(source), "is no file; check the path")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        return _broken(Place(source), f"cannot be read: {error}")
    if len(data) > MAX_BYTES:
        return _broken(Place(source), f"is larger than {MAX_BYTES // 1024} KiB; split it")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _broken(Place(source), "looks like UTF-16; convert it to UTF-8")
    try:
        return read_text(data.decode("utf-8-sig"), source)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return _broken(Place(source, line, 1), f"byte {error.start} is not UTF-8; convert the file")


def read_text(text: str, source: str) -> Document:
    """Values of a YAML text; never raises, what is wrong is among the faults."""
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        return _broken(_place(source, error.problem_mark), _syntax_message(error))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        return _broken(Place(source, line, 1), f"control character {error.character!r}; remove it")
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        place = _place(source, loader.get_mark() if loader else None)
        return _broken(place, f"not valid YAML: {error}")
    document = Document()
    if node is not None:
        _Builder(source, document).build_root(node)
    return document


def _broken(place: Place, message: str) -> Document:
    return Document(faults=[Fault(place, "", message)], broken=True)


def _place(source: str, mark: Any) -> Place:
    return Place(source, mark.line + 1, mark.column + 1) if mark else Place(source)


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    parts = [part for part in (error.context, error.problem) if part]
    hint = "; indent with spaces, not tabs" if "'\\t'" in (error.problem or "") else ""
    return f"not valid YAML: {', '.join(parts)}{hint}"


class _TooLarge(Exception):
    pass


class _Builder:
    """Turns nodes into values and notes the places; aliases are expanded, within bounds."""

    def __init__(self, source: str, document: Document) -> None:
        self.source = source
        self.document = document
        self.nodes = 0

    def build_root(self, node: yaml.Node) -> None:
        try:
            self.document.values = self._value(node, ())
        except _TooLarge as error:
            self._fault(_place(self.source, node.start_mark), (), str(error))
            self.document.broken = True

    def _fault(self, place: Place, path: KeyPath, message: str) -> None:
        self.document.faults.append(Fault(place, dotted(path), message))

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _TooLarge(f"expands to more than {MAX_NODES} values; write fewer, or no aliases")
        if len(path) > MAX_DEPTH:
            raise _TooLarge(f"nested deeper than {MAX_DEPTH}, or an alias that contains itself")
        place = self.document.places.setdefault(path, _place(self.source, node.start_mark))
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self._value(item, (*path, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path, place)
        return self._fault(place, path, f"the tag {node.tag} is not allowed; remove it")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = _place(self.source, key_node.start_mark)
            key = self._key(key_node, path, place)
            if key is None:
                continue
            here = (*path, key)
            if key in values:
                first = self.document.places[here]
                self._fault(place, here, f"given twice, first in line {first.line}; remove one")
                continue
            self.document.places[here] = place
            values[key] = self._value(value_node, here)
        return values

    def _key(self, node: yaml.Node, path: KeyPath, place: Place) -> str | None:
        key: Hashable = None
        if isinstance(node, yaml.ScalarNode):
            key = self._scalar(node, path, place)
        if isinstance(key, str):
            return key
        self._fault(place, path, f"the key {shorten(key)} is no text; quote it")
        return None

    def _scalar(
        self, node: yaml.ScalarNode, path: KeyPath, place: Place
    ) -> str | int | float | bool | None:
        text: str = node.value
        if node.tag == _TAG + "str":
            self._check_text(node, path, place)
            return text
        if node.tag == _TAG + "null":
            return None
        if node.tag == _TAG + "bool":
            return text.lower() == "true"
        try:
            if node.tag == _TAG + "int":
                return int(text, 0)
            if node.tag == _TAG + "float":
                return float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
        except ValueError:
            self._fault(place, path, f"got {shorten(text)}, expected a number of usual size")
            return None
        self._fault(place, path, f"the tag {node.tag} is not allowed; remove it")
        return None

    def _check_text(self, node: yaml.ScalarNode, path: KeyPath, place: Place) -> None:
        text: str = node.value
        if node.style is None and text.lower() in _TRAPS:
            hint = f'write true or false, or quote it: "{text}"'
            message = f"plain {text} is a text to some readers and a boolean to others"
            self._fault(place, path, f"{message}; {hint}")
        if any("\ud800" <= char <= "\udfff" for char in text):
            self._fault(place, path, f"{shorten(text)} holds half a character (a surrogate)")
