from decimal import Decimal

import numpy as np
import pytest

from strategy_rl_envs.kit.errors import RewardError, SettingError
from strategy_rl_envs.kit.rewards import WeightedReward

FACTS = ("correct", "output", "row")


def correct(correct):
    return 1.0 if correct else -1.0


def short(output, max_words: int = 3, bonus: float = 1.0):
    return bonus if len(output.split()) <= max_words else 0.0


COMPONENTS = {"correct": correct, "short": short}


def test_the_reward_is_the_sum_of_weighted_components():
    reward = WeightedReward(
        COMPONENTS,
        [
            {"name": "correct", "weight": 2},
            {"name": "short", "weight": 0.5, "settings": {"max_words": 2, "bonus": 3}},
        ],
        FACTS,
    )
    assert reward.score({"correct": False, "output": "two words", "row": 0}) == (
        -2 + 0.5 * 3,
        {"correct": -2.0, "short": 1.5},
    )
    assert reward.score({"correct": True, "output": "now three words", "row": 0})[0] == 2.0
    assert reward.names == ("correct", "short")


def test_weight_is_one_and_settings_are_the_functions_own_where_left_out():
    reward = WeightedReward(COMPONENTS, ["short"], FACTS)
    assert reward.score({"correct": False, "output": "a b c", "row": 0}) == (1.0, {"short": 1.0})


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([{"name": "corect"}], r"reward\[0\].name: no component 'corect'; did you mean 'correct'"),
        ([{"name": "short", "settings": {"max_word": 1}}], "max_word: no such.*mean 'max_words'"),
        ([{"name": "short", "settings": {"max_words": 1.5}}], "max_words: expected int, got 1.5"),
        ([{"name": "short", "settings": [1]}], "settings: expected a mapping"),
        ([{"name": "short", "wieght": 1}], r"reward\[0\].wieght: did you mean 'weight'"),
        ([{"name": "short", "weight": float("nan")}], "weight: expected a finite number, got nan"),
        ([{"name": "short", "weight": True}], "weight: expected a finite number, got True"),
        ([{"weight": 1}], r"reward\[0\]: expected {name"),
        (["short", {"name": "short"}], "given twice"),
        ([], "expected a list"),
        ("short", "expected a list"),
    ],
)
def test_a_wrong_spec_is_refused_with_its_place_and_the_nearest_name(specs, message):
    with pytest.raises(SettingError, match=message):
        WeightedReward(COMPONENTS, specs, FACTS)


def test_a_function_that_wants_what_the_task_does_not_give_is_refused():
    with pytest.raises(SettingError, match=r"wants 'ouput', which.*did you mean 'output'"):
        WeightedReward({"f": lambda ouput: 1.0}, ["f"], FACTS)
    with pytest.raises(SettingError, match="name each parameter"):
        WeightedReward({"f": lambda *everything: 1.0}, ["f"], FACTS)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "gave nan; expected a finite number"),
        (float("inf"), "gave inf"),
        ("1.0", "gave '1.0'; expected one number"),
        (None, "gave None"),
        (np.ones(2), "expected one number"),
    ],
)
def test_a_value_that_is_no_finite_number_names_function_and_row(value, message):
    def broken(row):
        return value

    reward = WeightedReward({"broken": broken}, ["broken"], FACTS)
    with pytest.raises(RewardError, match=message) as caught:
        reward.score({"correct": True, "output": "", "row": 12})
    assert "'broken'" in str(caught.value)
    assert "row 12" in str(caught.value)


def test_an_exception_is_named_with_function_and_row():
    reward = WeightedReward({"f": lambda output: 1 / 0}, ["f"], FACTS)
    with pytest.raises(RewardError, match=r"'f'.*row 3 raised ZeroDivisionError"):
        reward.score({"correct": True, "output": "", "row": 3})


def test_a_sum_that_overflows_is_refused():
    reward = WeightedReward({"f": lambda row: 1e308}, [{"name": "f", "weight": 10}], FACTS)
    with pytest.raises(RewardError, match="sum is inf on row 1"):
        reward.score({"correct": True, "output": "", "row": 1})


@pytest.mark.parametrize("value", [True, 1, np.float32(1), np.bool_(True), Decimal(1)])
def test_every_kind_of_number_becomes_a_python_float(value):
    reward = WeightedReward({"f": lambda row: value}, ["f"], FACTS)
    total, parts = reward.score({"row": 0})
    assert total == 1.0
    assert type(total) is type(parts["f"]) is float
