import os
from pathlib import Path
from typing import Any

import pytest
from recorded import evaluated

from strategy_rl.board.catalog import Catalog, RunIndex

NO_CONFIGS = ("!!bool foo", "!!int ''", "!!timestamp foo", "a: [", "\x00", "- 1", "{} : &a [*a]")


@pytest.mark.parametrize(
    ("seed", "shown"), [("2024-01-01", None), ("&a [*a]", None), ("true", None), ("7", 7)]
)
def test_a_seed_is_a_whole_number_or_unknown(
    tmp_path: Path, open_tab: Any, seed: str, shown: int | None
) -> None:
    (evaluated(tmp_path / "a") / "config.yaml").write_text(f"seed: {seed}\n")
    assert open_tab(tmp_path).ask("runs")["runs"][0]["seed"] == shown


@pytest.mark.parametrize("text", NO_CONFIGS)
def test_a_configuration_that_cannot_be_read_is_taken_for_empty(
    tmp_path: Path, open_tab: Any, text: str
) -> None:
    (evaluated(tmp_path / "a") / "config.yaml").write_text(text)
    evaluated(tmp_path / "b")
    first, second = open_tab(tmp_path).ask("runs")["runs"]
    assert (first["episodes"], first["seed"], second["seed"]) == (12, None, 3)


def test_a_run_that_fails_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refresh(run: RunIndex) -> bool:
        if run.name == "a":
            raise RuntimeError("invented")
        return whole(run)

    whole = RunIndex.refresh
    monkeypatch.setattr(RunIndex, "refresh", refresh)
    for name in ("a", "b"):
        evaluated(tmp_path / name)
    catalog = Catalog({tmp_path: None})
    catalog.refresh()
    assert len(catalog.run("b").entries()) == 12


@pytest.mark.parametrize("name", ["status.json", "config.yaml"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, open_tab: Any, name: str) -> None:
    path = evaluated(tmp_path / "a") / name
    path.unlink()
    os.mkfifo(path)
    shown = open_tab(tmp_path).ask("runs")["runs"][0]
    assert shown["episodes"] == 12
    assert shown["status" if name == "status.json" else "seed"] in ("unknown", None)


def test_values_of_scaled_rewards_are_compared_with_no_return(
    tmp_path: Path, open_tab: Any
) -> None:
    tab = open_tab(evaluated(tmp_path))
    assert tab.ask("episodes", run=".")["episodes"][0]["value_error"] is not None
    (tmp_path / "config.yaml").write_text("ppo: {normalize_rewards: true}\n")
    tab.refresh()
    head = tab.ask("episodes", run=".")["episodes"][0]
    assert head["value_error"] is None
    shown = tab.ask("episode", run=".", key=head["key"])
    assert shown["scaled_values"] is True
    assert shown["steps"][0]["value"] == 0.0
    assert (shown["steps"][0]["return_to_go"], shown["steps"][0]["advantage"]) == (None, None)
