"""`strategy-rl new-task`: what it writes runs at once; what it cannot use it refuses."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from strategy_rl.cli_tasks import KINDS, new_task
from strategy_rl.config import load_experiment
from strategy_rl.errors import InputError, RunError

ROOT = Path(__file__).parents[1]
FILES = {"my_shop.py", "my_shop.yaml", "test_my_shop.py", "my_shop.md"}


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the folder as a user's shell does: the folder is not on the path."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "envs")])
    home = folder.parent / "cache"
    env = {**os.environ, "PYTHONPATH": paths, "STRATEGY_RL_CACHE": str(home), "PYTHONSAFEPATH": "1"}
    command = (sys.executable, *command)
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(params=KINDS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    assert new_task("my_shop", folder, request.param) == 0
    return folder


def test_it_writes_environment_experiment_test_and_readme_section(
    written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {path.name for path in written.iterdir()} == FILES
    assert not any("$" in path.read_text("utf-8") for path in written.iterdir())
    assert load_experiment(written / "my_shop.yaml").task.id == "my/MyShop-v0"


def test_what_it_prints_names_the_files_and_the_next_two_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_task("my_shop", tmp_path)
    printed = capsys.readouterr().out
    assert all(str(tmp_path / name) in printed for name in FILES)
    assert f"strategy-rl run {tmp_path / 'my_shop.yaml'}" in printed


def test_the_environment_is_one_file_of_moderate_length_with_a_docstring_for_each_part(
    written: Path,
) -> None:
    text = (written / "my_shop.py").read_text("utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) < 180
    parts = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    named = [n for n in parts if not n.name.startswith("_")]
    assert len(named) >= 5
    assert all(ast.get_docstring(node) for node in named)


def test_its_own_tests_pass(written: Path) -> None:
    done = run(written, "-m", "pytest", "-q", "-W", "error", str(written / "test_my_shop.py"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_trains_at_once_and_rl_improves_on_imitation(written: Path) -> None:
    done = run(written, "-m", "strategy_rl.cli", "run", "my_shop.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((written / "runs/my_shop/report.json").read_text())
    assert report["comparisons"]["ppo_vs_sft"]["ci95"][0] > 0
    assert {"random", "expert", "sft", "ppo"} <= set(report["policies"])


def test_two_tasks_live_in_one_process(tmp_path: Path) -> None:
    for name in ("one_shop", "other_shop"):
        new_task(name, tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import one_shop, other_shop"
    assert run(tmp_path, "-W", "error", "-c", code).returncode == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("My_Shop", "no usable name"),
        ("2shops", "no usable name"),
        ("my-shop", "no usable name"),
        ("../shop", "no usable name"),
        ("class", "no usable name"),
        ("x" * 41, "no usable name"),
        ("", "no usable name"),
        ("random", "installed module"),
        ("torch", "installed module"),
        ("con", "device on Windows"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_with_what_was_expected(
    name: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        new_task(name, tmp_path)
    assert "such as ticket_routing" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected selection or numbers"):
        new_task("my_shop", tmp_path, "video")


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_file_that_exists_is_kept_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match="exists already"):
        new_task("my_shop", tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file"):
        new_task("my_shop", tmp_path / "file" / "inner")
