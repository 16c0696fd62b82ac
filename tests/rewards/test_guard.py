"""What a reward function does to its inputs, to the process and to the clock; and the probe."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import signal
import threading
import time

import numpy as np
import pytest
import torch

from strategy_rl_envs.kit.errors import RewardError, SettingError
from strategy_rl_envs.rewards import Finding, WeightedReward, guard, reward

FACTS = ("output", "references", "row")


def step(row=0):
    return {"output": "a b", "references": ["a", "b"], "row": row}


def composed(function, **spec):
    return WeightedReward({"f": function}, [{"name": "f"} | spec], FACTS)


@pytest.fixture(autouse=True)
def nobody_was_warned(monkeypatch):
    monkeypatch.setattr(guard, "_warned", set())


# --- inputs


def test_a_function_cannot_change_the_facts_of_others():
    def greedy(references):
        references.append("mine")
        return float(len(references))

    both = WeightedReward({"f": greedy, "g": greedy}, ["f", "g"], FACTS)
    facts = step()
    assert both.score(facts).components == {"f": 3.0, "g": 3.0}
    assert facts == step()


def test_nested_facts_are_copied_as_well():
    def deep(given):
        given["list"][0].append(1)
        return 1.0

    facts = {"given": {"list": ([0],)}, "row": 0}
    WeightedReward({"f": deep}, ["f"], facts).score(facts)
    assert facts == {"given": {"list": ([0],)}, "row": 0}


@pytest.mark.parametrize("batched", [False, True])
def test_a_changed_input_is_warned_of_once_by_name(batched, caplog):
    def changing(references):
        references.pop()
        return [1.0] if batched else 1.0

    changing = reward(name="guard_test_changing", batched=batched)(changing)
    for _ in range(2):
        composed(changing).score(step())
    assert [record.message for record in caplog.records] == [
        "reward 'f' changes its input 'references'; it has copies, but let it leave them alone"
    ]


def test_a_function_that_changes_its_settings_changes_them_for_itself_alone():
    def hoarding(row, *, seen: list = ()):
        seen.append(row)
        return float(len(seen))

    given = [{"name": "f", "settings": {"seen": []}}]
    first, other = (WeightedReward({"f": hoarding}, given, FACTS) for _ in range(2))
    assert [first.score(step()).reward for _ in range(2)] == [1.0, 2.0]
    assert other.score(step()).reward == 1.0
    assert given[0]["settings"] == {"seen": []}


NAN = float("nan")


@pytest.mark.parametrize(
    "fact",
    [NAN, [1.0, NAN], {"a": NAN}, np.array([1.0, NAN]), np.array(["a", None]), np.array(["a"])],
    ids=repr,
)
def test_a_fact_that_is_no_number_is_not_taken_for_a_changed_input(fact, caplog):
    plain = WeightedReward({"f": lambda given: 1.0}, ["f"], ["given", "row"])
    plain.score({"given": fact, "row": 0})
    assert caplog.records == []


def test_no_number_is_the_same_as_itself_alone():
    assert not guard.same([1.0, NAN], [1.0, 2.0])
    assert not guard.same({"a": NAN}, {"a": 1.0})
    assert not guard.same(np.array([NAN, 1.0]), np.array([NAN, 2.0]))


# --- what the process shares


def reseed_random(row):
    random.seed(1)
    return 1.0


def reseed_numpy(row):
    np.random.seed(1)
    return 1.0


def reseed_torch(row):
    torch.manual_seed(1)
    return 1.0


def change_folder(row):
    os.chdir("/")
    return 1.0


def change_threads(row):
    torch.set_num_threads(torch.get_num_threads() + 1)
    return 1.0


SHARED = [
    (reseed_random, "the state of `random`", random.getstate),
    (reseed_numpy, "the state of `numpy.random`", lambda: np.random.get_state()[1].tolist()),
    (reseed_torch, "the state of `torch`", lambda: torch.get_rng_state().tolist()),
    (change_folder, "the working directory", os.getcwd),
    (change_threads, "the threads of `torch`", torch.get_num_threads),
]


@pytest.mark.parametrize(("function", "name", "read"), SHARED)
def test_what_the_process_shares_is_put_back_after_every_call_and_warned_of_once(
    function, name, read, caplog
):
    meddling = composed(function)
    before = read()
    for _ in range(5):
        meddling.score(step())
        assert read() == before
    (record,) = caplog.records
    assert f"reward 'f' changes {name}, which the whole process shares" in record.message


def test_a_function_that_meddles_late_is_found_by_a_spot_check():
    def late(row):
        return reseed_random(row) if row > 100 else 1.0

    meddling = composed(late)
    for _ in range(10):
        meddling.score(step(0))
    for _ in range(1100):
        meddling.score(step(200))
    before = random.getstate()
    random.random()
    after = random.getstate()
    meddling.score(step(200))
    assert random.getstate() == after != before


def test_a_folder_left_on_any_call_is_entered_again_and_warned_of_once(caplog):
    def late(row):
        return change_folder(row) if row > 100 else 1.0

    leaving, before = composed(late), os.getcwd()
    for row in (0, 0, 0, 200, 200):
        leaving.score(step(row))
        assert os.getcwd() == before
    (record,) = caplog.records
    assert "reward 'f' changes the working directory" in record.message


def test_a_reward_is_scored_where_the_working_folder_was_deleted(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert composed(lambda row: 2.0).score(step()).reward == 2.0


def test_a_raising_function_is_guarded_too():
    def raising(row):
        os.chdir("/")
        raise ValueError

    before = os.getcwd()
    with pytest.raises(RewardError):
        composed(raising).score(step())
    assert os.getcwd() == before


# --- the deadline


def sleeping(row):
    time.sleep(30)
    return 1.0


def looping(row):
    while True:
        pass


def matching(row):
    return float(bool(re.match(r"(a+)+$", "a" * 40 + "b")))


def swallowing(row):
    while True:
        try:
            time.sleep(30)
        except Exception:
            time.sleep(30)


def deaf(row):
    try:
        time.sleep(30)
    except BaseException:
        return 1.0


async def deaf_async(row):
    try:
        await asyncio.sleep(30)
    except BaseException:
        return 1.0


@pytest.mark.parametrize("function", [deaf, deaf_async])
def test_a_late_call_that_catches_its_end_is_late_even_so(function):
    late = composed(function, deadline=0.1, on_error="drop")
    reasons = [score.dropped for score in late.score_many([step(1), step(2)])]
    assert ["ran longer than 0.1 s" in reason for reason in reasons] == [True, True]


@pytest.mark.parametrize("function", [sleeping, looping, matching, swallowing])
def test_a_call_that_runs_too_long_is_stopped_at_its_deadline(function):
    hanging = composed(function, deadline=0.3)
    began = time.perf_counter()
    with pytest.raises(RewardError, match=r"'f'.*row 7 ran longer than 0.3 s and was stopped"):
        hanging.score(step(7))
    assert 0.29 < time.perf_counter() - began < 2.0
    assert hanging.failures() == {"f": 1}


def test_the_deadline_is_each_components_own():
    def slow(row):
        time.sleep(0.15)
        return 1.0

    functions = dict.fromkeys("abc", slow)
    limits = {"a": 0.4, "b": 5, "c": 0.05}
    specs = [{"name": name, "deadline": limit} for name, limit in limits.items()]
    with pytest.raises(RewardError, match=r"'c'.*ran longer than 0.05 s"):
        WeightedReward(functions, specs, FACTS).score(step())
    assert WeightedReward(functions, specs[:2], FACTS).score(step()).reward == 2.0


def test_a_late_call_is_dropped_where_that_is_allowed_and_the_next_one_is_scored():
    def sometimes(row):
        return sleeping(row) if row == 1 else 1.0

    dropping = composed(sometimes, deadline=0.1, on_error="drop")
    rewards = [score.reward for score in dropping.score_many([step(row) for row in range(3)])]
    assert rewards == [1.0, 0.0, 1.0]


def test_an_earlier_handler_and_timer_of_the_process_go_on():
    rings = []
    earlier = signal.signal(signal.SIGALRM, lambda number, frame: rings.append("mine"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        composed(lambda row: 1.0).score(step())
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        assert 0.0 < left <= 0.2
        deadline = time.perf_counter() + 5
        while not rings and time.perf_counter() < deadline:
            time.sleep(0.01)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)
    assert rings == ["mine"]


def test_no_timer_and_no_handler_is_left_behind():
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(RewardError):
        composed(sleeping, deadline=0.05).score(step())
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_rewards_are_scored_in_other_threads_as_well():
    found = []
    plain = composed(lambda row: 2.0)
    thread = threading.Thread(target=lambda: found.append(plain.score(step()).reward))
    thread.start()
    thread.join()
    assert found == [2.0]


def test_whoever_waits_is_told_for_whom(monkeypatch, caplog):
    monkeypatch.setattr("strategy_rl_envs.rewards.deadline.PATIENCE", 0.1)
    monkeypatch.setattr("strategy_rl_envs.rewards.composition.PATIENCE", 0.1)

    def slow(row):
        time.sleep(0.3)
        return 1.0

    assert composed(slow).score(step()).reward == 1.0
    assert [record.message for record in caplog.records] == ["waiting for reward f, 0 s"]


def test_a_blocked_event_loop_is_left_behind_at_the_deadline():
    async def blocking(row):
        time.sleep(1.5 if row else 0.0)
        return 1.0

    spec = {"deadline": 0.1, "on_error": "drop"}
    blocked = composed(blocking, **spec)
    assert "ran longer than 0.1 s" in blocked.score(step(1)).dropped
    assert blocked.score(step(0)).reward == 1.0


# --- the probe


def messages(findings, severity="warning"):
    return [finding.message for finding in findings if finding.severity == severity]


STEPS = [step(row) for row in range(4)]


def test_a_sound_reward_has_no_warning_and_a_note_on_values_and_time():
    sound = composed(lambda row: row / 4)
    findings = sound.probe(STEPS)
    assert [(f.component, f.severity) for f in findings] == [("f", "note")]
    assert re.match(r"values 0 to 0.75 on 4 steps, .* ms a step", findings[0].message)
    assert sound.timings() == {"f": (0, 0.0)}


def test_a_noisy_reward_is_found():
    rng = random.Random(0)
    (message,) = messages(composed(lambda row: rng.random()).probe(STEPS))
    assert re.match(r"gave 0\.\d+, then 0\.\d+ for the same step \(row 0\)", message)


def test_what_a_probe_finds_changed_is_named():
    def meddling(references, row):
        references.clear()
        return reseed_random(row)

    found = messages(composed(meddling).probe(STEPS))
    assert len(found) == 2
    assert "its input 'references'" in found[0]
    assert "the state of `random`" in found[1]


def test_what_a_probe_has_found_is_not_logged_as_well(caplog):
    meddling = composed(reseed_random)
    assert len(messages(meddling.probe(STEPS))) == 1
    meddling.score(step())
    assert caplog.records == []


def test_a_slow_reward_is_found(monkeypatch):
    monkeypatch.setattr("strategy_rl_envs.rewards.probing.SLOW", 0.001)
    slow = composed(lambda row: time.sleep(0.003) or 1.0)
    assert re.match(r"takes 0\.0\d+ s a step", messages(slow.probe(STEPS))[0])


def test_a_reward_of_a_large_scale_is_found_at_its_largest_weight():
    large = composed(lambda row: 300.0, weight={"from": 0, "to": 10, "over": 1})
    assert large.probe(STEPS)[1:] == [
        Finding("f", "warning", "is as large as 3e+03; scale it to about 1")
    ]
    assert messages(composed(lambda row: 1e4, scale={"divide": 1e4}).probe(STEPS)) == []


def test_a_reward_that_always_abstains_is_found():
    both = WeightedReward({"f": lambda row: None, "g": lambda row: 1.0}, ["f", "g"], FACTS)
    assert messages(both.probe(STEPS)) == ["abstained on all of 4 steps"]


def test_a_failing_reward_stops_at_the_probe_unless_it_may_drop_some():
    def sometimes(row):
        return 1 / row

    with pytest.raises(RewardError, match="row 0 raised ZeroDivisionError"):
        composed(sometimes).probe(STEPS)
    dropping = composed(sometimes, on_error="drop")
    (message,) = messages(dropping.probe(STEPS))
    assert message.startswith("failed in 2 of 8 calls, first: reward 'f'")
    assert dropping.failures() == {"f": 0}
    with pytest.raises(RewardError, match="ZeroDivisionError"):
        composed(sometimes, on_error="drop").probe(STEPS[:1])


def test_a_probe_without_steps_is_refused():
    with pytest.raises(SettingError, match="one step or more"):
        composed(lambda row: 1.0).probe([])


def test_warnings_go_to_the_log_of_the_package(caplog):
    composed(reseed_random).score(step())
    assert caplog.records[0].name == "strategy_rl_envs.rewards.guard"
    assert caplog.records[0].levelno == logging.WARNING
