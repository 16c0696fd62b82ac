"""Menus of settings, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from strategy_rl_envs.decoding_control.knobs import DEFAULT_KNOBS, STOP, Menu, Setting
from strategy_rl_envs.kit.errors import SettingError

GRID = {
    "temperature": [0, 0.7],
    "top_p": [0.9],
    "repetition_penalty": [1.0, 1.2, 1.4],
    "stop": True,
}


def test_each_knob_with_more_than_one_value_is_a_factor():
    menu = Menu.of(knobs=GRID)
    assert menu.space == spaces.MultiDiscrete([2, 3, 2])
    assert menu.factors == ("temperature", "repetition_penalty", "stop")
    assert menu.sizes == (2, 3, 2)
    assert menu.setting(np.array([1, 2, 0])) == Setting(0.7, 0.9, 1.4)


def test_all_actions_that_stop_are_one_setting():
    menu = Menu.of(knobs=GRID)
    assert menu.setting([0, 1, 1]) == menu.setting([1, 2, 1]) == STOP
    settings = [menu.setting(action) for action in menu.actions]
    assert len(settings) == len(set(settings)) == 7
    assert all(action in menu.space for action in menu.actions)
    assert [a.tolist() for a in menu.actions if menu.setting(a).stop] == [[0, 0, 1]]


def test_without_settings_the_default_grid_is_offered():
    assert Menu.of().space == Menu.of(knobs=DEFAULT_KNOBS).space == spaces.MultiDiscrete([2, 2, 2])


def test_stopping_alone_is_a_menu_of_two():
    menu = Menu.of(knobs={"stop": True})
    assert menu.space == spaces.MultiDiscrete([2])
    assert [menu.name(action) for action in menu.actions] == ["T 0", "stop"]


def test_presets_are_a_plain_choice_with_names():
    menu = Menu.of(
        presets=[
            {"name": "plain"},
            {"temperature": 0.7, "top_p": 0.9},
            {"name": "end", "stop": True},
        ]
    )
    assert menu.space == spaces.Discrete(3)
    assert (menu.factors, menu.sizes, menu.actions) == (("preset",), (3,), (0, 1, 2))
    assert [menu.name(i) for i in range(3)] == ["plain", "T 0.7, p 0.9", "end"]
    assert menu.setting(np.int64(1)) == Setting(0.7, 0.9)
    assert menu.setting(2) is STOP


@pytest.mark.parametrize(
    "action", [[2, 0, 0], [0, 0], [0, 0, -1], 0, [0.0, 0.0, 0.0], "stop", None]
)
def test_an_action_outside_the_space_is_refused(action):
    with pytest.raises(ValueError, match="not in MultiDiscrete"):
        Menu.of(knobs=GRID).choice(action)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"knobs": {"temperature": [0, 1]}, "presets": []}, "got both"),
        ({"knobs": {"heat": [0, 1]}}, "knobs: got 'heat'.*known: temperature, top_p"),
        ({"knobs": {"temperature": [0.5]}}, r"1 action\(s\) can be chosen.*two values or more"),
        ({"knobs": {}}, r"1 action\(s\) can be chosen"),
        ({"knobs": {"temperature": [0, 11]}}, r"knobs.temperature\[1\]: expected a number from 0"),
        ({"knobs": {"top_p": [0, 1]}}, r"knobs.top_p\[0\]: expected a number above 0 to 1, got 0"),
        ({"knobs": {"top_p": [float("nan"), 1]}}, "got nan"),
        ({"knobs": {"temperature": [True, 0]}}, "got True"),
        ({"knobs": {"temperature": [0.7, 0.7]}}, "stands twice"),
        ({"knobs": {"temperature": 0.7}}, "expected a list of numbers, got 0.7"),
        ({"knobs": {"stop": 1}}, "knobs.stop: expected true or false, got 1"),
        ({"knobs": {"temperature": [i / 100 for i in range(999)], "stop": True}}, "1998 action"),
        ({"knobs": ["temperature"]}, "expected a mapping"),
        ({"presets": {"name": "plain"}}, "presets: expected a list"),
        ({"presets": [{"name": "plain"}]}, r"1 action\(s\)"),
        ({"presets": ["plain", "stop"]}, r"presets\[0\]: expected a mapping, got 'plain'"),
        ({"presets": [{}, {"top_k": 1}]}, r"presets\[1\]: got 'top_k'; did you mean 'top_p'"),
        ({"presets": [{}, {"temperature": 0.0}]}, "the setting 'T 0' stands there twice"),
        ({"presets": [{"name": "a"}, {"name": "a", "stop": True}]}, "the name 'a' stands there"),
        ({"presets": [{}, {"name": 3}]}, r"presets\[1\].name: expected a text, got 3"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(given, message):
    with pytest.raises(SettingError, match=message):
        Menu.of(**given)
