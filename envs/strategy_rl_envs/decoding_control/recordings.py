"""Texts that a model has written to their end, kept on disk with what was seen at every decision.

A recording is a folder, named by what it depends on: model, data, how texts are written, which
features are seen. Where one of them changes, another is made. It is made in parts of some rows,
each a safetensors file, so that making it can be interrupted; the manifest comes last and holds
the parts' digests.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from strategy_rl_envs.kit.errors import DataError
from strategy_rl_envs.kit.writer import write_manifest

SCHEMA = 2  # raise it too where features of the same names come to hold other values
PART_ROWS = 64
MANIFEST = "manifest.json"
_WHOLE = "delete the folder, and it is made again"

Value = TypeVar("Value")

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Recording:
    """N texts with D decisions in all, F numbers seen at each. It is equal to itself alone.

    Attributes:
        feature_names: F names.
        observations: Float32 (D, F), the decisions of one text after those of another.
        starts: Int64 (N + 1,); text i has the decisions `starts[i]` to `starts[i + 1]`.
        tokens: By text, the token ids to the end.
        texts: By text, as it stands at each decision, and at last the whole.
        surprisals: Of what stands there, mean, nats; as many as `texts`.
    """

    feature_names: tuple[str, ...]
    observations: NDArray[np.float32]
    starts: NDArray[np.int64]
    tokens: tuple[tuple[int, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    surprisals: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Written:
    """One text, as it comes out of the model.

    Attributes:
        observations: Float32 (decisions, F).
        tokens: Ids to the end.
        texts: One more than decisions.
        surprisals: As many as `texts`.
    """

    observations: NDArray[np.float32]
    tokens: tuple[int, ...]
    texts: tuple[str, ...]
    surprisals: tuple[float, ...]


def cache_folder(inputs: Mapping[str, Any]) -> Path:
    """Where the recording lies that depends on `inputs`.

    It is under `$STRATEGY_RL_CACHE`, or `~/.cache/strategy_rl`.
    """
    given = os.environ.get("STRATEGY_RL_CACHE")
    root = Path(given) if given else Path.home() / ".cache" / "strategy_rl"
    name = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return root / "recordings" / name[:32]


def part_name(number: int) -> str:
    """Of the file that holds the rows from `number` times `PART_ROWS` on."""
    return f"part-{number:05}.safetensors"


def write_part(path: Path, feature_names: Sequence[str], written: Sequence[Written]) -> None:
    """Write some texts; the file is there whole or not at all."""
    tensors = {
        "observations": np.concatenate([text.observations for text in written]),
        "decisions": np.array([len(text.observations) for text in written], np.int64),
        "tokens": np.array([token for text in written for token in text.tokens], np.int64),
        "counts": np.array([len(text.tokens) for text in written], np.int64),
        "surprisals": np.array([nats for text in written for nats in text.surprisals]),
    }
    said = {
        "feature_names": json.dumps(list(feature_names)),
        "texts": json.dumps([text.texts for text in written]),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file(tensors, beside, metadata=said)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_part(path: Path, num_rows: int) -> Recording:
    """Read some texts back.

    Args:
        path: What `write_part` has written.
        num_rows: How many texts it must hold.

    Raises:
        DataError: It cannot be read, or its pieces do not fit each other.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            said = file.metadata() or {}
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        names = tuple(json.loads(said["feature_names"]))
        texts = tuple(map(tuple, json.loads(said["texts"])))
        seen, tokens = found["observations"], found["tokens"].tolist()
        decisions, counts = found["decisions"], found["counts"].tolist()
        nats = found["surprisals"]
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read: {error!r}; {_WHOLE}") from error
    fits = (
        seen.dtype == np.float32
        and seen.shape == (decisions.sum(), len(names))
        and bool(np.isfinite(seen).all())
        and len(decisions) == len(counts) == len(texts) == num_rows
        and [len(text) - 1 for text in texts] == decisions.tolist()
        and sum(counts) == len(tokens)
        and nats.shape == (decisions.sum() + num_rows,)
        and bool(np.isfinite(nats).all())
    )
    if not fits or decisions.min() < 1:
        raise DataError(f"{path}: its pieces do not fit each other; {_WHOLE}")
    return Recording(
        names,
        seen,
        _starts(decisions),
        _parted(tokens, counts),
        texts,
        _parted(nats.tolist(), (decisions + 1).tolist()),
    )


def missing_parts(folder: Path, num_rows: int) -> Iterator[tuple[Path, range]]:
    """The parts that are not there or cannot be read, each with its rows."""
    for number, first in enumerate(range(0, num_rows, PART_ROWS)):
        rows = range(first, min(first + PART_ROWS, num_rows))
        path = folder / part_name(number)
        try:
            if path.exists():
                read_part(path, len(rows))
                continue
        except DataError as error:
            log.warning("%s", error)
        yield path, rows


def seal(folder: Path, inputs: Mapping[str, Any], num_rows: int) -> None:
    """Write the manifest of a folder whose parts are all there."""
    parts = [folder / part_name(number) for number in range(-(-num_rows // PART_ROWS))]
    digests = {path.name: _digest(path) for path in parts}
    write_manifest(
        folder / MANIFEST,
        {"schema": SCHEMA, "inputs": dict(inputs), "rows": num_rows, "parts": digests},
    )


def is_sealed(folder: Path) -> bool:
    """Whether the whole recording is there."""
    return (folder / MANIFEST).is_file()


@lru_cache(maxsize=8)
def load_recording(folder: Path) -> Recording:
    """Read a whole recording, once a process.

    Raises:
        DataError: A file was changed, or is missing.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        schema, rows, digests = manifest["schema"], manifest["rows"], manifest["parts"]
        stands = cache_folder(manifest["inputs"]).name == folder.name and schema == SCHEMA
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read: {error!r}; {_WHOLE}") from error
    if not stands:
        raise DataError(f"{path}: belongs to another recording; {_WHOLE}")
    parts = []
    for number, first in enumerate(range(0, rows, PART_ROWS)):
        part = folder / part_name(number)
        if not part.is_file() or _digest(part) != digests.get(part.name):
            raise DataError(f"{part}: is not what the manifest says; {_WHOLE}")
        parts.append(read_part(part, min(PART_ROWS, rows - first)))
    if len({part.feature_names for part in parts}) != 1:
        raise DataError(f"{folder}: its parts hold different numbers; {_WHOLE}")
    return Recording(
        parts[0].feature_names,
        np.concatenate([part.observations for part in parts]),
        _starts(np.concatenate([np.diff(part.starts) for part in parts])),
        tuple(text for part in parts for text in part.tokens),
        tuple(text for part in parts for text in part.texts),
        tuple(text for part in parts for text in part.surprisals),
    )


def _parted(values: Sequence[Value], counts: Sequence[int]) -> tuple[tuple[Value, ...], ...]:
    """Values of texts that follow each other, by text."""
    ends = np.cumsum(counts).tolist()
    return tuple(tuple(values[end - n : end]) for end, n in zip(ends, counts, strict=True))


def _starts(decisions: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(decisions)])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
