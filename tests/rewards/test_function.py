"""What `@reward` reads off a function."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

import pytest

from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.rewards import RewardFunction, described, registered, reward


def test_a_decorated_function_is_registered_and_still_itself():
    @reward
    def function_test_brevity(output: str, *, target_words: int = 30) -> float:
        """Short."""
        return min(1.0, target_words / max(1, len(output.split())))

    made = registered()["function_test_brevity"]
    assert made is function_test_brevity
    assert isinstance(made, RewardFunction)
    assert (made.needs, made.wants, list(made.settings)) == (("output",), (), ["target_words"])
    assert made("a b", target_words=1) == 0.5
    assert (made.__doc__, made.__name__) == ("Short.", "function_test_brevity")


def test_options_of_the_decorator_are_kept():
    @reward(name="function_test_named", batched=True, bounds=(0, 1), parts=("a", "b"))
    async def something(output, row=0): ...

    made = registered()["function_test_named"]
    assert (made.batched, made.bounds, made.parts) == (True, (0, 1), ("a", "b"))
    assert (made.needs, made.wants, made.is_async) == (("output",), ("row",), True)


def test_two_functions_cannot_have_one_name_but_one_can_be_read_again():
    def one(row):
        return 1.0

    def other(row):
        return 2.0

    reward(name="function_test_twice")(one)
    reward(name="function_test_twice")(one)
    with pytest.raises(SettingError, match=r"other and .*one have the same name; rename one"):
        reward(name="function_test_twice")(other)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda output, *, words: 1.0, "setting 'words' has no default"),
        (lambda *facts: 1.0, r"takes \*facts; name each parameter"),
        (lambda **facts: 1.0, r"takes \*\*facts"),
        (lambda output, /: 1.0, "takes output"),
    ],
)
def test_a_parameter_that_is_neither_fact_nor_setting_is_refused(function, message):
    with pytest.raises(SettingError, match=message):
        described(function, name="f")


def test_a_batched_function_without_a_fact_could_not_know_how_many():
    with pytest.raises(SettingError, match="needs no fact; name one, as `row`"):
        described(lambda: [], name="f", batched=True)


def settings(  # noqa: PLR0913 - one of each kind
    *,
    whole: int = 1,
    real: float = 1.0,
    text: str = "",
    flag: bool = False,
    maybe: int | None = None,
    mode: Literal["a", "b"] = "a",
    words: Sequence[str] = (),
    table: dict[str, float] = {},  # noqa: B006 - a default that is only looked at
    anything: Any = None,
    bare=0.5,
):
    return 1.0


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("whole", [3], [1.5, True, "1", None]),
        ("real", [3, 0.5], [True, "1", None]),
        ("text", ["x"], [1, None]),
        ("flag", [True], [1, "yes"]),
        ("maybe", [1, None], [1.5, "1"]),
        ("mode", ["a", "b"], ["c", 1]),
        ("words", [["a"], (), ["a", "b"]], ["a", [1], None]),
        ("table", [{"a": 1}], [{"a": "x"}, [1]]),
        ("anything", [1, "x", None], []),
        ("bare", [1, 2.5], ["x", True]),
    ],
)
def test_settings_are_held_to_their_types(name, right, wrong):
    function = described(settings)
    for value in right:
        assert function.read_settings("here", {name: value}) == {name: value}
    for value in wrong:
        with pytest.raises(SettingError, match=f"here.{name}: expected"):
            function.read_settings("here", {name: value})


def test_all_faults_of_settings_are_told_at_once():
    with pytest.raises(SettingError) as caught:
        described(settings).read_settings("here", {"hole": 1, "real": "x"})
    first, second = str(caught.value).splitlines()
    assert first.startswith("here.hole: no such setting of 'settings'; did you mean 'whole'?")
    assert second == "here.real: expected float, got 'x'"


def test_a_type_that_cannot_be_resolved_or_checked_takes_what_comes():
    def odd(output: Unknown, *, words: Unknown = None, numbers: set[int] = frozenset()):  # noqa: F821
        return 1.0

    assert described(odd).read_settings("here", {"words": 1}) == {"words": 1}

    def unchecked(*, numbers: set[int] = frozenset()):
        return 1.0

    assert described(unchecked).read_settings("here", {"numbers": [1]}) == {"numbers": [1]}


class Stateful:
    """An object with a state, as a loaded model is."""

    def __call__(self, output: str, *, words: int = 2) -> float:
        return float(len(output.split()) <= words)


class Awaiting:
    async def __call__(self, row):
        return 1.0


def test_objects_and_partial_functions_can_be_rewards():
    made = described(Stateful(), name="stateful")
    assert (made.needs, made.settings["words"].annotation) == (("output",), int)
    assert made.place.endswith("test_function.Stateful")
    assert made("a b c") == 0.0
    assert described(Awaiting(), name="awaiting").is_async
    partial = described(functools.partial(settings, whole=3), name="partial")
    assert partial.settings["whole"].default == 3
    assert partial() == 1.0
