from __future__ import annotations

from pathlib import Path

import pytest

from strategy_rl.config import Experiment, dump_yaml, load_experiment

FOLDER = Path(__file__).parents[2] / "experiments"
FILES = sorted(FOLDER.rglob("*.yaml"))


def test_the_shipped_experiments_are_found() -> None:
    names = {path.relative_to(FOLDER).as_posix() for path in FILES}
    assert {"smoke.yaml", "cartpole.yaml", "reply_selection/demo.yaml"} <= names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_experiment_loads_and_its_dump_loads_back_equal(
    path: Path, tmp_path: Path
) -> None:
    experiment = load_experiment(path)
    assert isinstance(experiment, Experiment)
    (tmp_path / "again.yaml").write_text(dump_yaml(experiment), encoding="utf-8")
    assert load_experiment(tmp_path / "again.yaml") == experiment


def test_the_names_of_shipped_experiments_differ() -> None:
    names = [load_experiment(path).name for path in FILES]
    assert sorted(set(names)) == sorted(names)
