import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from recorded import CONFIG, TASK, evaluated
from registered import OURS

from strategy_rl.board import renderers
from strategy_rl.board.renderers import installed_renderers, renderer_of
from strategy_rl_envs import TASKS
from strategy_rl_envs.decoding_control.knobs import KNOBS, Menu, Setting

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "policy-tab.md"
DECODING = "strategy_rl_envs:strategy_rl/DecodingControl-v0"
TALK = {"name": "talk", "task": TASK}


class Point(SimpleNamespace):
    def load(self) -> Any:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes entry points those that are installed."""

    def installed(points: list[Any]) -> None:
        monkeypatch.setattr(renderers, "entry_points", lambda group: points)
        installed_renderers.cache_clear()

    yield installed
    installed_renderers.cache_clear()


def registered(install: Any, *entries: Any) -> None:
    install([Point(value="somebody:renderers", given=list(entries))])


def option_of(config: dict[str, Any]) -> Any:
    """Reads an option as `RunIndex.option` does."""

    def option(*path: str) -> Any:
        value: Any = config
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    return option


def test_an_episode_comes_with_what_its_task_registered(
    tmp_path: Path, open_tab: Any, install: Any
) -> None:
    texts = [{"title": "Gold", "field": "reference"}]
    registered(install, {**TALK, "sentences": "context", "texts": texts})
    evaluated(tmp_path)
    tab = open_tab(tmp_path)
    key = tab.ask("episodes", run=".")["episodes"][0]["key"]
    assert tab.ask("episode", run=".", key=key)["renderer"] == {
        **{"name": "talk", "sentences": "context", "texts": texts, "scales": [], "factors": []}
    }


def test_an_episode_of_another_task_has_no_renderer(
    tmp_path: Path, open_tab: Any, install: Any
) -> None:
    registered(install, {**TALK, "task": "tests/Other-v0"})
    evaluated(tmp_path)
    tab = open_tab(tmp_path)
    key = tab.ask("episodes", run=".")["episodes"][0]["key"]
    assert tab.ask("episode", run=".", key=key)["renderer"] is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (ImportError("gone"), "gone"),
        ([{"name": 3, "task": "t"}], "[0].name: got 3, expected str"),
        ([{"task": "t"}], "[0].name: missing"),
        ([{**TALK, "code": "x"}], "[0].code: unknown; known are name, task"),
        ([{**TALK, "texts": [{"title": "a"}]}], "[0].texts[0].field: missing"),
        ([{**TALK, "scales": [{"title": "a", "part": "b", "otherwise": "c"}]}], "int or float"),
        ([{**TALK, "factors": []}], "[0].factors: got [], expected dict"),
        ({"name": "talk"}, "list: got {'name': 'talk'}, expected list"),
        ([object()], "not JSON serializable"),
        (
            [{**TALK, "scales": [{"title": "a", "part": "b", "otherwise": float("nan")}]}],
            "Out of range",
        ),
    ],
)
def test_what_cannot_be_used_is_logged_and_left_out(
    install: Any, caplog: pytest.LogCaptureFixture, given: Any, words: str
) -> None:
    good = Point(value="other:renderers", given=[TALK])
    install([Point(value="somebody:renderers", given=given), good])
    assert installed_renderers() == (TALK,)
    assert "the renderers of somebody:renderers are left out" in caplog.text
    assert words in caplog.text


def test_the_documentation_names_what_can_be_said_and_shows_what_is_accepted(install: Any) -> None:
    page = DOCUMENTATION.read_text("utf-8")
    example = page.split("RENDERERS = ")[1].split("```")[0]
    registered(install, *ast.literal_eval(example))
    assert [entry["name"] for entry in installed_renderers()] == ["summary"]
    for name in ("name", "task", "sentences", "texts", "scales", "factors"):
        assert f"`{name}`" in page


def test_our_own_tasks_register_what_can_be_used(
    install: Any, caplog: pytest.LogCaptureFixture
) -> None:
    install(OURS)
    tasks = [entry["task"] for entry in installed_renderers()]
    assert caplog.text == ""
    assert len(tasks) == len(OURS) > 0
    assert set(tasks) <= {f"strategy_rl_envs:strategy_rl/{name}-v0" for name in TASKS}


def test_our_own_renderers_load_neither_torch_nor_a_model_library() -> None:
    imports = "".join(f"import {point.module}\n" for point in OURS)
    code = f"{imports}import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "pydantic", "matplotlib", "strategy_rl"}
    assert heavy & set(done.stdout.split()) == set()


def test_scales_of_decoding_read_the_names_of_settings(install: Any) -> None:
    install(OURS)
    entry = next(entry for entry in installed_renderers() if entry["task"] == DECODING)
    parts = {scale["presets"]["value"]: scale["part"] for scale in entry["scales"]}
    assert parts.keys() == set(KNOBS)
    for knob, part in parts.items():
        assert f"{part} 0.5" in str(Setting(**{knob: 0.5})).split(", ")
    plain = {scale["presets"]["value"]: scale["otherwise"] for scale in entry["scales"]}
    assert Setting(**plain) == Setting()


def test_scales_of_decoding_know_presets_that_have_their_own_names(install: Any) -> None:
    install(OURS)
    presets = [{"name": "plain"}, {"name": "lively", "temperature": 0.9}, {"temperature": 1}, "x"]
    config = {"task": {"settings": {"presets": presets}}}
    found = renderer_of(DECODING, option_of(config))
    assert found is not None
    assert found["scales"][0]["named"] == {"plain": 0.0, "lively": 0.9}


@pytest.mark.parametrize(
    "knobs",
    [
        {"keyword_bonus": [0, 6, 12], "temperature": [0.0, 0.7], "top_p": [0.9], "stop": True},
        {"end_bonus": [0, -20], "stop": False},
        None,
    ],
)
def test_factors_of_decoding_are_those_of_its_actions(
    install: Any, knobs: dict[str, Any] | None
) -> None:
    install(OURS)
    config = {} if knobs is None else {"task": {"settings": {"knobs": knobs}}}
    found, menu = renderer_of(DECODING, option_of(config)), Menu.of(knobs=knobs)
    assert found is not None
    assert [factor["name"] for factor in found["factors"]] == list(menu.factors)
    assert [len(factor["values"]) for factor in found["factors"]] == list(menu.sizes)


def test_options_of_a_run_that_are_none_name_nothing(install: Any) -> None:
    install(OURS)
    bad = {"task": {"settings": {"knobs": 3, "presets": {"name": "x"}}}}
    huge = {"task": {"settings": {"knobs": {"top_p": [10**400, {}], "stop": [1]}}}}
    for config in (bad, huge):
        found = renderer_of(DECODING, option_of(config))
        assert found is not None
        assert all(scale["named"] == {} for scale in found["scales"])


def test_the_runs_own_options_are_read(tmp_path: Path, open_tab: Any, install: Any) -> None:
    factors = {"option": ["task", "knobs"], "names": ["speed", "stop"]}
    registered(install, {**TALK, "factors": factors})
    run = evaluated(tmp_path)
    knobs = "task: {id: tests/Talk-v0, knobs: {stop: true, speed: [1, 2.5]}}\n"
    (run / "config.yaml").write_text(CONFIG.splitlines()[0] + "\n" + knobs)
    tab = open_tab(tmp_path)
    key = tab.ask("episodes", run=".")["episodes"][0]["key"]
    assert tab.ask("episode", run=".", key=key)["renderer"]["factors"] == [
        {"name": "speed", "values": ["1", "2.5"]},
        {"name": "stop", "values": ["no", "yes"]},
    ]
