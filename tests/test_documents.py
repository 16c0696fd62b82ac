"""The documents tell the truth: every command parses, every snippet runs, every path exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from strategy_rl import cli

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("e*/**/*.md")]
    if "site-packages" not in path.parts
)
COMMANDS = [
    (path.name, line.strip())
    for path in DOCUMENTS
    for line in path.read_text("utf-8").splitlines()
    if re.match(r"\s*(\$ )?strategy-rl [a-z-]+", line)
]


def test_documents_and_commands_were_found() -> None:
    assert {"README.md", "CONTRIBUTING.md", "architecture.md"} <= {p.name for p in DOCUMENTS}
    assert len(COMMANDS) >= 3


@pytest.mark.parametrize(("document", "command"), COMMANDS)
def test_every_command_in_the_documents_is_understood(document: str, command: str) -> None:
    words = shlex.split(command.removeprefix("$ "), comments=True)[1:]
    args = cli._parse(words)
    assert args.verb == words[0]
    experiment = getattr(args, "experiment", None)
    if experiment is not None:
        known = (ROOT / experiment).is_file() or experiment in made_by_the_reader(document)
        assert known, f"{document} names {experiment}"


def made_by_the_reader(document: str) -> set[str]:
    """Experiments that a guide shows (`# NAME.yaml` on top) or has `new-task` write."""
    paths = [path for path in DOCUMENTS if path.name == document]
    text = "\n".join(path.read_text("utf-8") for path in paths)
    shown = re.findall(r"^# (\S+\.yaml)$", text, re.M)
    return {
        *shown,
        *(f"{name}.yaml" for name in re.findall(r"^strategy-rl new-task (\w+)", text, re.M)),
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8")):
        assert (document.parent / target).exists(), target


def test_make_targets_named_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+)(?: [a-z -]+)?:", (ROOT / "Makefile").read_text(), re.M))
    named = {
        name
        for path in DOCUMENTS
        for name in re.findall(r"`make ([a-z-]+)`", path.read_text("utf-8"))
    }
    assert named
    assert named <= targets | {"venv", "setup"}


def test_the_map_of_the_readme_is_the_disk() -> None:
    block = (ROOT / "README.md").read_text("utf-8").split("## Map")[1].split("```")[1]
    named = {line.split()[0].rstrip("/") for line in block.splitlines() if line.strip()}
    skipped = {"__pycache__", "__init__.py", "errors.py"}
    on_disk = {
        f"strategy_rl/{path.name}"
        for path in (ROOT / "strategy_rl").iterdir()
        if path.name not in skipped and (path.is_dir() or path.suffix == ".py")
    }
    assert on_disk <= named, sorted(on_disk - named)
    for name in named:
        assert (ROOT / name).exists(), name


def test_the_python_snippet_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    snippet = text.split("```python")[1].split("```")[0]
    (tmp_path / "experiments").mkdir()
    smoke = (ROOT / "experiments/smoke.yaml").read_text("utf-8")
    (tmp_path / "experiments/smoke.yaml").write_text(smoke, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path / "cache"))
    script = tmp_path / "snippet.py"
    script.write_text(snippet, "utf-8")
    import runpy

    runpy.run_path(str(script))
    printed = capsys.readouterr().out
    assert "ppo" in printed
    action, probability, _ = printed.splitlines()[-1].split()
    assert int(action) in (0, 1, 5)
    assert 0 < float(probability) <= 1
