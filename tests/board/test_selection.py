"""Training episodes are a few of each rollout: the best and the worst stand for nobody else."""

from pathlib import Path
from typing import Any

import pytest
from recorded import NAMES, evaluated, kept, rollout, write_lines

TRAIN = {"run": ".", "split": "train"}


@pytest.fixture
def tab(tmp_path: Path, open_tab: Any) -> Any:
    return open_tab(write_lines(evaluated(tmp_path), rollout()))


def listed(tab: Any, **params: Any) -> list[int]:
    return [head["row"] for head in tab.ask("episodes", **{**TRAIN, **params})["episodes"]]


def test_a_list_says_why_an_episode_was_kept(tab: Any) -> None:
    heads = tab.ask("episodes", **TRAIN)["episodes"]
    assert heads[3]["selection"] == {
        "reasons": ["random", "surprising"],
        "num_episodes": 64,
        "mean_return": 0.31,
    }
    assert tab.ask("episodes", run=".", policy="sft")["episodes"][0]["selection"] is None
    assert tab.ask("runs")["runs"][0]["reasons"] == ["random", "best", "worst", "surprising"]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"reasons": ["best", "other", 3, []]}, {"reasons": ["best"]}),
        ({"reasons": "random"}, {"reasons": []}),
        ({"num_episodes": 2.5}, {"num_episodes": None}),
        ({"mean_return": "much"}, {"mean_return": None}),
        ({"mean_return": True}, {"mean_return": None}),
    ],
)
def test_what_a_selection_says_is_checked(
    tmp_path: Path, open_tab: Any, given: dict[str, Any], shown: dict[str, Any]
) -> None:
    line = kept(0, 1.0, ["random"])
    line["selection"] |= given
    head = open_tab(write_lines(tmp_path, [line])).ask("episodes", run=".")["episodes"][0]
    assert {name: head["selection"][name] for name in shown} == shown


def test_a_selection_that_is_none_is_unknown(tmp_path: Path, open_tab: Any) -> None:
    lines = [{**kept(0, 1.0, []), "selection": given} for given in (None, 3, ["random"])]
    heads = open_tab(write_lines(tmp_path, lines)).ask("episodes", run=".")["episodes"]
    assert [head["selection"] for head in heads] == [None, None, None]


@pytest.mark.parametrize(
    ("selected", "rows"),
    [("random", [0, 3]), ("best", [1]), ("worst", [2]), ("surprising", [2, 3]), ("", [0, 1, 2, 3])],
)
def test_a_list_is_filtered_by_why_episodes_were_kept(
    tab: Any, selected: str, rows: list[int]
) -> None:
    assert listed(tab, selected=selected) == rows


def test_all_of_an_evaluation_count_as_drawn_at_random(tab: Any) -> None:
    assert len(tab.ids(run=".", split="test", selected="random")) == 12
    assert tab.ids(run=".", split="test", selected="best") == []


def test_a_histogram_counts_what_was_drawn_at_random_unless_told_otherwise(tab: Any) -> None:
    ends = [
        [
            (b["least"], b["count"])
            for b in tab.ask("histogram", **TRAIN, **more)["bins"]
            if b["count"]
        ]
        for more in ({}, {"selected": ""}, {"selected": "best"})
    ]
    assert ends == [[(0.25, 1), (0.5, 1)], [(0.25, 1), (0.5, 1)], [(5.0, 1)]]


def test_a_map_counts_what_was_drawn_at_random_unless_told_otherwise(tab: Any) -> None:
    found = tab.ask("map", **TRAIN)
    assert (found["actions"], found["counts"]) == ([NAMES[0]], [[2]])
    found = tab.ask("map", **TRAIN, selected="worst")
    assert (found["actions"], found["counts"]) == ([NAMES[0], NAMES[2]], [[0, 1]])


def test_a_comparison_is_of_what_was_drawn_at_random(tab: Any) -> None:
    sides = {"run_a": ".", "run_b": ".", "policy_a": "policy", "policy_b": "policy"}
    assert tab.ask("compare", **sides)["rows_in_common"] == 2
    assert tab.ask("compare", **sides, selected="best")["rows_in_common"] == 1


def test_a_curve_has_the_mean_of_the_whole_rollout(tab: Any) -> None:
    point = next(p for p in tab.ask("curve", run=".")["points"] if p["split"] == "train")
    assert (point["mean_return"], point["num_episodes"], point["episodes"]) == (0.31, 64, 4)
    place = {name: point[name] for name in ("stage", "iteration", "policy", "split")}
    assert tab.ask("episodes", run=".", **place)["total"] == point["episodes"]


def test_a_curve_without_that_mean_is_of_what_was_drawn_at_random(
    tmp_path: Path, open_tab: Any
) -> None:
    lines = [
        kept(row, row, ["random"] if row < 2 else ["best"], mean_return=None) for row in range(4)
    ]
    later = kept(9, 9.0, ["best"], mean_return=None)
    tab = open_tab(write_lines(tmp_path, [*lines, {**later, "iteration": 4}]))
    points = tab.ask("curve", run=".")["points"]
    assert [(p["iteration"], p["mean_return"], p["num_episodes"]) for p in points] == [(3, 0.5, 64)]


def test_warnings_judge_what_was_drawn_at_random_and_show_it(tmp_path: Path, open_tab: Any) -> None:
    same = [kept(row, 1.0, ["random"]) for row in range(30)]
    best = [kept(row, row + 2.0, ["best"]) for row in range(30)]
    tab = open_tab(write_lines(tmp_path, [*same, *best]))
    found = tab.ask("warnings", run=".")["warnings"]
    assert [warning["code"] for warning in found] == ["no_variance"]
    assert tab.ask("episodes", run=".", **found[0]["filter"])["total"] == 30


def test_warnings_follow_a_run_that_grows(tmp_path: Path, open_tab: Any) -> None:
    lines = [kept(row, 1.0, ["random"]) for row in range(30)]
    tab = open_tab(write_lines(tmp_path, lines[:10]))
    assert tab.ask("warnings", run=".")["warnings"] == []
    write_lines(tmp_path, lines)
    tab.refresh()
    assert len(tab.ask("warnings", run=".")["warnings"]) == 1
