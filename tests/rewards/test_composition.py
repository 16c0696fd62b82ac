"""How rewards are named, added up, shaped and dropped."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategy_rl_envs.kit.errors import RewardError, SettingError
from strategy_rl_envs.rewards import Score, WeightedReward, reward

FACTS = ("correct", "output", "row", "value")
STEP = {"correct": True, "output": "two words", "row": 12, "value": 0.0}


def correct(correct: bool) -> float:
    return 1.0 if correct else -1.0


def short(output, *, max_words: int = 3, bonus: float = 1.0):
    return bonus if len(output.split()) <= max_words else 0.0


def value(value):
    return value


def other(row):
    return float(row)


COMPONENTS = {"correct": correct, "short": short, "value": value, "other": other}


def made(*specs):
    return WeightedReward(COMPONENTS, specs, FACTS)


def step(**changed):
    return STEP | changed


# --- the sum


def test_the_reward_is_the_sum_of_weighted_components():
    both = made(
        {"name": "correct", "weight": 2},
        {"name": "short", "weight": 0.5, "settings": {"max_words": 2, "bonus": 3}},
    )
    assert both.score(step(correct=False)) == Score(
        -2 + 0.5 * 3, {"correct": -2.0, "short": 1.5}, {"correct": -1.0, "short": 3.0}
    )
    assert both.score(step(output="now three words")).reward == 2.0
    assert both.names == ("correct", "short")


def test_a_guard_of_weight_zero_adds_nothing_and_its_value_is_told():
    score = made("correct", {"name": "value", "weight": 0}).score(STEP | {"value": -3.0})
    assert score.reward == made("correct").score(STEP).reward
    assert score.components["value"] == 0
    assert score.values["value"] == -3


def test_a_bare_name_has_weight_one_and_the_functions_own_settings():
    assert made("short").score(step(output="a b c")).components == {"short": 1.0}


@given(
    st.lists(st.floats(-1e6, 1e6) | st.none(), min_size=3, max_size=3),
    st.lists(st.floats(-10, 10), min_size=3, max_size=3),
    st.floats(0, 1),
)
def test_components_have_the_same_keys_and_add_up_whatever_is_given(values, weights, progress):
    functions = {name: lambda row, i=i: values[i] for i, name in enumerate("abc")}
    functions["one"] = lambda row: 1.0
    shapes = [{"clip": [-1, 2]}, {"gate": {"name": "a", "at_least": 0.5}}, {"scale": {"divide": 3}}]
    specs = [
        {"name": name, "weight": {"from": weight, "to": 1, "over": 0.5}} | shape
        for name, weight, shape in zip("abc", weights, shapes, strict=True)
    ]
    functions = {name: _with_row_only(f) for name, f in functions.items()}
    composed = WeightedReward(functions, [*specs, "one"], FACTS)
    composed.set_progress(progress)
    score = composed.score(STEP)
    assert list(score.components) == ["a", "b", "c", "one"]
    assert math.isclose(sum(score.components.values()), score.reward, abs_tol=1e-6)


def _with_row_only(function):
    return lambda row: function(row)


def test_the_info_of_a_step_says_why_only_where_it_is_dropped():
    score = made("correct").score(STEP)
    assert score.info() == {
        "reward_components": {"correct": 1.0},
        "reward_values": {"correct": 1.0},
    }
    assert Score(0.0, {}, {}, "why").info()["reward_dropped"] == "why"


# --- names and faults of a spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "corect"}, r"reward\[0\].name: no reward function 'corect'; did you .*'correct'"),
        ({"name": "zzzzz"}, r"to bring your own: imports: \[my_rewards.py\]"),
        ({"name": "short", "settings": {"max_word": 1}}, "max_word: no such.*mean 'max_words'"),
        ({"name": "short", "settings": {"max_words": 1.5}}, "max_words: expected int, got 1.5"),
        ({"name": "short", "settings": [1]}, "settings: expected a mapping"),
        ({"name": "short", "wieght": 1}, r"reward\[0\].wieght: .*did you mean 'weight'"),
        ({"name": "short", "weight": float("nan")}, "weight: expected a finite number, got nan"),
        ({"name": "short", "weight": True}, "weight: expected a finite number, got True"),
        ({"name": "short", "weight": {"from": 0}}, "weight.to: expected a finite number, got None"),
        (
            {"name": "short", "weight": {"from": 0, "to": 1, "over": 0}},
            "weight.over: expected a finite number above 0 and at most 1, got 0",
        ),
        ({"name": "short", "weight": {"from": 0, "to": 1, "ovr": 1}}, "weight.ovr: .*'over'"),
        ({"name": "short", "clip": [1, 0]}, "clip: expected the lower bound first"),
        ({"name": "short", "clip": 3}, r"clip: expected \[lowest, highest\], got 3"),
        ({"name": "short", "scale": "runing"}, "scale: expected {shift, divide}, got 'runing'"),
        ({"name": "short", "scale": {"divide": 0}}, "divide: expected a number other than 0"),
        ({"name": "short", "gate": {"name": "x", "at_least": 1}}, "gate.name: 'x' is no other"),
        ({"name": "short", "gate": {"name": "short", "at_least": 1}}, "'short' is no other"),
        ({"name": "short", "on_error": "ignore"}, "on_error: expected stop or drop, got 'ignore'"),
        ({"name": "short", "deadline": 0}, "deadline: expected a finite number above 0, got 0"),
        ({"name": "short", "isolate": 1}, "isolate: expected False or True, got 1"),
        ({"weight": 1}, r"reward\[0\]: expected {name"),
        (3, r"reward\[0\]: expected {name"),
    ],
)
def test_a_wrong_spec_is_refused_with_its_place_and_the_nearest_name(spec, message):
    with pytest.raises(SettingError, match=message):
        made(spec)


@pytest.mark.parametrize("specs", [[], "short", {"name": "short"}, None, 3])
def test_what_is_no_list_of_specs_is_refused(specs):
    with pytest.raises(SettingError, match="expected a list"):
        WeightedReward(COMPONENTS, specs, FACTS)


def test_every_fault_of_a_list_is_reported_at_once():
    with pytest.raises(SettingError) as caught:
        made(
            {"name": "corect", "weight": "much"},
            {"name": "short", "settings": {"max_words": "3", "bonu": 1}, "clip": 1},
            "short",
        )
    lines = str(caught.value).splitlines()
    places = ["reward[0].weight", "reward[0].name", "reward[1].clip"]
    places += ["reward[1].settings.max_words", "reward[1].settings.bonu", "reward: short given"]
    assert [line.partition(": ")[0] for line in lines[:-1]] == places[:-1]
    assert lines[-1] == "reward: short given twice; give each name once"


def test_a_function_that_wants_what_the_task_does_not_give_is_refused():
    with pytest.raises(SettingError, match=r"wants 'ouput', which.*did you mean 'output'"):
        WeightedReward({"f": lambda ouput: 1.0}, ["f"], FACTS)
    with pytest.raises(SettingError, match="name each parameter"):
        WeightedReward({"f": lambda *everything: 1.0}, ["f"], FACTS)


def test_a_fact_with_a_default_is_given_only_where_the_task_has_it():
    seen = {}

    def wanting(output, row=-1, elsewhere="default"):
        seen.update(row=row, elsewhere=elsewhere)
        return 0.0

    WeightedReward({"f": wanting}, ["f"], FACTS).score(STEP)
    assert seen == {"row": 12, "elsewhere": "default"}


def test_a_name_is_looked_up_in_the_task_then_among_ones_own_then_in_the_library():
    @reward(name="composition_test_own")
    def own(row):
        return 5.0

    assert made("composition_test_own").score(STEP).reward == 5.0
    mine = {"composition_test_own": lambda row: 7.0}
    assert WeightedReward(mine, ["composition_test_own"], FACTS).score(STEP).reward == 7.0
    with pytest.raises(SettingError, match="wants 'reference'"):
        made("token_f1")  # found: the task of this test has no reference


def test_a_fact_that_the_task_promised_and_left_out_is_named():
    with pytest.raises(RewardError, match="no fact 'value', which the task promises"):
        made("value").score({"row": 3})


# --- numbers


@pytest.mark.parametrize(
    "number",
    [True, 1, np.float32(1), np.bool_(True), Decimal(1), np.array(1.0), torch.ones(())],
)
def test_every_kind_of_number_becomes_a_python_float(number):
    score = made("value").score(step(value=number))
    assert score.reward == 1.0
    assert type(score.reward) is type(score.components["value"]) is float


def test_a_tensor_that_wants_a_gradient_is_detached():
    tensor = torch.ones((), requires_grad=True)
    functions = {"f": lambda row: tensor * 2}
    assert WeightedReward(functions, ["f"], FACTS).score(STEP).reward == 2.0


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (float("nan"), "gave nan; expected a finite number"),
        (float("inf"), "gave inf"),
        (Decimal("NaN"), "gave NaN"),
        (10**400, "gave 1000"),
        ("1.0", r"gave '1.0' \(str\); expected a finite number, None"),
        (np.ones(2), r"gave ndarray of shape \(2,\)"),
        (1j, "complex"),
        ([1.0], "list"),
        ({}, "an empty mapping"),
        ({"a": "x"}, r"gave 'x' \(str\) for 'a'"),
        ({"a/b": 1.0}, "a name without '/'"),
        ({"a": math.nan}, "gave nan for 'a'"),
    ],
)
def test_what_is_no_finite_number_stops_with_function_and_row(number, message):
    broken = WeightedReward({"broken": lambda row: number}, ["broken"], FACTS)
    with pytest.raises(RewardError, match=message) as caught:
        broken.score(STEP)
    assert "'broken'" in str(caught.value)
    assert "row 12" in str(caught.value)


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), SystemExit("x"), RecursionError("x")])
def test_an_exception_is_named_with_function_and_row(error):
    def broken(row):
        raise error

    with pytest.raises(RewardError, match=rf"'f'.*row 12 raised {type(error).__name__}: x"):
        WeightedReward({"f": broken}, ["f"], FACTS).score(STEP)


def test_ctrl_c_is_not_taken_for_a_failure_of_the_reward():
    def interrupted(row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        WeightedReward({"f": interrupted}, ["f"], FACTS).score(STEP)


def test_a_sum_beyond_32_bits_is_refused():
    with pytest.raises(RewardError, match=r"sum is 1.0.*e\+39 on row 12"):
        made({"name": "value", "weight": 1e9}).score(step(value=1e30))
    with pytest.raises(RewardError, match="sum is inf"):
        made({"name": "value", "weight": 10}).score(step(value=1e308))


# --- abstaining and sub-scores


def test_a_component_that_abstains_adds_nothing_and_has_no_value():
    score = made("value", "correct").score(step(value=None))
    assert score == Score(1.0, {"value": 0.0, "correct": 1.0}, {"value": None, "correct": 1.0})


def test_a_step_on_which_all_abstain_is_an_error():
    with pytest.raises(RewardError, match="no value on row 12: value abstained"):
        made("value").score(step(value=None))
    with pytest.raises(RewardError, match="value abstained"):
        made("value", {"name": "correct", "weight": 0}).score(step(value=None))
    dropped = made({"name": "value", "on_error": "drop"})
    assert "abstained" in dropped.score(step(value=None)).dropped
    assert dropped.failures() == {"value": 1}


def test_sub_scores_are_components_of_their_own():
    parted = made({"name": "value", "weight": 2, "clip": [0, 1]}, "correct")
    score = parted.score(step(value={"a": 0.5, "b": -3, "c": None}))
    assert score.components == {"value/a": 1.0, "value/b": 0.0, "value/c": 0.0, "correct": 1.0}
    assert score.values == {"value/a": 0.5, "value/b": -3.0, "value/c": None, "correct": 1.0}
    assert score.reward == 2.0
    assert parted.score(step(value=None)).components == dict.fromkeys(score.components, 0.0) | {
        "correct": 1.0
    }


@pytest.mark.parametrize("later", [{"a": 1.0}, {"a": 1.0, "c": 1.0}, 1.0])
def test_sub_scores_must_be_the_same_at_every_step(later):
    parted = made("value")
    parted.score(step(value={"a": 1.0, "b": 1.0}))
    with pytest.raises(RewardError, match=r"row 12 gave the .*expected .*a, b"):
        parted.score(step(value=later))


def test_sub_scores_that_come_late_must_have_been_declared():
    parted = made("value", "correct")
    assert list(parted.score(step(value=None)).components) == ["value", "correct"]
    with pytest.raises(RewardError, match=r"@reward\(parts=\['a'\]\)"):
        parted.score(step(value={"a": 1.0}))
    declared = reward(name="composition_test_declared", parts=["a"])(value)
    parted = WeightedReward({"value": declared}, ["value"], FACTS)
    with pytest.raises(RewardError, match="abstained"):
        parted.score(step(value=None))
    assert parted.score(step(value={"a": 1.0})).components == {"value/a": 1.0}


# --- shaping


def test_a_weight_goes_in_a_straight_line_over_its_share_of_training():
    scheduled = made({"name": "correct", "weight": {"from": 0, "to": 1, "over": 0.5}})
    for progress, weight in [(None, 0.0), (0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (1.0, 1.0)]:
        if progress is not None:
            scheduled.set_progress(progress)
        assert scheduled.score(STEP).reward == weight
    with pytest.raises(ValueError, match=r"from 0 to 1, got 1.5"):
        scheduled.set_progress(1.5)


def test_a_value_is_scaled_before_it_is_clipped_and_weighted():
    shaped = made(
        {"name": "value", "weight": 10, "scale": {"shift": 2, "divide": 4}, "clip": [-1, 0.5]}
    )
    for given_value, expected in [(3.0, 2.5), (100.0, 5.0), (-100.0, -10.0)]:
        score = shaped.score(step(value=given_value))
        assert (score.reward, score.values["value"]) == (expected, given_value)


def test_running_scale_is_the_value_itself_until_moments_are_given():
    running = made({"name": "value", "scale": "running"}, {"name": "correct", "weight": 0})
    assert running.normalised == ("value",)
    assert running.score(step(value=7.0)).reward == 7.0
    running.set_moments({"value": (5.0, 2.0), "correct": (0.0, 1.0)})
    assert running.score(step(value=7.0)).reward == 1.0
    running.set_moments({"value": (5.0, 0.0)})
    assert running.score(step(value=5.0)).reward == 0.0


@pytest.mark.parametrize(
    ("std", "value", "scaled"),
    [(0.0, 5.5, 0.5), (1e-9, 3.0, -2.0), (0.0, 90.0, 10.0), (0.5, 7.0, 4.0), (0.01, 4.0, -10.0)],
)
def test_running_scale_only_centres_what_was_constant_and_stays_within_ten(std, value, scaled):
    running = made({"name": "value", "scale": "running"})
    running.set_moments({"value": (5.0, std)})
    assert running.score(step(value=value)).reward == pytest.approx(scaled)


def test_running_scale_has_moments_for_each_sub_score():
    running = made({"name": "value", "scale": "running"})
    running.set_moments({"value/a": (1.0, 2.0)})
    assert running.score(step(value={"a": 5.0, "b": 5.0})).components == {
        "value/a": 2.0,
        "value/b": 5.0,
    }


@pytest.mark.parametrize(
    ("moments", "message"),
    [
        ({"valu": (0, 1)}, "did you mean 'value'"),
        ({"value": (math.nan, 1)}, "got mean nan"),
        ({"value": (0, -1)}, "std -1"),
    ],
)
def test_wrong_moments_are_refused(moments, message):
    with pytest.raises(SettingError, match=message):
        made({"name": "value", "scale": "running"}).set_moments(moments)


def test_a_gated_component_counts_only_where_the_others_own_value_is_high_enough():
    gated = made(
        {"name": "correct", "gate": {"name": "value", "at_least": 3}},
        {"name": "value", "weight": 0, "clip": [0, 1]},
    )
    for given_value, expected in [(3.0, 1.0), (2.9, 0.0), (None, 0.0)]:
        score = gated.score(step(value=given_value))
        assert (score.reward, score.values["correct"]) == (expected, 1.0)


def test_a_sub_score_can_be_a_gate_and_must_be_named():
    gated = made({"name": "correct", "gate": {"name": "value/a", "at_least": 1}}, "value")
    assert gated.score(step(value={"a": 0.5})).reward == 0.5
    assert gated.score(step(value={"a": 1.5})).reward == 2.5
    gated = made({"name": "correct", "gate": {"name": "value", "at_least": 1}}, "value")
    with pytest.raises(RewardError, match="there is no value 'value'; did you mean 'value/a'"):
        gated.score(step(value={"a": 1.5}))


# --- dropping


def test_a_dropped_step_has_a_reason_all_keys_and_no_reward():
    dropping = made({"name": "value", "on_error": "drop"}, "correct")
    assert dropping.score(step(value=2.0)).reward == 3.0
    score = dropping.score(step(value=math.nan))
    assert (score.reward, score.components) == (0.0, {"value": 0.0, "correct": 0.0})
    assert score.values == {"value": None, "correct": None}
    assert "on row 12 gave nan" in score.dropped
    assert dropping.failures() == {"value": 1, "correct": 0}


def test_a_component_that_may_not_fail_stops_even_beside_one_that_may():
    dropping = WeightedReward(
        {"a": lambda row: math.nan, "b": lambda row: 1 / 0},
        [{"name": "a", "on_error": "drop"}, "b"],
        FACTS,
    )
    with pytest.raises(RewardError, match=r"'b'.*ZeroDivisionError"):
        dropping.score(STEP)


# --- many steps, batched and async functions

STEPS = [step(row=row, value=float(row)) for row in range(4)]


def test_many_steps_are_scored_as_one_by_one():
    both = made("correct", {"name": "value", "weight": 0.5})
    assert both.score_many(STEPS) == [both.score(one) for one in STEPS]
    assert both.score_many([]) == []
    assert both.timings()["value"][0] == 8


def test_a_batched_function_is_called_once_with_a_list_for_each_fact():
    calls = []

    @reward(name="composition_test_batched", batched=True)
    def batched(value, output):
        calls.append((value, output))
        return np.array(value) * 2

    composed = WeightedReward({"b": batched}, ["b"], FACTS)
    assert [score.reward for score in composed.score_many(STEPS)] == [0.0, 2.0, 4.0, 6.0]
    assert calls == [([0.0, 1.0, 2.0, 3.0], ["two words"] * 4)]
    assert composed.score(STEPS[1]).reward == 2.0


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([1.0, 2.0], "gave a list of 2 for 4 steps"),
        (1.0, r"gave 1.0 \(float\) for 4 steps; expected a list of 4"),
        ("abcd", "for 4 steps"),
        (np.ones((4, 1)), r"shape \(4, 1\) for 4 steps"),
        (iter([1, 2, 3, 4]), "iterator"),
    ],
)
def test_a_batched_function_must_give_one_entry_a_step(answer, message):
    batched = reward(name="composition_test_wrong", batched=True)(_answering(answer))
    with pytest.raises(RewardError, match=message):
        WeightedReward({"b": batched}, ["b"], FACTS).score_many(STEPS)


def _answering(answer):
    def answering(row):
        return answer

    return answering


def test_one_bad_entry_of_a_batch_drops_its_own_step_alone():
    entries = [1.0, math.nan, None, torch.tensor(4.0)]
    batched = reward(name="composition_test_entries", batched=True)(_answering(entries))
    composed = WeightedReward({"b": batched}, [{"name": "b", "on_error": "drop"}], FACTS)
    scores = composed.score_many(STEPS)
    assert [score.reward for score in scores] == [1.0, 0.0, 0.0, 4.0]
    assert "row 1 gave nan" in scores[1].dropped
    assert "abstained" in scores[2].dropped
    assert composed.failures() == {"b": 2}


def test_async_functions_run_together_in_one_loop():
    started, loops = [], set()

    async def slow(row):
        started.append(row)
        loops.add(asyncio.get_running_loop())
        while len(started) < 4:  # ends only when all four have begun
            await asyncio.sleep(0.001)
        return row

    composed = WeightedReward({"slow": slow}, [{"name": "slow", "deadline": 20}], FACTS)
    assert [score.reward for score in composed.score_many(STEPS)] == [0.0, 1.0, 2.0, 3.0]
    assert composed.score(STEPS[2]).reward == 2.0
    assert len(loops) == 1


def test_async_functions_work_where_a_loop_is_running_already():
    async def one(row):
        return 1.0

    async def notebook():
        return WeightedReward({"one": one}, ["one"], FACTS).score(STEP)

    assert asyncio.run(notebook()).reward == 1.0


def test_an_async_function_fails_for_its_own_step_alone():
    async def failing(row):
        if row == 1:
            raise OSError("no route")
        if row == 2:
            await asyncio.sleep(30)
        return sys.exit(3) if row == 3 else 1.0

    spec = {"name": "f", "on_error": "drop", "deadline": 0.1}
    scores = WeightedReward({"f": failing}, [spec], FACTS).score_many(STEPS)
    assert scores[0].reward == 1.0
    for score, reason in zip(
        scores[1:], ["OSError: no route", "ran longer", "Exit: 3"], strict=True
    ):
        assert reason in score.dropped


def test_a_batched_async_function_is_awaited_once():
    @reward(name="composition_test_batched_async", batched=True)
    async def both(row):
        await asyncio.sleep(0)
        return [r + 0.5 for r in row]

    composed = WeightedReward({"both": both}, ["both"], FACTS)
    assert [score.reward for score in composed.score_many(STEPS)] == [0.5, 1.5, 2.5, 3.5]


def test_a_coroutine_of_a_plain_function_is_named_as_such():
    async def inner():
        return 1.0

    with pytest.raises(RewardError, match="without `async def`"):
        WeightedReward({"f": lambda row: inner()}, ["f"], FACTS).score(STEP)


# --- imports


def test_importing_rewards_imports_nothing_heavy():
    code = (
        "import sys; from strategy_rl_envs import reward; import strategy_rl_envs.rewards\n"
        "heavy = {'torch', 'transformers', 'asyncio', 'sacrebleu'} & set(sys.modules)\n"
        "library = 'strategy_rl_envs.rewards.library' in sys.modules\n"
        "print(sorted(heavy), library)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[] False\n"
