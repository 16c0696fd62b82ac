"""A run says which code it was made with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from strategy_rl import folder
from strategy_rl.folder import describe_environment


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(root), *identity, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_the_commit_is_that_of_the_packages_own_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "x")
    (tmp_path / "inside").mkdir()
    monkeypatch.setattr(folder, "_CHECKOUT", tmp_path / "inside")  # installed in another checkout
    assert describe_environment()["git_commit"] is None
    monkeypatch.setattr(folder, "_CHECKOUT", tmp_path)
    assert describe_environment()["git_commit"] == git(tmp_path, "rev-parse", "HEAD")
    monkeypatch.setenv("PATH", str(tmp_path))  # no git here
    assert describe_environment()["git_commit"] is None


def test_a_checkout_without_a_commit_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init")
    monkeypatch.setattr(folder, "_CHECKOUT", tmp_path)
    assert describe_environment()["git_commit"] is None
