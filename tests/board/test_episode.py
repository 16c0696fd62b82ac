import math
from typing import Any

import pytest
from recorded import episode, step

from strategy_rl.board.episode import entropy_of, factors_in, greedy, steps_of, weights_of
from strategy_rl.episodes import episode_to_json


def line(*steps: Any, **changes: Any) -> dict[str, Any]:
    return episode_to_json(episode("ppo", 0, steps, **changes))


def test_entropy_is_in_nats() -> None:
    assert entropy_of({"probabilities": [0.25] * 4}) == pytest.approx(math.log(4))
    assert str(entropy_of({"probabilities": [1.0, 0.0]})) == "0.0"
    assert entropy_of({"probabilities": None}) is None
    assert entropy_of({"probabilities": [0.5, "x"]}) is None


def test_the_greedy_action_is_named_among_the_legal_ones() -> None:
    names = {"legal_actions": [3, 7], "legal_names": ["a", "b"], "probabilities": [0.4, 0.6]}
    assert greedy({"action": 3, **names}) == {"greedy_action": 7, "greedy_name": "b"}
    bare = {"action": 1, "action_name": "stop", "probabilities": [0.4, 0.6]}
    assert greedy(bare) == {"greedy_action": 1, "greedy_name": "stop"}
    assert greedy({**bare, "action": 0}) == {"greedy_action": 1, "greedy_name": "1"}
    assert greedy({"action": 1}) == {"greedy_action": None, "greedy_name": None}
    recorded = {"greedy_action": [0, 2], "greedy_name": "T 0"}  # no probabilities of vectors
    assert greedy(recorded) == recorded


def test_weights_are_what_values_were_multiplied_by() -> None:
    recorded = {"components": {"a": 1.0, "b": 0.0, "c": 2.0}, "reward_values": {"a": 4.0, "b": 0.0}}
    assert weights_of([recorded]) == [{"a": 0.25, "b": None, "c": None}]
    assert weights_of([recorded], {"a": 7.0, "b": 0.5, "x": 1.0}) == [
        {"a": 0.25, "b": 0.5, "c": None}  # where the value tells it, that is what counted
    ]


def test_values_of_the_whole_episode_are_weighed_against_all_that_was_paid() -> None:
    paid = [{"components": {"a": 0.1}}, {"components": {"a": 0.3}, "reward_values": {"a": 0.8}}]
    assert weights_of(paid) == [{"a": None}, {"a": pytest.approx(0.5)}]
    each = [{**step, "reward_values": {"a": 0.2}} for step in paid]
    assert weights_of(each) == [{"a": pytest.approx(0.5)}, {"a": pytest.approx(1.5)}]
    assert weights_of([]) == []


def test_every_recorded_field_is_kept_and_later_ones_too() -> None:
    recorded = line(step(1))
    recorded["steps"][0] |= {"kl": 0.5, "entropy": 0.125, "later": ["a"]}
    shown = steps_of(recorded, 1.0, 1.0)[0]
    assert (shown["kl"], shown["entropy"], shown["later"]) == (0.5, 0.125, ["a"])
    assert recorded["steps"][0].keys() <= shown.keys()


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [
        ([[0.5, 0.5], [1, 0]], [[0.5, 0.5], [1, 0]]),
        ([[0.5, "x"], [1, 0]], None),
        ([[0.5, 0.5], []], None),
        ([0.5, 0.5], None),
        ([], None),
        ("x", None),
        (None, None),
    ],
)
def test_probabilities_of_factors_are_lists_of_numbers_or_nothing(
    recorded: Any, shown: Any
) -> None:
    for name in ("factor_probabilities", "reference_factor_probabilities"):
        assert factors_in({name: recorded})[name] == shown


@pytest.mark.parametrize("steps", [None, 3, [3, None], []])
def test_steps_that_are_none_show_nothing(steps: Any) -> None:
    assert steps_of({"steps": steps}, 1.0, 1.0) == []
