from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from strategy_rl.config import load_experiment
from strategy_rl.errors import ConfigError

Write = Callable[..., Path]
Refuse = Callable[..., list[str]]

SMALL = "name: small\ntask: {id: T-v0}\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a YAML file, by default one that is complete with name and task."""

    def write_file(text: str, name: str = "e.yaml", *, complete: bool = True) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((SMALL if complete else "") + text, encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def refuse(tmp_path: Path) -> Refuse:
    """The faults of a file that must be refused, without the folder in front."""

    def faults_of(path: Path, *overrides: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load_experiment(path, overrides)
        assert caught.value.exit_code == 2
        return [fault.replace(f"{tmp_path}/", "") for fault in caught.value.faults]

    return faults_of
