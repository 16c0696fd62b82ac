from pathlib import Path
from typing import Any

import pytest
from recorded import NAMES, TASK, episode, evaluated, step, write_run


@pytest.fixture
def tab(tmp_path: Path, open_tab: Any) -> Any:
    evaluated(tmp_path / "talk" / "seed-3")
    return open_tab(tmp_path)


RUN = "talk/seed-3"


def test_a_run_is_listed_with_what_it_can_be_filtered_by(tab: Any) -> None:
    assert tab.ask("runs")["runs"] == [
        {
            "run": RUN,
            "label": RUN,
            "task": TASK,
            "seed": 3,
            "status": "complete",
            "episodes": 12,
            "stages": ["evaluation"],
            "splits": ["test"],
            "policies": ["ppo", "sft"],
            "iterations": [0],
            "kinds": ["even", "odd"],
            "actions": ["candidate 0", "hand_over"],
            "components": ["bleu", "price"],
            "reasons": [],
        }
    ]


def test_changed_gives_the_version_of_the_list(tab: Any, tmp_path: Path) -> None:
    version = tab.ask("runs")["version"]
    assert tab.ask("changed") == {"version": version}
    write_run(tmp_path / "talk" / "seed-3", other=[episode("other", 0, [step(0)])])
    tab.refresh()
    assert tab.ask("changed")["version"] > version


def test_runs_have_tensorboards_names(tmp_path: Path, open_tab: Any) -> None:
    for name in ("a", "b/seed-0"):
        evaluated(tmp_path / name)
    names = [
        run["run"] for run in open_tab("", f"x:{tmp_path},{tmp_path / 'a'}").ask("runs")["runs"]
    ]
    assert names == [".", "x/a", "x/b/seed-0"]
    assert [run["run"] for run in open_tab(tmp_path / "a").ask("runs")["runs"]] == ["."]


def test_a_run_that_was_opened_itself_is_shown_by_its_folders_name(
    tmp_path: Path, open_tab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(evaluated(tmp_path / "smoke"))
    for folder in (tmp_path / "smoke", Path(".")):
        assert [run["label"] for run in open_tab(folder).ask("runs")["runs"]] == ["smoke"]


def test_no_folder_means_no_runs_and_no_tab(open_tab: Any) -> None:
    tab = open_tab("", "")
    assert tab.ask("runs")["runs"] == []
    assert not tab.plugin.is_active()


def test_pages_follow_one_another(tab: Any) -> None:
    every = tab.ids(run=RUN)
    assert len(every) == 12
    assert tab.ids(run=RUN, size=5) + tab.ids(run=RUN, size=5, page=1) == every[:10]
    last = tab.ask("episodes", run=RUN, size=5, page=2)
    assert (last["total"], last["page"], last["size"], len(last["episodes"])) == (12, 2, 5, 2)
    assert tab.ids(run=RUN, page=9) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"policy": "sft", "row": 2}, ["test-sft-2"]),
        ({"kind": "odd", "policy": "ppo"}, ["test-ppo-1", "test-ppo-3", "test-ppo-5"]),
        ({"action": "hand_over"}, ["test-ppo-1", "test-ppo-3", "test-ppo-5"]),
        ({"return_min": 0.4}, ["test-ppo-4", "test-ppo-5"]),
        ({"return_min": 0.1, "return_max": 0.2}, ["test-ppo-1", "test-ppo-2"]),
        ({"component": "bleu", "component_min": 0.95}, ["test-ppo-5"]),
        ({"component": "none", "component_max": 9}, []),
        ({"stage": "ppo"}, []),
        ({"split": "test", "iteration": 0, "row": 0}, ["test-ppo-0", "test-sft-0"]),
        ({"iteration": 1}, []),
        ({"policy": "sft", "row": 1, "stage": "", "text": ""}, ["test-sft-1"]),
    ],
)
def test_filters_leave(tab: Any, filters: dict[str, Any], expected: list[str]) -> None:
    assert tab.ids(run=RUN, **filters) == expected


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("-return", "test-ppo-5"),
        ("-value_error", "test-ppo-5"),
        ("-component:bleu", "test-ppo-5"),
        ("least_probability", "test-ppo-1"),
        ("-row", "test-ppo-5"),
        ("length", "test-ppo-0"),
    ],
)
def test_lists_are_sorted_and_a_dash_reverses(tab: Any, sort: str, first: str) -> None:
    assert tab.ids(run=RUN, sort=sort)[0] == first


def test_what_has_no_value_comes_last_in_both_directions(tmp_path: Path, open_tab: Any) -> None:
    unknown = episode("ppo", 1, [step(0, value=None)])
    write_run(tmp_path, ppo=[unknown, *(episode("ppo", r, [step(0, r)]) for r in (3, 2))])
    tab = open_tab(tmp_path)
    assert tab.ids(run=".", sort="value_error") == ["test-ppo-2", "test-ppo-3", "test-ppo-1"]
    assert tab.ids(run=".", sort="-value_error") == ["test-ppo-3", "test-ppo-2", "test-ppo-1"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("QUESTION 2", 1),
        ('say "hi"', 1),
        ("line\none", 1),
        ("订单", 1),
        ("écoute", 1),
        ("action_name", 0),  # the name of a field
        ("test-ppo", 0),  # of the head, not of a step
        ("nowhere", 0),
    ],
)
def test_texts_are_found_in_steps(tmp_path: Path, open_tab: Any, text: str, found: int) -> None:
    texts = ["Question 2", 'to say "hi"', "line\none", "我的订单", "ÉCOUTE"]
    write_run(
        tmp_path,
        ppo=[
            episode("ppo", row, [step(0, observation={"context": [text]})])
            for row, text in enumerate(texts)
        ],
    )
    assert open_tab(tmp_path).ask("episodes", run=".", text=text)["total"] == found


def test_an_episode_is_shown_with_what_follows_from_its_steps(tab: Any) -> None:
    head = tab.ask("episodes", run=RUN, policy="ppo", row=5)["episodes"][0]
    shown = tab.ask("episode", run=RUN, key=head["key"])
    assert shown["head"] == head
    assert (shown["gamma"], shown["gae_lambda"]) == (0.5, 0.5)
    assert shown["header"] == {"task": TASK, "policy": "ppo", "schema": 1}
    first, last = shown["steps"]
    assert first["return_to_go"] == 0.25
    assert last["return_to_go"] == 0.5
    assert last["greedy_name"] == NAMES[0]
    assert last["observation"]["context"] == ["hello"]


@pytest.mark.parametrize(("given", "used"), [("-1", 1.0), ("1.5", 1.0), ("x", 1.0), ("0", 0)])
def test_a_discount_outside_0_to_1_is_taken_for_the_default(
    tmp_path: Path, open_tab: Any, given: str, used: float
) -> None:
    (evaluated(tmp_path) / "config.yaml").write_text(f"ppo: {{gamma: {given}}}\n")
    tab = open_tab(tmp_path)
    key = tab.ask("episodes", run=".")["episodes"][0]["key"]
    assert tab.ask("episode", run=".", key=key)["gamma"] == used


@pytest.mark.parametrize(
    ("route", "params", "status", "words"),
    [
        ("episodes", {}, 400, "run: not given"),
        ("episodes", {"run": "../talk"}, 404, "no run '../talk'; known are talk/seed-3"),
        ("episodes", {"run": RUN, "sort": "best"}, 400, "got 'best', expected return"),
        ("episodes", {"run": RUN, "page": "-1"}, 400, "page: got '-1'"),
        ("episodes", {"run": RUN, "selected": "some"}, 400, "got 'some', expected one of random"),
        ("histogram", {"run": RUN, "of": "bleu"}, 400, "got 'bleu', expected return"),
        ("episodes", {"run": RUN, "size": "many"}, 400, "size: got 'many'"),
        ("episodes", {"run": RUN, "row": "9" * 99}, 400, "expected a whole number"),
        ("episodes", {"run": RUN, "return_min": "nan"}, 400, "return_min: got 'nan'"),
        ("episode", {"run": RUN}, 400, "key: not given"),
        ("episode", {"run": RUN, "key": 1}, 404, "has no episode 1"),
        ("episode", {"run": RUN, "key": "../x"}, 400, "key: got '../x'"),
        ("compare", {"run_a": RUN, "run_b": "x"}, 404, "side b: run: no run 'x'"),
        ("compare", {"run_a": RUN, "run_b": RUN, "sort": "return"}, 400, "expected gain or row"),
        ("map", {"run": RUN, "by": "moon"}, 400, "by: got 'moon'"),
        ("histogram", {"run": RUN, "bins": "0"}, 400, "bins: got '0'"),
    ],
)
def test_what_cannot_be_answered_says_why(
    tab: Any, route: str, params: dict[str, Any], status: int, words: str
) -> None:
    response = tab.response(route, **params)
    assert response.status_code == status
    assert words in response.get_json()["error"]


def test_only_get_is_answered(tab: Any) -> None:
    response = tab.client.post("/data/plugin/strategy_rl/runs")
    assert response.status_code == 405


def test_numbers_that_are_not_finite_and_lone_surrogates_are_sent_as_json(
    tmp_path: Path, open_tab: Any
) -> None:
    run = write_run(tmp_path, ppo=[episode("ppo", 0, [step(0, text="a\ud800b")])])
    path = run / "episodes" / "ppo.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"value":0.0', b'"value":1e999'))
    tab = open_tab(tmp_path)
    head = tab.ask("episodes", run=".")["episodes"][0]
    shown = tab.ask("episode", run=".", key=head["key"])["steps"][0]
    assert shown["value"] is None
    assert shown["text"] == "a\ud800b"


def test_answers_are_json_that_no_browser_guesses_about(tab: Any) -> None:
    response = tab.response("runs")
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
