"""What pydantic found, in our words: what came, what was expected, did you mean. Knows no files."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from strategy_rl.config.base import Contradictions
from strategy_rl.config.names import shorten
from strategy_rl.config.yaml_reader import KeyPath

JsonSchema = dict[str, Any]


def explain(
    error: ValidationError, values: object, schema: JsonSchema
) -> Iterator[tuple[KeyPath, str]]:
    """The key and the message of every fault that `error` holds.

    Args:
        error: what pydantic raised for `values`.
        values: the mapping that was checked.
        schema: JSON schema of an experiment file.
    """
    for item in error.errors(include_url=False):
        path, came = _locate(item["loc"], values, keep_last=item["type"] == "missing")
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, Contradictions):
            for key, message in cause.faults:
                yield (*path, *key.split(".")), message
        elif item["type"] == "extra_forbidden":
            yield path, f"unknown key{_suggest_key(path, schema)}"
        elif cause is not None:
            yield path, str(cause)
        else:
            expected = _describe(subschema(path, schema), schema)
            got = "is missing" if item["type"] == "missing" else f"got {shorten(came)}"
            yield path, f"{got}, expected {expected}{_suggest_value(path, came, schema)}"


def _locate(loc: KeyPath, values: object, *, keep_last: bool) -> tuple[KeyPath, object]:
    """Key path of a pydantic location, without the names of union members, and its value."""
    path: list[str | int] = []
    for i, part in enumerate(loc):
        items = dict(enumerate(values)) if isinstance(values, list) else values
        if isinstance(items, dict) and part in items:
            values = items[part]
        elif not (keep_last and i == len(loc) - 1):
            continue
        path.append(part)
    return tuple(path), values


def subschema(path: KeyPath, schema: JsonSchema) -> JsonSchema:
    """The part of a JSON schema that governs `path`; empty where anything goes."""
    found = schema
    for part in path:
        options = [_resolve(option, schema) for option in _options(_resolve(found, schema))]
        steps = (_step(option, part) for option in options)
        found = next((step for step in steps if step is not None), {})
    return found


def _resolve(part: JsonSchema, schema: JsonSchema) -> JsonSchema:
    name = part.get("$ref", "").removeprefix("#/$defs/")
    return schema["$defs"][name] if name else part


def _options(part: JsonSchema) -> list[JsonSchema]:
    return part.get("anyOf") or part.get("oneOf") or [part]


def _step(option: JsonSchema, part: str | int) -> JsonSchema | None:
    inside = option if isinstance(part, int) else option.get("properties", {})
    step: JsonSchema | None = inside.get("items" if isinstance(part, int) else part)
    return step


def _describe(part: JsonSchema, schema: JsonSchema) -> str:
    part = _resolve(part, schema)
    options = _options(part)
    if len(options) > 1:
        return " or ".join(_describe(option, schema) for option in options)
    if "enum" in part:
        *most, last = [repr(value) for value in part["enum"]]
        return f"{', '.join(most)} or {last}" if most else last
    kind = part.get("type")
    if kind == "object":
        keys = ", ".join(part.get("properties", {}))
        return f"a mapping with the keys {keys}" if keys else "a mapping"
    if kind == "array":
        return f"a list, each item {_describe(part.get('items', {}), schema)}"
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _range(part)
    simple = {"null": "null", "boolean": "true or false"}
    simple["string"] = "a text that is not empty" if part.get("minLength") else "a text"
    return simple.get(str(kind), "texts, finite numbers, true, false, null, lists or mappings")


def _range(part: JsonSchema) -> str:
    words = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "of at most",
        "exclusiveMaximum": "below",
    }
    if "minimum" in part and "maximum" in part:
        return f" from {part['minimum']:g} to {part['maximum']:g}"
    return " and".join(f" {word} {part[key]:.12g}" for key, word in words.items() if key in part)


def _suggest_value(path: KeyPath, came: object, schema: JsonSchema) -> str:
    known = [str(v) for o in _options(subschema(path, schema)) for v in o.get("enum", [])]
    close = difflib.get_close_matches(str(came)[:100], known, n=1) if known else []
    return f"; did you mean {close[0]!r}?" if close else ""


def _suggest_key(path: KeyPath, schema: JsonSchema) -> str:
    key = str(path[-1])[:100]
    options = _options(_resolve(subschema(path[:-1], schema), schema))
    siblings = [k for o in options for k in _resolve(o, schema).get("properties", {})]
    words = {word: sibling for sibling in reversed(siblings) for word in sibling.split("_")}
    close = difflib.get_close_matches(key, siblings, n=1)
    close = close or [
        words[word] for word in difflib.get_close_matches(key, words, n=1, cutoff=0.75)
    ]
    if not close:
        close = [dotted for dotted in _all_keys(schema, schema) if dotted.split(".")[-1] == key][:3]
    if close:
        return f"; did you mean {' or '.join(repr(c) for c in close)}?"
    return f"; known here: {', '.join(siblings)}"


def _all_keys(part: JsonSchema, schema: JsonSchema, prefix: str = "") -> Iterator[str]:
    for option in _options(_resolve(part, schema)):
        for key, value in _resolve(option, schema).get("properties", {}).items():
            yield prefix + key
            yield from _all_keys(value, schema, f"{prefix}{key}.")
