from typing import Any

import pytest
import torch

from strategy_rl.advantages import compute_gae
from strategy_rl.board.episode import steps_of
from strategy_rl.board.estimates import advantages_of, estimates_of, tokens_in

WORDS = [{"text": "a", "value": 0.5}, {"text": "b", "value": 0.2}]
WRITTEN = [
    {"reward": 1.0, "value": 0.5, "tokens": WORDS},
    {"reward": -1.0, "value": 0.4, "tokens": [{"text": "c", "value": 0.4}]},
]


@pytest.mark.parametrize("cut", [False, True])
def test_advantages_are_those_of_training(cut: bool) -> None:
    rewards, values, after = [1.0, -0.5, 0.25], [0.5, 0.1, -0.3], 9.0 if cut else 0.0
    column = [torch.tensor(numbers, dtype=torch.float64)[:, None] for numbers in (rewards, values)]
    following = torch.tensor([[0.1], [-0.3], [9.0]], dtype=torch.float64)
    ends = torch.tensor([[False], [False], [True]])
    never = torch.zeros_like(ends)
    terminations, truncations = (never, ends) if cut else (ends, never)
    expected = compute_gae(*column, following, terminations, truncations, 0.9, 0.7)
    found = advantages_of(rewards, values, 0.9, 0.7, after)
    assert found == pytest.approx(expected.advantages[:, 0].tolist())


def test_what_was_recorded_wins_over_what_can_be_computed() -> None:
    steps = [{"reward": 1.0, "value": 0.5, "advantage": -7.0}, {"reward": 1.0, "value": 0.5}]
    assert [e.advantage for e in estimates_of(steps, 1.0, 1.0, 0.0)] == [-7.0, 0.5]
    tokens = [{"text": "a", "value": 0.5, "advantage": 3.0}]
    shown = estimates_of([{"reward": 1.0, "tokens": tokens}], 1.0, 1.0, 0.0)[0].tokens
    assert shown is not None
    assert shown[0]["advantage"] == 3.0


def test_an_episode_that_was_cut_goes_on_with_the_value_of_what_came_after() -> None:
    steps = [{"reward": 1.0, "value": 0.0}, {"reward": 0.0, "value": 1.0}]
    shown = steps_of({"terminated": False, "final_value": 2.0, "steps": steps}, 0.5, 0.5)
    assert [s["return_to_go"] for s in shown] == [1.5, 1.0]
    assert [s["advantage"] for s in shown] == [1.5, 0.0]


@pytest.mark.parametrize("final_value", [None, "x", True])
def test_an_episode_that_was_cut_at_an_unknown_value_has_no_advantages(final_value: Any) -> None:
    steps = [{"reward": 1.0, "value": 0.0}, {"reward": 0.0, "value": 1.0}]
    shown = steps_of({"terminated": False, "final_value": final_value, "steps": steps}, 0.5, 0.5)
    assert [s["return_to_go"] for s in shown] == [1.0, 0.0]
    assert [s["advantage"] for s in shown] == [None, None]


def test_nothing_follows_where_an_episode_ended_whatever_is_recorded_after_it() -> None:
    steps = [{"reward": 1.0, "value": 0.5}]
    shown = steps_of({"terminated": True, "final_value": 9.0, "steps": steps}, 1.0, 1.0)
    assert (shown[0]["return_to_go"], shown[0]["advantage"]) == (1.0, 0.5)


@pytest.mark.parametrize(
    "steps",
    [
        [{"reward": 1.0, "value": None}, {"reward": 1.0, "value": 0.0}],
        [{"reward": 1.0, "value": 0.0}, {"reward": None, "value": 0.0}],
    ],
)
def test_advantages_are_unknown_where_a_value_or_a_reward_is(steps: list[Any]) -> None:
    assert [e.advantage for e in estimates_of(steps, 1.0, 0.95, 0.0)] == [None, None]


def test_returns_are_discounted_and_unknown_before_a_missing_reward() -> None:
    steps: list[dict[str, Any]] = [{"reward": 1.0}, {"reward": 2.0}]
    assert [e.return_to_go for e in estimates_of(steps, 0.5, 1.0, 0.0)] == [2.0, 2.0]
    steps[0]["reward"] = None
    assert [e.return_to_go for e in estimates_of(steps, 0.5, 1.0, 0.0)] == [None, 2.0]


def test_tokens_are_the_decisions_of_a_step_and_its_last_one_is_paid() -> None:
    # Rewards 0, 1, -1 and values 0.5, 0.2, 0.4. Errors: 0.5*0.2 - 0.5 = -0.4,
    # 1 + 0.5*0.4 - 0.2 = 1 and -1 - 0.4 = -1.4; each advantage adds a quarter of the next.
    first, second = estimates_of(WRITTEN, 0.5, 0.5, 0.0)
    assert first.tokens is not None
    assert second.tokens is not None
    advantages = [token["advantage"] for token in first.tokens + second.tokens]
    assert advantages == pytest.approx([-0.4 + 0.65 / 4, 1 - 1.4 / 4, -1.4])
    assert (first.return_to_go, second.return_to_go) == (0.25, -1.0)
    assert first.advantage is None


def test_tokens_without_values_leave_their_step_the_decision() -> None:
    steps = [{"reward": 1.0, "value": 0.25, "tokens": [{"text": "a"}, {"text": "b", "value": 1}]}]
    shown = estimates_of(steps, 0.5, 0.5, 0.0)[0]
    assert (shown.return_to_go, shown.advantage) == (1.0, 0.75)
    assert shown.tokens is not None
    assert [token["advantage"] for token in shown.tokens] == [None, None]


@pytest.mark.parametrize("tokens", [None, 3, [], [3], [{"text": 3}], [{"logprob": -1}]])
def test_tokens_that_are_none_are_left_out(tokens: Any) -> None:
    assert tokens_in({"tokens": tokens}) == []


def test_tokens_have_numbers_or_nothing_and_keep_the_rest() -> None:
    given = {"text": "a", "logprob": "x", "value": 1e999, "reference_logprob": -1.5, "id": 7}
    assert tokens_in({"tokens": [given]}) == [
        {
            **{"text": "a", "logprob": None, "value": None, "reference_logprob": -1.5, "id": 7},
            "advantage": None,
        }
    ]


def test_a_recorded_advantage_of_a_step_is_shown_beside_those_of_its_tokens() -> None:
    first, second = estimates_of([{**WRITTEN[0], "advantage": -0.3}, WRITTEN[1]], 0.5, 0.5, 0.0)
    assert (first.advantage, second.advantage) == (-0.3, None)
    assert first.tokens is not None
    assert first.tokens[0]["advantage"] is not None


def test_nothing_is_computed_from_values_in_other_units_than_rewards() -> None:
    steps: list[Any] = [{"reward": 1.0, "value": 0.5, "advantage": 2.0}, *WRITTEN]
    first, *rest = estimates_of(steps, 1.0, 1.0, 0.0, scaled_values=True)
    assert (first.return_to_go, first.advantage) == (None, 2.0)
    for found in rest:
        assert (found.return_to_go, found.advantage) == (None, None)
        assert found.tokens is not None
        assert {token["advantage"] for token in found.tokens} == {None}
    plain = estimates_of([{"reward": 1.0}], 1.0, 1.0, 0.0, scaled_values=True)[0]
    assert plain.return_to_go == 1.0
