"""Reward functions in processes of their own: the same values, and killed whatever they do."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import multiprocessing
import os
import random
import re
import signal
import sys
import textwrap
import threading
import time
from contextlib import suppress

import pytest

from strategy_rl_envs.kit.errors import RewardError, SettingError
from strategy_rl_envs.rewards import WeightedReward, reward

FACTS = ("output", "candidates", "references", "row")


def step(row=0):
    return {"output": "é\ud800", "candidates": ("a", "b"), "references": ["a"], "row": row}


def behaving(output, candidates, references, row, *, times: int = 1):
    sys.stdout.write("printed by the child")
    kinds = [type(fact) for fact in (output, candidates, references, row)]
    assert kinds == [str, tuple, list, int], kinds
    return {"length": len(output) * times, "pid": os.getpid()}


def misbehaving(output, row):
    if row == 1:
        time.sleep(60)
    if row == 2:
        os._exit(3)
    if row == 3:
        sys.exit("leaving")
    if row == 4:
        return float("nan")
    if row == 5 and os.fork() == 0:
        time.sleep(60)
    if row == 6:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            pass
    if row == 7:
        random.seed(0)
    if row == 8:
        sys.stdout.write("x" * 10_000_000)
    return None if row == 9 else float(row)


@reward(name="isolation_test_batched", batched=True)
def batched(candidates, row):
    assert all(type(entry) is tuple for entry in candidates)
    return [float("nan") if r == 1 else r for r in row]


def stuck(output):
    with open(output, "w", encoding="utf-8") as file:
        file.write(str(os.getpid()))
    return float(bool(re.match(r"(a+)+$", "a" * 60 + "b")))


async def awaiting(row):
    await asyncio.sleep(0)
    return row + 0.5


COMPONENTS = {
    "f": misbehaving,
    "behaving": behaving,
    "batched": batched,
    "awaiting": awaiting,
    "stuck": stuck,
}


@pytest.fixture
def isolated():
    made = []

    def make(name="f", **spec):
        one = WeightedReward(COMPONENTS, [{"name": name, "isolate": True, **spec}], FACTS)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def test_an_isolated_function_runs_with_its_settings_in_one_process_of_its_own(isolated):
    apart = isolated("behaving", settings={"times": 3})
    first, second = apart.score(step()).values, apart.score(step()).values
    assert first["behaving/length"] == 6.0
    assert first["behaving/pid"] == second["behaving/pid"] != os.getpid()


def test_a_batch_is_one_call_and_a_bad_entry_stays_alone(isolated):
    scores = isolated("batched", on_error="drop").score_many([step(row) for row in range(3)])
    assert [score.reward for score in scores] == [0.0, 0.0, 2.0]
    assert [score.dropped is None for score in scores] == [True, False, True]


def test_an_async_function_can_be_isolated(isolated):
    assert isolated("awaiting").score(step(2)).reward == 2.5


def test_failures_in_the_child_are_told_as_anywhere_and_the_next_call_works(isolated):
    apart = isolated(on_error="drop", deadline=1.0)
    reasons = {
        1: "row 1 ran longer than 1 s; its process was killed",
        2: "ended its process with exit status 3",
        3: "raised SystemExit: leaving",
        4: "gave nan; expected a finite number",
        6: "row 6 ran longer than 1 s",
    }
    for row, reason in reasons.items():
        began = time.perf_counter()
        assert reason in apart.score(step(row)).dropped
        assert time.perf_counter() - began < 10
        assert apart.score(step(20)).reward == 20.0
    assert apart.failures() == {"f": len(reasons)}


def test_forking_reseeding_and_printing_harm_nobody(isolated):
    apart, before = isolated(deadline=20), random.getstate()
    for row in (5, 7, 8):
        assert apart.score(step(row)).reward == float(row)
    assert random.getstate() == before
    with pytest.raises(RewardError, match="abstained"):
        apart.score(step(9))


def test_the_deadline_does_not_count_the_start_of_the_process(isolated):
    assert isolated(deadline=0.25).score(step(20)).reward == 20.0


def test_a_function_from_a_file_of_ones_own_is_found_by_its_path(tmp_path):
    path = tmp_path / "isolation_test_rewards.py"
    path.write_text(
        textwrap.dedent(
            """
            from strategy_rl_envs import reward

            @reward(name="isolation_test_other_name")
            def brevity(output: str, *, target: int = 3) -> float:
                return min(1.0, target / len(output))
            """
        ),
        "utf-8",
    )
    spec = importlib.util.spec_from_file_location("isolation_test_rewards", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    given = {"name": "isolation_test_other_name", "isolate": True, "settings": {"target": 1}}
    apart = WeightedReward({}, [given], FACTS)
    assert apart.score(step() | {"output": "four"}).reward == 0.25
    apart.close()


def test_a_function_that_cannot_be_found_again_is_refused():
    with pytest.raises(SettingError, match=r"isolate: .*<lambda> must stand at the top level"):
        WeightedReward({"f": lambda row: 1.0}, [{"name": "f", "isolate": True}], FACTS)


def test_facts_that_are_no_json_are_refused_by_name(isolated):
    with pytest.raises(RewardError, match=r"facts or settings that are no JSON: .*complex"):
        isolated().score(step() | {"output": 1j})


def score_one():
    apart = WeightedReward(COMPONENTS, [{"name": "awaiting", "isolate": True}], FACTS)
    assert apart.score(step(3)).reward == 3.5


def test_isolation_works_in_the_daemonic_worker_of_a_vector_environment():
    worker = multiprocessing.get_context("spawn").Process(target=score_one, daemon=True)
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0


def test_the_child_ends_with_its_reward(isolated):
    apart = WeightedReward(COMPONENTS, [{"name": "behaving", "isolate": True}], FACTS)
    pid = int(apart.score(step()).values["behaving/pid"])
    os.kill(pid, 0)
    del apart
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_ctrl_c_during_a_call_leaves_no_late_answer_behind(isolated):
    apart = isolated("f", deadline=30)
    assert apart.score(step(20)).reward == 20.0
    earlier = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            apart.score(step(1))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)
    assert apart.score(step(21)).reward == 21.0


def test_whoever_waits_for_a_child_is_told(isolated, monkeypatch, caplog):
    monkeypatch.setattr("strategy_rl_envs.rewards.isolation.PATIENCE", 0.1)
    apart = isolated(deadline=0.3, on_error="drop")
    apart.score(step(20))
    caplog.clear()
    apart.score(step(1))
    assert [record.message for record in caplog.records] == ["waiting for reward f, 0 s"]


def exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pid_of(apart):
    return int(apart.score(step()).values["behaving/pid"])


def test_one_process_serves_all_rewards_with_their_own_settings_until_the_last_is_closed(isolated):
    several = [isolated("behaving", settings={"times": times}) for times in (1, 2, 3)]
    lengths = [apart.score(step()).values["behaving/length"] for apart in several]
    assert lengths == [2.0, 4.0, 6.0]
    (pid,) = {pid_of(apart) for apart in several}
    for apart in several[:2]:
        apart.close()
        apart.close()
    assert pid_of(several[2]) == pid
    several[2].close()
    assert not exists(pid)
    assert pid_of(several[0]) != pid


def test_threads_that_share_a_process_get_their_own_answers(isolated):
    rewards, found = [isolated("awaiting") for _ in range(4)], {}

    def score(index):
        rows = range(100 * index, 100 * index + 20)
        found[index] = [rewards[index].score(step(row)).reward - row for row in rows]

    threads = [threading.Thread(target=score, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {index: [0.5] * 20 for index in range(4)}


def test_a_process_outlives_the_thread_that_started_it(isolated):
    apart, found = isolated("behaving"), []
    thread = threading.Thread(target=lambda: found.append(pid_of(apart)))
    thread.start()
    thread.join()
    time.sleep(0.1)
    assert pid_of(apart) == found[0]


def test_a_fork_has_a_process_of_its_own_and_leaves_the_other_alone(isolated):
    apart = isolated("behaving")
    pid = pid_of(apart)
    reading, writing = os.pipe()
    forked = os.fork()
    if forked == 0:
        os.write(writing, str(pid_of(apart)).encode())
        apart.close()
        os._exit(0)
    os.waitpid(forked, 0)
    assert int(os.read(reading, 100)) != pid
    assert pid_of(apart) == pid


def hang(path):
    apart = WeightedReward(COMPONENTS, [{"name": "stuck", "isolate": True}], FACTS)
    apart.score(step() | {"output": path})


def test_a_child_stuck_in_c_code_ends_with_its_parent(tmp_path):
    path = tmp_path / "pid"
    parent = multiprocessing.get_context("spawn").Process(target=hang, args=(str(path),))
    parent.start()
    until = time.monotonic() + 60
    while not (path.exists() and path.read_text("utf-8")) and time.monotonic() < until:
        time.sleep(0.02)
    pid = int(path.read_text("utf-8"))
    time.sleep(0.1)
    parent.kill()
    parent.join()
    until = time.monotonic() + 5
    try:
        while is_running(pid) and time.monotonic() < until:
            time.sleep(0.02)
        assert not is_running(pid)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"  # Z: nobody has looked yet
    except FileNotFoundError:
        return False
