import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recorded import evaluated
from tensorboard.plugins.base_plugin import TBContext, TBLoader

from strategy_rl.board.frontend import static_files
from strategy_rl.board.plugin import PolicyLoader
from strategy_rl.board.runs import find_runs, roots_of

HEAVY = ("torch", "transformers", "pydantic", "gymnasium", "matplotlib")


def modules_after(statement: str) -> list[str]:
    code = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_entry_point_imports_nothing_but_tensorboards_base() -> None:
    loaded = modules_after("import strategy_rl.board.plugin")
    assert [name for name in loaded if name.startswith("strategy_rl.")] == [
        "strategy_rl.board",
        "strategy_rl.board.plugin",
    ]


def test_the_tab_itself_imports_nothing_heavy() -> None:
    loaded = modules_after("import strategy_rl.board.app, strategy_rl.board.terminal")
    assert [name for name in HEAVY if name in loaded] == []


def test_the_loader_gives_a_plugin_that_follows_its_folder(tmp_path: Path) -> None:
    evaluated(tmp_path)
    context = TBContext(logdir=str(tmp_path), flags=SimpleNamespace(logdir_spec=""))
    assert isinstance(PolicyLoader(), TBLoader)
    plugin = PolicyLoader().load(context)
    plugin.catalog.refresh()  # waits for the thread's own
    assert plugin.is_active()
    assert plugin.frontend_metadata().tab_name == "Policy"


def test_a_folder_without_episodes_shows_no_tab(tmp_path: Path, open_tab: Any) -> None:
    (tmp_path / "run" / "episodes").mkdir(parents=True)
    assert not open_tab(tmp_path).plugin.is_active()


def test_files_of_the_front_end_are_served_and_no_others(tmp_path: Path, open_tab: Any) -> None:
    tab = open_tab(tmp_path)
    response = tab.response("static/index.js")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/javascript")
    for name in ("../plugin.py", "..%2Fplugin.py", "%2e%2e/plugin.py", "", "index.html"):
        assert tab.response(f"static/{name}").status_code == 404
    assert {Path(name).suffix for name in static_files()} <= {".js", ".css", ".svg", ".json"}


@pytest.mark.parametrize(
    ("logdir", "spec", "expected"),
    [
        ("/a", "", {"/a": None}),
        ("", "x:/a,/b,y:/c:d", {"/a": "x", "/b": None, "/c:d": "y"}),
        ("", "", {}),
        ("", None, {}),
        ("gs://bucket/a", "", {}),
        ("", "x:s3://bucket/a,/b", {"/b": None}),
    ],
)
def test_roots_are_read_as_tensorboard_does(
    logdir: str, spec: str | None, expected: dict[str, str | None]
) -> None:
    assert {path.as_posix(): name for path, name in roots_of(logdir, spec).items()} == expected


def test_links_that_lead_back_do_not_make_runs_endless(tmp_path: Path) -> None:
    evaluated(tmp_path / "run")
    (tmp_path / "run" / "again").symlink_to(tmp_path)
    assert list(find_runs({tmp_path: None})) == ["run"]


def test_a_run_that_is_linked_into_the_folder_is_found(tmp_path: Path) -> None:
    evaluated(tmp_path / "elsewhere" / "run")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "linked").symlink_to(tmp_path / "elsewhere" / "run")
    assert list(find_runs({tmp_path / "logs": None})) == ["linked"]


def test_a_run_may_be_called_as_a_folder_of_runs_and_those_are_not_searched(tmp_path: Path) -> None:
    for name in ("policy", "plots", "checkpoints/a", "checkpoints/a/policy"):
        (tmp_path / name / "episodes").mkdir(parents=True)
    assert list(find_runs({tmp_path: None})) == ["checkpoints/a", "plots", "policy"]
