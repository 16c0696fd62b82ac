"""The scripted outputs and the statistics, on hand-worked texts and numbers."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy_rl_envs.rewards.checkup.finding import graded, worse, worst_rows
from strategy_rl_envs.rewards.checkup.material import RANDOM, Played, Step, spread_out
from strategy_rl_envs.rewards.checkup.ordering import policy_findings
from strategy_rl_envs.rewards.checkup.statistics import rank_correlation, statistics_findings
from strategy_rl_envs.rewards.checkup.strategies import (
    OWN,
    STRATEGIES,
    Item,
    corpus_of,
    followers,
    item_of,
    saying,
    split,
)

ENGLISH = Item("the mayor opened a bridge", "It rained. The mayor came.", "what happened ?")
CHINESE = Item("市长为新桥剪彩", "今天下雨。市长来了。", "发生了什么？")


def outputs(name: str, item: Item) -> list[str]:
    return list(STRATEGIES[name](item, corpus_of([ENGLISH, CHINESE]), Random(0)))


def test_words_are_characters_in_a_text_without_spaces() -> None:
    assert split("市长 剪彩") == (["市长", "剪彩"], " ")
    assert split("市长剪彩") == (["市", "长", "剪", "彩"], "")
    assert split("bridge") == (["bridge"], " ")


@pytest.mark.parametrize(("item", "words"), [(ENGLISH, 5), (CHINESE, 7)])
def test_scripted_outputs_do_to_a_text_what_their_name_says(item: Item, words: int) -> None:
    dropped, swapped = outputs("near miss", item)
    assert len(split(dropped)[0]) == words - 1
    assert sorted(split(swapped)[0]) == sorted(split(item.gold)[0])
    assert sorted(split(outputs("shuffled words", item)[0])[0]) == sorted(split(item.gold)[0])
    quarter, half = outputs("reference cut short", item)
    assert item.gold.startswith(half)
    assert half.startswith(quarter)
    assert [len(split(text)[0]) for text in outputs("reference repeated", item)] == [
        2 * words,
        5 * words,
    ]
    assert len(split(outputs("reference and filler", item)[0])[0]) == words + 200
    assert outputs("another row's reference", item) != [item.gold]
    assert outputs("copy of the source", item) == [item.source]


def test_the_lead_is_the_first_sentence() -> None:
    assert outputs("lead", ENGLISH) == ["It rained."]
    assert outputs("lead", CHINESE) == ["今天下雨。"]


def test_form_only_keeps_marks_and_tags() -> None:
    item = Item("<answer>the 3 bridges</answer>, since 1900.", None, None)
    assert outputs("format only", item)[0].replace(" ", "") == "<answer></answer>,."


@given(st.text(max_size=40).filter(str.strip), st.integers(0, 9))
def test_every_strategy_takes_any_text(text: str, seed: int) -> None:
    item = Item(text, text, None)
    corpus = corpus_of([item])
    for variants in STRATEGIES.values():
        assert all(isinstance(output, str) for output in variants(item, corpus, Random(seed)))
    for change in OWN.values():
        assert all(isinstance(output, str) for output in change(text))


def test_texts_are_found_under_the_names_that_tasks_use() -> None:
    assert item_of({"output": "x"}) is None
    assert item_of({"reference": "  "}) is None
    assert item_of({"references": ["a", "b"], "prompt": "p"}) == Item("a", "p", "p")
    assert item_of({"reference": "a", "context": ("b", "c")}) == Item("a", "b c", "c")
    assert item_of({"reference": "a", "source": "s", "context": ("b",)}) == Item("a", "s", "b")


def test_only_what_says_that_the_output_is_the_reference_follows_it() -> None:
    steps = [
        {"output": "a", "reference": "a", "right": True, "ended": True, "wrong": False},
        {"output": "b", "reference": "a", "right": False, "ended": True, "wrong": True},
    ]
    assert followers(steps) == ("right",)
    assert followers(steps[:1]) == ()  # one answer alone tells nothing
    assert saying(steps[0], "b", ["right"])["right"] is False
    assert saying(steps[1], "a", ["right"])["right"] is True
    assert steps[0]["output"] == "a"


def test_rank_correlation_of_hand_worked_numbers() -> None:
    """Ranks 1 2.5 2.5 4 against 1 2 3 4: covariance 4.5/4, deviations 4.5 and 5 over 4."""
    first, second = np.array([1.0, 2.0, 2.0, 9.0]), np.array([0.0, 1.0, 2.0, 3.0])
    assert rank_correlation(first, second) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert rank_correlation(first, -second) == pytest.approx(-4.5 / math.sqrt(4.5 * 5))
    assert rank_correlation(first, np.ones(4)) is None


@given(st.lists(st.integers(-50, 50), min_size=3, max_size=30))
def test_rank_correlation_ignores_how_far_apart_values_are(numbers: list[int]) -> None:
    values = np.array(numbers, float)
    rho = rank_correlation(values, values**3)
    assert rho is None if len(set(numbers)) == 1 else rho == pytest.approx(1.0)


def test_verdicts_and_worst_rows() -> None:
    grades = [graded(value, warn=1, fail=2) for value in (1, 1.5, 2, 2.5, math.nan)]
    assert grades == ["ok", "warn", "warn", "fail", "fail"]
    assert worse("warn", "fail") == worse("fail", "ok") == "fail"
    assert worst_rows([(1.0, 7), (3.0, 5), (-1.0, 1), (3.0, 4), (2.0, 5)]) == (4, 5, 7)


@given(st.lists(st.integers()), st.integers(0, 20))
def test_items_are_spread_over_the_whole(items: list[int], count: int) -> None:
    chosen = spread_out(items, count)
    assert len(chosen) == min(count, len(items))
    if chosen:
        assert chosen[0] == items[0]


def played(policy: str, row: int, *rewards: float) -> Played:
    steps = (
        Step({"row": row, "action": n}, reward, {"paid": reward}, {"paid": reward})
        for n, reward in enumerate(rewards)
    )
    return Played(policy, row, tuple(steps))


def statistics(*episodes: Played) -> dict[str, tuple[str, float | None]]:
    samples = [episode for episode in episodes if episode.policy == RANDOM]
    found = statistics_findings(episodes, samples, reads_output=False)
    return {finding.check: (finding.verdict, finding.value) for finding in found}


def test_spread_and_headroom_of_hand_worked_returns() -> None:
    """Row 0: samples 0 and 2, expert 3; row 1: samples 1 and 1, expert 1."""
    found = statistics(
        played(RANDOM, 0, 0.0),
        played(RANDOM, 0, 2.0),
        played("expert", 0, 3.0),
        played(RANDOM, 1, 1.0),
        played(RANDOM, 1, 1.0),
        played("expert", 1, 1.0),
    )
    assert found["27"] == ("ok", 0.5)  # half of the rows are flat
    assert found["28"] == ("ok", pytest.approx((2 - 1 + 0) / 2))
    assert found["31"] == ("ok", 4.0)
    assert found["34"][1] == pytest.approx(np.std([0, 2, 3, 1, 1, 1]))


def test_a_return_that_hangs_on_the_row_alone_is_constant() -> None:
    found = statistics(*(played(RANDOM, row, float(row)) for row in (0, 0, 1, 1)))
    assert found["27"] == ("fail", 1.0)


def test_credit_that_comes_at_the_end_alone_is_a_warning_in_long_episodes() -> None:
    late, early = [0.0] * 11 + [1.0], [0.0] * 10 + [0.5, 0.5]
    assert statistics(played(RANDOM, 0, *late), played(RANDOM, 0, *early))["33"] == ("ok", 0.75)
    assert statistics(played(RANDOM, 0, *late), played(RANDOM, 1, *late))["33"] == ("warn", 1.0)


def test_a_reward_after_the_end_is_a_failure() -> None:
    steps = [Step({"row": 3, "ended": True}, 1.0, {}, {})] * 2
    found = statistics_findings([Played(RANDOM, 3, tuple(steps))], [], reads_output=False)
    finding = next(finding for finding in found if finding.check == "33")
    assert (finding.verdict, finding.fault, finding.rows) == ("fail", "reward after the end", (3,))


def test_the_same_actions_in_another_order_are_compared() -> None:
    """Row 0: 1 then 2 and 2 then 1 both earn 3; row 1: they earn 3 and 4."""

    def path(row: int, *steps: tuple[int, float]) -> Played:
        taken = (Step({"action": a, "row": row}, paid, {}, {}) for a, paid in steps)
        return Played(RANDOM, row, tuple(taken))

    episodes = [
        *(path(0, (1, 1.0), (2, 2.0)), path(0, (2, 2.0), (1, 1.0))),
        *(path(1, (1, 1.0), (2, 2.0)), path(1, (2, 2.0), (1, 2.0))),
    ]
    found = statistics_findings(episodes, episodes, reads_output=False)
    meaning = next(finding.meaning for finding in found if finding.check == "33")
    assert "made no difference in 1 of 2 cases" in meaning


def test_no_return_above_zero_among_many_samples_is_sparse() -> None:
    episodes = [played(RANDOM, row, 0.0, 0.0) for row in range(8)]
    assert statistics(*episodes, played("expert", 0, 0.0, 1.0))["32"] == ("warn", 1 / 18)


def test_a_policy_that_needs_no_thought_must_earn_less_than_the_expert() -> None:
    episodes = [
        *(played("expert", 0, 1.0), played("expert", 1, 1.0)),
        *(played("always wait", 0, 1.5), played("always wait", 1, 0.5)),
        *(played("clever", 0, 1.0), played("clever", 1, 1.2)),
        *(played(RANDOM, 0, 0.0), played(RANDOM, 1, 0.5)),
    ]
    verdicts = {f.name: (f.verdict, f.value, f.rows) for f in policy_findings(episodes)}
    assert verdicts["policy: always wait"] == ("fail", 0.0, (0,))
    assert verdicts["policy: clever"] == ("warn", pytest.approx(0.1), (1,))
    assert verdicts["policy: random"] == ("ok", -0.75, ())


def test_policies_are_not_judged_without_an_expert() -> None:
    assert [f.verdict for f in policy_findings([played(RANDOM, 0, 1.0)])] == ["n/a"]
