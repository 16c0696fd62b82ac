from pathlib import Path
from typing import Any

import pytest
from recorded import NAMES, episode, evaluated, step, write_run

from strategy_rl.board import maps


@pytest.fixture
def tab(tmp_path: Path, open_tab: Any) -> Any:
    return open_tab(evaluated(tmp_path))


BOTH = {"run_a": ".", "run_b": ".", "policy_a": "sft", "policy_b": "ppo"}


def test_policies_are_compared_row_by_row(tab: Any) -> None:
    found = tab.ask("compare", **BOTH)
    assert (found["rows_in_common"], found["changed"], found["total"]) == (6, 3, 6)
    assert found["mean_difference"] == pytest.approx(0.25)
    best = found["pairs"][0]
    assert (best["row"], best["kind"], best["first_change"]) == (5, "odd", 1)
    assert (best["difference"], best["a"]["policy"], best["b"]["policy"]) == (0.5, "sft", "ppo")


def test_only_rows_that_changed_are_shown_on_request(tab: Any) -> None:
    found = tab.ask("compare", **BOTH, changed=1, sort="row")
    assert [pair["row"] for pair in found["pairs"]] == [1, 3, 5]
    assert tab.ask("compare", **BOTH, sort="gain")["pairs"][0]["row"] == 0


def test_the_same_actions_in_another_order_are_a_change(tmp_path: Path, open_tab: Any) -> None:
    write_run(
        tmp_path,
        sft=[episode("sft", row, [step(0), step(1)]) for row in range(2)],
        ppo=[episode("ppo", 0, [step(1), step(0)]), episode("ppo", 1, [step(0), step(1)])],
    )
    found = open_tab(tmp_path).ask("compare", **BOTH, changed=1)
    assert [(pair["row"], pair["first_change"]) for pair in found["pairs"]] == [(0, 0)]


def test_an_episode_that_went_on_changed_where_the_other_ended(
    tmp_path: Path, open_tab: Any
) -> None:
    write_run(
        tmp_path,
        sft=[episode("sft", 0, [step(0)])],
        ppo=[episode("ppo", 0, [step(0), step(0)])],
    )
    assert open_tab(tmp_path).ask("compare", **BOTH)["pairs"][0]["first_change"] == 1


def test_without_rows_episodes_of_one_number_are_compared(tmp_path: Path, open_tab: Any) -> None:
    numbered = {
        policy: [
            episode(policy, None, [step(0, n)], episode_id=f"test-{policy}-{n}") for n in (0, 1)
        ]
        for policy in ("sft", "ppo")
    }
    write_run(tmp_path, **numbered)
    pairs = open_tab(tmp_path).ask("compare", **BOTH, sort="row")["pairs"]
    assert [(pair["row"], pair["difference"]) for pair in pairs] == [(0, 0.0), (1, 0.0)]


def test_rows_of_one_number_in_two_splits_are_no_pair(tmp_path: Path, open_tab: Any) -> None:
    test = [episode("sft", 5, [step(0)]), episode("ppo", 5, [step(0), step(1)])]
    probe = [
        episode(policy, 5, [step(action)], split="probe")
        for policy, action in (("sft", 0), ("ppo", 0), ("other", 1))
    ]
    tab = open_tab(write_run(tmp_path, test=test, probe=probe))
    pairs = tab.ask("compare", **BOTH)["pairs"]
    assert sorted((pair["a"]["split"], pair["b"]["split"]) for pair in pairs) == [
        ("probe", "probe"),
        ("test", "test"),
    ]
    assert [p["a"]["split"] for p in tab.ask("compare", **BOTH, changed=1)["pairs"]] == ["test"]
    assert tab.ask("compare", **{**BOTH, "policy_b": "other", "split": "test"})["total"] == 0


def test_training_episodes_without_rows_have_no_partner(tmp_path: Path, open_tab: Any) -> None:
    made = [
        episode("policy", None, [step(0)], split="train", iteration=i, episode_id=f"train-{i}-0")
        for i in (0, 1)
    ]
    sides = {"run_a": ".", "run_b": ".", "iteration_a": 0, "iteration_b": 1}
    assert open_tab(write_run(tmp_path, train=made)).ask("compare", **sides)["total"] == 0


def test_iterations_of_one_policy_are_compared(tmp_path: Path, open_tab: Any) -> None:
    write_run(
        tmp_path,
        probe=[episode("ppo", 0, [step(0, i)], iteration=i, split="probe") for i in range(3)],
    )
    sides = {"run_a": ".", "run_b": ".", "iteration_a": 0, "iteration_b": 2, "split": "probe"}
    assert open_tab(tmp_path).ask("compare", **sides)["mean_difference"] == 2.0


def test_probes_stand_in_the_order_of_training(tmp_path: Path, open_tab: Any) -> None:
    made = [
        episode("x", row, [step(0)], split="probe", stage=stage, iteration=iteration)
        for stage, iteration in (("sft", 2), ("ppo", 10), ("ppo", 5))
        for row in (4, 1)
    ][:-1]  # row 1 is missing at the last
    tab = open_tab(write_run(tmp_path, probe=made, test=[episode("ppo", 0, [step(0)])]))
    found = tab.ask("probes", run=".")
    assert [(p["stage"], p["iteration"]) for p in found["points"]] == [
        ("sft", 2),
        ("ppo", 5),
        ("ppo", 10),
    ]
    assert [(row["row"], [key is None for key in row["keys"]]) for row in found["rows"]] == [
        (1, [False, True, False]),
        (4, [False, False, False]),
    ]
    shown = tab.ask("episode", run=".", key=found["rows"][1]["keys"][1])
    assert (shown["head"]["iteration"], shown["head"]["row"]) == (5, 4)


def test_probes_of_a_task_without_rows_are_told_apart_by_their_number(
    tmp_path: Path, open_tab: Any
) -> None:
    made = [
        episode("x", None, [step(0)], split="probe", iteration=iteration, episode_id=f"probe-x-{n}")
        for iteration in (0, 5)
        for n in (0, 1)
    ]
    found = open_tab(write_run(tmp_path, probe=made)).ask("probes", run=".")
    assert [(row["row"], len(set(row["keys"]))) for row in found["rows"]] == [(0, 2), (1, 2)]


def test_a_histogram_counts_every_value_once(tab: Any) -> None:
    found = tab.ask("histogram", run=".", policy="ppo", bins=2)
    assert [entry["count"] for entry in found["bins"]] == [3, 3]  # the highest is in
    assert (found["bins"][0]["low"], found["bins"][-1]["high"]) == (0.0, 0.5)
    assert found["missing"] == 0


def test_a_histogram_of_a_component_counts_what_lacks_it(tab: Any) -> None:
    assert tab.ask("histogram", run=".", of="component:other") == {"bins": [], "missing": 12}
    found = tab.ask("histogram", run=".", of="component:price", policy="sft")
    ends = {"low": -0.5, "high": -0.5, "least": -0.5, "most": -0.5}
    assert found["bins"] == [{**ends, "count": 6}]


def test_a_histogram_of_one_component_is_filtered_by_another(tab: Any) -> None:
    filters = {"component": "bleu", "component_min": 0.85}  # of rows 4 and 5 of ppo
    found = tab.ask("histogram", run=".", of="return", **filters)
    assert [(b["least"], b["count"]) for b in found["bins"] if b["count"]] == [(0.4, 1), (0.5, 1)]
    prices = tab.ask("histogram", run=".", of="component:price", **filters)
    assert [entry["count"] for entry in prices["bins"]] == [2]


@pytest.mark.parametrize("bins", [3, 5, 30])
def test_the_bins_of_a_histogram_are_filters_of_the_list(tab: Any, bins: int) -> None:
    for entry in tab.ask("histogram", run=".", of="component:bleu", bins=bins)["bins"]:
        if entry["count"] == 0:
            assert (entry["least"], entry["most"]) == (None, None)
            continue
        filters = {"component_min": entry["least"], "component_max": entry["most"]}
        found = tab.ask("episodes", run=".", component="bleu", **filters)
        assert found["total"] == entry["count"]


def test_a_curve_has_the_mean_return_of_each_point(tab: Any) -> None:
    points = tab.ask("curve", run=".")["points"]
    names = ("stage", "iteration", "policy", "split", "episodes")
    assert [tuple(point[name] for name in names) for point in points] == [
        ("evaluation", 0, "ppo", "test", 6),
        ("evaluation", 0, "sft", "test", 6),
    ]
    assert points[0]["mean_return"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("by", "rows", "counts", "expert"),
    [
        ("kind", ["even", "odd"], [[6, 0], [3, 3]], [[6, 0], [6, 0]]),
        ("step", [0, 1], [[6, 0], [3, 3]], [[6, 0], [6, 0]]),
        ("policy", ["ppo"], [[9, 3]], [[12, 0]]),
        ("iteration", [{"stage": "evaluation", "iteration": 0}], [[9, 3]], [[12, 0]]),
    ],
)
def test_a_map_counts_actions_and_the_experts(
    tab: Any, by: str, rows: list[Any], counts: list[list[int]], expert: list[list[int]]
) -> None:
    found = tab.ask("map", run=".", policy="ppo", by=by)
    assert (found["rows"], found["actions"]) == (rows, [NAMES[0], NAMES[2]])
    assert (found["counts"], found["expert_counts"]) == (counts, expert)


@pytest.mark.parametrize(
    ("by", "read", "steps", "expert"), [("step", 5, 10, True), ("kind", 0, 24, False)]
)
def test_a_map_says_of_how_many_episodes_the_steps_were_read(
    tab: Any, monkeypatch: pytest.MonkeyPatch, by: str, read: int, steps: int, expert: bool
) -> None:
    monkeypatch.setattr(maps, "MAX_READ", 5)
    found = tab.ask("map", run=".", by=by)
    assert (found["episodes"], found["read"]) == (12, read)
    assert sum(map(sum, found["counts"])) == steps
    assert (found["expert_counts"] is not None) == expert


def test_a_map_of_many_actions_puts_the_rare_ones_together(tmp_path: Path, open_tab: Any) -> None:
    made = [
        episode(
            "ppo", n, [step(0, action_name=f"say {n:02}", expert_action=None, expert_name=None)]
        )
        for n in [*range(45), *range(40)]
    ]
    found = open_tab(write_run(tmp_path, ppo=made)).ask("map", run=".", by="policy")
    assert found["actions"][-1] == "other"
    assert found["counts"] == [[2] * 40 + [5]]
    assert found["expert_counts"] is None
