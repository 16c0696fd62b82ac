"""A thousand iterations are shown as a few ranges of them, which filter lists."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from recorded import episode, step, write_run

from strategy_rl.board import maps
from strategy_rl.board.moments import moments_of


def probed(iterations: Iterable[int], stage: str = "ppo") -> list[Any]:
    """An episode an iteration, with one of three actions."""
    return [
        episode("x", 0, [step(i % 3)], split="probe", stage=stage, iteration=i) for i in iterations
    ]


def rows_of(iterations: Iterable[int | None], stage: str | None = "ppo") -> list[Any]:
    heads = [{"stage": stage, "iteration": iteration} for iteration in iterations]
    return [moment.filters()["iteration"] for moment in dict.fromkeys(moments_of(heads).values())]


@pytest.mark.parametrize(
    ("count", "rows", "first", "last"),
    [(1, 1, 0, 0), (25, 25, 0, 24), (26, 13, "0-1", "24-25"), (1000, 25, "0-39", "960-999")],
)
def test_a_stage_has_at_most_25_ranges(count: int, rows: int, first: Any, last: Any) -> None:
    found = rows_of(range(count))
    assert (len(found), found[0], found[-1]) == (rows, first, last)


def test_ranges_end_where_iterations_do_and_begin_at_multiples() -> None:
    assert rows_of([7, 8, 63]) == ["7-8", 63]
    assert rows_of(range(41, 103))[:2] == [41, "42-44"]


def test_what_has_no_iteration_has_its_own_row() -> None:
    assert rows_of([None, 3]) == [3, None]
    assert rows_of([None], stage=None) == [None]


def test_a_map_names_ranges_of_each_stage_and_puts_the_evaluation_last(
    tmp_path: Path, open_tab: Any
) -> None:
    test = [episode("ppo", row, [step(0)]) for row in range(5)]
    made = [*probed([0], "untrained"), *probed(range(1, 4), "sft"), *probed(range(0, 1000, 10))]
    tab = open_tab(write_run(tmp_path, a_test=test, probe=made))
    found = tab.ask("map", run=".", by="iteration")
    stages = [row["stage"] for row in found["rows"]]
    assert stages == ["untrained", *["sft"] * 3, *["ppo"] * 25, "evaluation"]
    assert [row["iteration"] for row in found["rows"][:5]] == [0, 1, 2, 3, "0-39"]
    assert found["rows"][-2:] == [
        {"stage": "ppo", "iteration": "960-990"},
        {"stage": "evaluation", "iteration": 0},
    ]


def test_each_row_of_a_map_lists_the_episodes_that_it_counts(tmp_path: Path, open_tab: Any) -> None:
    tab = open_tab(write_run(tmp_path, probe=[*probed(range(5), "sft"), *probed(range(130))]))
    found = tab.ask("map", run=".", by="iteration")
    listed = [tab.ask("episodes", run=".", **row)["total"] for row in found["rows"]]
    assert listed == [sum(counts) for counts in found["counts"]]
    assert sum(listed) == 135


def test_a_narrower_filter_gives_narrower_ranges(tmp_path: Path, open_tab: Any) -> None:
    tab = open_tab(write_run(tmp_path, probe=probed(range(1000))))
    found = tab.ask("map", run=".", by="iteration", iteration="40-79")
    assert [row["iteration"] for row in found["rows"]][:2] == ["40-41", "42-43"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("7", [7]),
        ("7-9", [7, 8, 9]),
        ("998-", [998, 999]),
        ("998-2000", [998, 999]),
        ("9-7", []),
        ("-1", []),
        ("-3-1", [0, 1]),
        ("", 1000),
    ],
)
def test_iterations_are_filtered_by_a_number_or_a_range(
    tmp_path: Path, open_tab: Any, given: str, found: Any
) -> None:
    unknown = episode("x", 0, [step(0)], split="probe", stage="ppo", iteration=None)
    tab = open_tab(write_run(tmp_path, probe=probed(range(1000)), other=[unknown]))
    heads = tab.ask("episodes", run=".", iteration=given, size=1000, split="probe")
    iterations = [head["iteration"] for head in heads["episodes"]]
    assert iterations == found if given else heads["total"] == found + 1


def test_histograms_and_comparisons_take_a_range_too(tmp_path: Path, open_tab: Any) -> None:
    tab = open_tab(write_run(tmp_path, probe=probed(range(100))))
    found = tab.ask("histogram", run=".", iteration="10-14")
    assert sum(entry["count"] for entry in found["bins"]) == 5
    sides = {"run_a": ".", "run_b": ".", "iteration_a": "0-9", "iteration_b": "90-"}
    pair = tab.ask("compare", **sides)["pairs"][0]
    assert (pair["a"]["iteration"], pair["b"]["iteration"]) == (9, 99)  # the last of a row counts


@pytest.mark.parametrize(
    "given", ["ten", "1-2-3", "-", "--1", "1.5", "1e3", "1 - 2", "٣", "9" * 20]
)
def test_what_is_no_range_is_refused(tmp_path: Path, open_tab: Any, given: str) -> None:
    tab = open_tab(write_run(tmp_path, probe=probed([1])))
    response = tab.response("episodes", run=".", iteration=given)
    assert response.status_code == 400
    assert f"got {given!r}, expected a whole number or a range" in response.get_json()["error"]


def test_a_map_says_how_many_rows_it_leaves_out(
    tmp_path: Path, open_tab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [episode("x", row, [step(0)]) for row in range(7)]
    tab = open_tab(write_run(tmp_path, test=made))
    assert tab.ask("map", run=".", by="row")["left_out"] == 0
    monkeypatch.setattr(maps, "MAX_ROWS", 5)
    found = tab.ask("map", run=".", by="row")
    assert (found["rows"], found["left_out"]) == ([0, 1, 2, 3, 4], 2)
