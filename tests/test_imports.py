"""Python files of the user's own: when they run, and when they do not."""

from __future__ import annotations

import importlib.util
import py_compile
import sys
from pathlib import Path

import pytest

from strategy_rl.config import load_experiment
from strategy_rl.errors import InputError
from strategy_rl.imports import load_imports


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of one's own; nothing stays loaded."""
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("my_rewards_a", "my_rewards_b"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def written(folder: Path, name: str = "my_rewards_a.py", text: str = "ran = 1\n") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_that_the_user_names_runs_once_and_is_known_by_its_digest(tmp_path: Path) -> None:
    path = written(tmp_path, text="import builtins\nruns = []\nruns.append(1)\n")
    first = load_imports([str(path)], trust=True)
    again = load_imports([str(path)], trust=False)
    assert first == again
    assert len(first[str(path)]) == 64
    assert sys.modules["my_rewards_a"].runs == [1]


def test_a_file_that_was_never_run_here_is_not_run_for_a_folder_that_names_it(
    tmp_path: Path,
) -> None:
    trace = tmp_path / "trace"
    path = written(tmp_path, text=f"open({str(trace)!r}, 'w').close()\n")
    with pytest.raises(InputError, match=r"was not run here before.*--trust-imports"):
        load_imports([str(path)], trust=False)
    assert not trace.exists()
    load_imports([str(path)], trust=True)
    assert trace.exists()


def test_a_file_that_has_changed_since_is_not_run_for_a_folder_either(tmp_path: Path) -> None:
    path = written(tmp_path)
    load_imports([str(path)], trust=True)
    del sys.modules["my_rewards_a"]
    written(tmp_path, text="ran = 2\n")
    with pytest.raises(InputError, match="was not run here before"):
        load_imports([str(path)], trust=False)
    assert "my_rewards_a" not in sys.modules


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("my_rewards_a.py", "1 / 0\n", "my_rewards_a.py failed: ZeroDivisionError"),
        ("my_rewards_a.py", "def f(:\n", "my_rewards_a.py failed: SyntaxError"),
        ("json.py", "ran = 1\n", "'json' is loaded already; rename the file"),
        ("this.py", "ran = 1\n", "hides the installed module 'this'; rename the file"),
        ("my_rewards_a.txt", "ran = 1\n", "expected a Python file, NAME.py"),
    ],
)
def test_what_cannot_be_loaded_is_said_with_its_reason(
    name: str, text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        load_imports([str(written(tmp_path, name, text))], trust=True)
    assert "my_rewards_a" not in sys.modules


def test_a_missing_file_is_named_with_where_it_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file .*absent\.py; paths are relative"):
        load_imports([str(tmp_path / "absent.py")], trust=True)


def test_a_file_may_import_what_stands_beside_it(tmp_path: Path) -> None:
    written(tmp_path, "my_rewards_b.py", "seven = 7\n")
    path = written(tmp_path, text="from my_rewards_b import seven\n")
    load_imports([str(path)], trust=True)
    assert sys.modules["my_rewards_a"].seven == 7


def test_a_known_file_alone_runs_for_a_folder_not_what_stands_beside_it(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    text = "try:\n    import my_rewards_b\nexcept ImportError:\n    ran = 1\n"
    home, other = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home, other):
        folder.mkdir()
        written(folder, text=text)
    load_imports([str(home / "my_rewards_a.py")], trust=True)
    del sys.modules["my_rewards_a"]
    sys.path.remove(str(home))  # as in another process
    written(other, "my_rewards_b.py", f"open({str(trace)!r}, 'w').close()\n")
    load_imports([str(other / "my_rewards_a.py")], trust=False)
    assert sys.modules["my_rewards_a"].ran == 1
    assert not trace.exists()


def test_a_compiled_file_beside_a_known_one_is_not_run(tmp_path: Path) -> None:
    path = written(tmp_path)
    load_imports([str(path)], trust=True)
    del sys.modules["my_rewards_a"]
    other = written(tmp_path, "other.py", "ran = 'forged'\n")
    compiled = importlib.util.cache_from_source(str(path))
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(other), compiled, invalidation_mode=mode)
    load_imports([str(path)], trust=False)
    assert sys.modules["my_rewards_a"].ran == 1


def test_a_file_that_leaves_the_process_is_an_error_not_a_success(tmp_path: Path) -> None:
    path = written(tmp_path, text="import sys\nsys.exit()\n")
    with pytest.raises(InputError, match="failed: SystemExit"):
        load_imports([str(path)], trust=True)


def test_imports_stand_beside_the_experiment_file_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    base = tmp_path / "sub" / "base.yaml"
    base.write_text("name: x\nimports: [my_rewards_a.py]\ntask: {id: T-v0}\n")
    top = tmp_path / "top.yaml"
    top.write_text("extends: sub/base.yaml\n")
    monkeypatch.chdir(tmp_path.parent)
    for path in (base, top):
        assert load_experiment(path).imports == (str(tmp_path / "sub" / "my_rewards_a.py"),)
