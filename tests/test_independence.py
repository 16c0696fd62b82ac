"""The trainer knows no task and the tasks know no trainer: a new task edits no trainer file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def imported(path: Path) -> set[str]:
    """Top-level names of everything that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    ("folder", "other", "exempt"),
    [
        # The command line calls the kit's checks, the controller the decoding of its task.
        ("strategy_rl", "strategy_rl_envs", ("cli", "controller.py")),
        ("envs/strategy_rl_envs", "strategy_rl", ()),
    ],
)
def test_neither_package_imports_the_other(
    folder: str, other: str, exempt: tuple[str, ...]
) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert len(files) > 30
    guilty = [str(path.relative_to(ROOT)) for path in files if other in imported(path)]
    allowed = [path for path in guilty if Path(path).name.startswith(exempt)]
    assert [path for path in guilty if path not in allowed] == []


def test_one_task_never_imports_another() -> None:
    kit = ROOT / "envs/strategy_rl_envs"
    tasks = {path.name for path in kit.iterdir() if path.is_dir()}
    tasks -= {"kit", "rewards", "testing", "__pycache__"}
    assert {"from_data", "reply_selection", "probes"} <= tasks
    for task in tasks:
        for path in (kit / task).rglob("*.py"):
            text = path.read_text("utf-8")
            others = [name for name in tasks - {task} if f"strategy_rl_envs.{name}" in text]
            assert not others, f"{path}: {others}"
