"""Rules of stopping and how they are fitted, on problems whose best answers are known."""

import numpy as np
import pytest

from strategy_rl_envs.decoding_control.knobs import Menu
from strategy_rl_envs.decoding_control.rivals import (
    SENTENCE,
    SIGNALS,
    ByTarget,
    grid,
    stopping_rivals,
)
from strategy_rl_envs.decoding_control.stopping import (
    FromStep,
    LongstaffSchwartz,
    Ridge,
    Stops,
    Threshold,
    best_of,
    best_step,
    fit_longstaff_schwartz,
    threshold_rules,
)
from strategy_rl_envs.decoding_control.targets import TARGETS

# Two texts of 3 and 2 decisions; the one number seen is that of the decision.
BY_HAND = Stops(
    observations=np.array([[0], [1], [2], [0], [1]], np.float32),
    starts=np.array([0, 3, 5]),
    stop=np.array([0.0, 0.5, 0.2, 0.1, 0.3]),
    end=np.array([0.4, 0.6]),
)


def test_the_first_stop_of_a_text_counts_and_without_one_its_end():
    stops = np.array([False, True, True, False, False])
    assert BY_HAND.returns(stops).tolist() == [0.5, 0.6]
    assert BY_HAND.returns(np.zeros(5, bool)).tolist() == [0.4, 0.6]
    assert BY_HAND.returns(np.ones(5, bool)).tolist() == [0.0, 0.1]
    assert BY_HAND.steps.tolist() == [0, 1, 2, 0, 1]


def test_going_on_is_worth_what_the_rule_then_earns():
    stops = np.array([True, False, True, False, True])
    assert BY_HAND.after(stops).tolist() == [0.2, 0.2, 0.4, 0.3, 0.6]


def test_hindsight_stops_where_nothing_later_gives_more():
    assert BY_HAND.by_hindsight().tolist() == [False, True, False, False, False]
    assert BY_HAND.returns(BY_HAND.by_hindsight()).tolist() == [0.5, 0.6]


def test_a_part_holds_the_texts_in_the_order_asked_for():
    part = BY_HAND.part(np.array([1, 0]))
    assert part.starts.tolist() == [0, 2, 5]
    assert part.stop.tolist() == [0.1, 0.3, 0.0, 0.5, 0.2]
    assert part.end.tolist() == [0.6, 0.4]


def test_the_best_step_for_all_texts_is_found():
    # step 0: (0 + .1) / 2, step 1: (.5 + .3) / 2, step 2: (.2 + .6) / 2, never: (.4 + .6) / 2
    assert BY_HAND.mean_return(FromStep(1)) == pytest.approx(0.4)
    assert best_step(BY_HAND) == FromStep(3)
    dear = Stops(BY_HAND.observations, BY_HAND.starts, BY_HAND.stop, BY_HAND.end - 0.3)
    assert best_step(dear) == FromStep(1)


def test_a_threshold_looks_at_one_number_from_a_step_on():
    seen = np.array([[0.2, 9], [0.8, 9]], np.float32)
    steps = np.array([0, 1])
    assert Threshold(0, True, 0.5, 0)(seen, steps).tolist() == [False, True]
    assert Threshold(0, False, 0.5, 0)(seen, steps).tolist() == [True, False]
    assert Threshold(0, False, 0.5, 1)(seen, steps).tolist() == [False, False]


def test_the_best_rule_of_a_grid_is_the_first_of_the_best():
    rules = threshold_rules(BY_HAND, [(0, True), (0, False)], [0, 1])
    assert len(rules) == 2 * 6 * 2
    best = best_of(rules, BY_HAND)
    assert BY_HAND.mean_return(best) == max(map(BY_HAND.mean_return, rules))
    assert best is next(r for r in rules if BY_HAND.mean_return(r) == BY_HAND.mean_return(best))


def test_ridge_finds_a_line_and_a_penalty_shrinks_its_slope_alone():
    inputs = np.array([[-1.0], [0.0], [1.0], [4.0]])  # mean 1, squares about it 14
    targets = 2 * inputs[:, 0] + 3
    assert Ridge(inputs).fit(targets, 0.0) == pytest.approx([2, 3])
    # slope 2 * 14 / (14 + 14); the line still passes through the means, (1, 5)
    assert Ridge(inputs).fit(targets, 14.0) == pytest.approx([1, 4])


COST, HORIZON = 0.12, 12


def offers(seed, count=2000):
    """Sell for the offer that is seen or pay 0.12 for the next; after 12 nothing is sold.

    W = 0.56 is what waiting is worth (see `ProbeStopping-v0`): sell at 0.6 or more. An offer is
    shown as one of ten places, so that any value of waiting is linear in it.
    """
    drawn = np.random.default_rng(seed).integers(1, 11, (count, HORIZON))
    return Stops(
        observations=np.eye(10, dtype=np.float32)[drawn.reshape(-1) - 1],
        starts=np.arange(count + 1) * HORIZON,
        stop=(drawn / 10 - COST * np.arange(HORIZON)).reshape(-1),
        end=np.full(count, -COST * HORIZON),
    )


SHOWN = np.eye(10, dtype=np.float32)


def test_longstaff_schwartz_sells_where_it_is_best_to():
    rule = LongstaffSchwartz(offers(0)).fit(1.0, by_step=True)
    for step in range(HORIZON - 4):
        assert rule(SHOWN, np.full(10, step)).tolist() == [False] * 5 + [True] * 5
    assert rule(SHOWN, np.full(10, HORIZON - 1)).all()  # the last offer is taken, whatever it is


def test_one_regression_for_all_steps_is_nearly_as_good():
    rule = LongstaffSchwartz(offers(0)).fit(1.0, by_step=False)
    sold = rule(SHOWN, np.zeros(10, int))
    assert sold.tolist()[:4] == [False] * 4
    assert sold[5:].all()


def test_the_fitted_rule_earns_the_optimum_on_fresh_texts_and_beats_a_fixed_step():
    fresh = offers(1)
    rule = fit_longstaff_schwartz(offers(0))
    assert fresh.mean_return(rule) == pytest.approx(0.68, abs=0.015)
    assert fresh.mean_return(best_step(offers(0))) == pytest.approx(0.55, abs=0.015)


def test_what_means_nothing_is_given_no_weight_that_costs():
    told = offers(0, 300)
    noise = np.random.default_rng(2).normal(size=(len(told.stop), 80)).astype(np.float32)
    noisy = Stops(np.hstack([told.observations, noise]), told.starts, told.stop, told.end)
    fresh = offers(1)
    blank = np.random.default_rng(3).normal(size=(len(fresh.stop), 80)).astype(np.float32)
    unseen = Stops(np.hstack([fresh.observations, blank]), fresh.starts, fresh.stop, fresh.end)
    assert unseen.mean_return(fit_longstaff_schwartz(noisy)) > 0.62


FEATURES = ("entropy", "end", "copied", "last_ends_sentence", "written")


def written(count=40, length=6):
    """Texts that pay 1 where a sentence has just ended, after 3 of 6 tokens, and else nothing."""
    steps = np.tile(np.arange(length), count)
    seen = np.random.default_rng(0).random((count * length, len(FEATURES)))
    seen[:, FEATURES.index("last_ends_sentence")] = steps == 3
    seen[:, FEATURES.index("written")] = steps / length
    stop = (steps == 3).astype(float)
    starts = np.arange(count + 1) * length
    return Stops(seen.astype(np.float32), starts, stop, np.zeros(count))


def test_the_rules_that_are_tuned_are_75():
    rules = grid(written(), FEATURES, hold=1)
    assert len(rules) == 75 == len(SIGNALS) * 6 * 4 + 3
    assert written().mean_return(best_of(rules, written())) == 1.0


@pytest.mark.parametrize("hold", [1, 4])
def test_rivals_are_fitted_when_they_are_asked_and_once(hold):
    asked = []

    def stops():
        asked.append(1)
        return written()

    rivals = stopping_rivals(stops, FEATURES, ("go", "stop"), hold, 6 * hold)
    rng = np.random.default_rng(0)
    assert rivals["greedy"](np.ones(5, np.float32), rng) == "go"
    assert not asked
    seen = written().observations[:6]
    for name in ("static_best", "longstaff_schwartz"):
        assert [rivals[name](obs, rng) for obs in seen[:4]] == ["go", "go", "go", "stop"]
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("missing", "words", "left", "ends", "expected"),
    [
        (0.5, 0.2, 0.4, 1, "T 0, keywords 3, end -9"),
        (0.0, 0.2, 0.4, 1, "T 0, end -9"),
        (0.5, 0.0, 0.4, 1, "T 0, keywords 3, end -9"),
        (0.0, 0.0, 0.4, 0, "T 0"),
        (0.0, 0.0, 0.4, 1, "stop"),
        (0.5, 0.0, 0.0, 0, "stop"),
    ],
)
def test_the_rule_by_target_pushes_holds_and_stops_by_hand(missing, words, left, ends, expected):
    menu = Menu.of(knobs={"keyword_bonus": [9, 0, 3], "end_bonus": [0, -9], "stop": True})
    rule = ByTarget(menu, (SENTENCE, *TARGETS))
    obs = np.array([ends, missing, 0.0, words, left, 0.0], np.float32)
    assert menu.name(rule(obs, np.random.default_rng(0))) == expected


def test_without_a_stop_the_rule_by_target_goes_on():
    menu = Menu.of(knobs={"temperature": [0.5, 0.0]})
    rule = ByTarget(menu, (SENTENCE, *TARGETS))
    assert menu.name(rule(np.eye(6, dtype=np.float32)[4], np.random.default_rng(0))) == "T 0"
