import numpy as np
import pytest

from strategy_rl.report import bootstrap_interval


def test_the_interval_of_independent_rows_is_the_textbook_one() -> None:
    # 400 coins, half of them 1: standard error sqrt(0.25 / 400) = 0.025.
    values = np.tile([0.0, 1.0], 200)
    low, high = bootstrap_interval(values, [str(i) for i in range(400)], samples=10_000)
    assert low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.004)
    assert high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.004)


def test_rows_of_one_group_count_as_one() -> None:
    # Each coin shown four times: 100 coins, standard error 0.05, not 0.025.
    values = np.repeat(np.tile([0.0, 1.0], 50), 4)
    groups = [str(i // 4) for i in range(400)]
    low, high = bootstrap_interval(values, groups, samples=10_000)
    assert high - low == pytest.approx(2 * 1.96 * 0.05, abs=0.015)


def test_groups_of_unequal_size_keep_their_weight() -> None:
    # Two groups: three rows of 1, one row of 0. Draws give means 1, 3/4 or 0.
    low, high = bootstrap_interval(np.array([1.0, 1.0, 1.0, 0.0]), ["a", "a", "a", "b"])
    assert (low, high) == (0.0, 1.0)


def test_equal_rows_leave_no_doubt() -> None:
    assert bootstrap_interval(np.full(5, 2.5), list("abcde")) == (2.5, 2.5)
    assert bootstrap_interval(np.array([7.0]), ["only"]) == (7.0, 7.0)


def test_the_seed_decides_the_interval() -> None:
    values, groups = np.arange(50.0), [str(i) for i in range(50)]
    first = bootstrap_interval(values, groups, samples=500, seed=1)
    assert first == bootstrap_interval(values, groups, samples=500, seed=1)
    assert first != bootstrap_interval(values, groups, samples=500, seed=2)


def test_chunks_of_draws_cover_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    values, groups = np.tile([0.0, 1.0], 200), [str(i) for i in range(400)]
    whole = bootstrap_interval(values, groups, samples=2_000)
    monkeypatch.setattr("strategy_rl.report.bootstrap._CHUNK", 400 * 300)  # 7 chunks, one short
    # The generator's stream is the same, however it is cut.
    assert bootstrap_interval(values, groups, samples=2_000) == whole
