from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from recorded import episode, step, write_run

from strategy_rl.board.warnings import correlation
from strategy_rl.episodes import Episode, Step

Warned = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def warned(tmp_path: Path, open_tab: Any) -> Warned:
    """By code, each checked to lead to episodes."""

    def warnings(**files: Sequence[Episode]) -> dict[str, dict[str, Any]]:
        tab = open_tab(write_run(tmp_path, **files))
        found = tab.ask("warnings", run=".")["warnings"]
        for warning in found:
            assert tab.ask("episodes", run=".", **warning["filter"])["total"] > 0
        return {warning["code"]: warning for warning in found}

    return warnings


def varied(policy: str, **changes: Any) -> list[Episode]:
    """Different returns, lengths that tell nothing, both actions."""
    return [
        episode(
            policy, row, [step(turn % 2, row * 7 % 11, **changes) for turn in range(1 + row % 3)]
        )
        for row in range(30)
    ]


def wrote(row: int, tokens: int, pay: float) -> Episode:
    """One step that wrote a text; its tokens are recorded where there are any."""
    text = f"{row} " + "x" * (row % 9)
    recorded = [{"text": "x", "logprob": -1.0}] * tokens or None
    parts = {"overlap": float(pay), "manners": row * 5 % 13 / 13}
    wrote = Step(text, text, sum(parts.values()), parts, text=text, tokens=recorded)
    return episode("ppo", row, [wrote])


def paid(row: int) -> dict[str, float]:
    return {"words": 2.0 + row % 2 / 2}


def test_nothing_is_said_of_a_run_that_varies(warned: Warned) -> None:
    parts = {"components": {}}
    assert warned(ppo=varied("ppo", **parts), sft=varied("sft", **parts)) == {}


def test_a_component_that_goes_with_length_is_named(warned: Warned) -> None:
    made = [
        episode(
            "ppo", row, [step(n % 2, row * 7 % 11, components=paid(row)) for n in range(length)]
        )
        for row in range(30)
        for length in [1 + row % 3]
    ]
    found = warned(ppo=made)["length_correlation"]
    assert found["message"].startswith("words")
    assert "r = 0.9" in found["detail"]
    assert found["filter"]["policy"] == "ppo"


def test_a_cost_that_is_the_same_for_each_step_is_none_of_them(warned: Warned) -> None:
    assert warned(ppo=varied("ppo", components={"step_cost": -0.1})) == {}


def test_where_texts_are_written_their_length_in_tokens_counts(warned: Warned) -> None:
    found = warned(ppo=[wrote(row, tokens=3 + row % 9, pay=row % 9) for row in range(400)])
    warning = found["length_correlation"]
    assert warning["message"] == "overlap goes with the length of what is written"
    assert "r = 1.00 with the number of tokens over 300 episodes of ppo" in warning["detail"]
    assert warning["filter"]["sort"] == "-component:overlap"


def test_the_longest_texts_come_first_where_they_are_paid_least(warned: Warned) -> None:
    found = warned(ppo=[wrote(row, tokens=3 + row % 9, pay=-(row % 9)) for row in range(99)])
    assert "r = -1.00" in found["length_correlation"]["detail"]
    assert found["length_correlation"]["filter"]["sort"] == "component:overlap"


def test_without_tokens_the_length_in_characters_counts(warned: Warned) -> None:
    made = [wrote(row, tokens=0, pay=row % 9) for row in range(30)]
    assert "with the number of characters" in warned(ppo=made)["length_correlation"]["detail"]


@pytest.mark.parametrize("pay", [lambda row: row * 7 % 11, lambda row: -0.1 * (3 + row % 9)])
def test_texts_paid_by_something_else_or_by_the_token_cause_no_warning(
    warned: Warned, pay: Callable[[int], float]
) -> None:
    made = [wrote(row, tokens=3 + row % 9, pay=pay(row)) for row in range(99)]
    assert "length_correlation" not in warned(ppo=made)


def test_a_component_that_never_varies_is_named(warned: Warned) -> None:
    made = [
        episode("ppo", row, [step(row % 2, row, components={"flat": 0.0})]) for row in range(30)
    ]
    found = warned(ppo=made)["no_variance"]
    assert found["message"] == "flat is the same on every episode of test"


def test_a_return_that_never_varies_is_named_before_its_parts(warned: Warned) -> None:
    found = warned(ppo=[episode("ppo", row, [step(row % 2)]) for row in range(30)])["no_variance"]
    assert found["message"] == "the return is the same on every episode of test"


def test_a_policy_of_one_action_is_named_and_a_rival_of_one_is_not(warned: Warned) -> None:
    one = {
        policy: [episode(policy, row, [step(action, row, components={})]) for row in range(30)]
        for policy, action in (("ppo", 2), ("always_first", 0))
    }
    found = warned(**one)["one_action"]
    assert found["message"] == "ppo takes 'hand_over' nearly always"
    assert found["filter"] == {"policy": "ppo", "split": "test", "action": "hand_over"}


@pytest.mark.parametrize(("same", "said"), [(10, True), (5, False)])
def test_a_text_on_a_quarter_of_the_rows_is_named(warned: Warned, same: int, said: bool) -> None:
    texts = ["I do not know.\nAsk."] * same + [f"Reply {n}" for n in range(30 - same)]
    made = [
        episode("ppo", row, [step(0, row, text=text, components={})])
        for row, text in enumerate(texts)
    ]
    found = warned(ppo=made)
    assert ("one_text" in found) == said


def test_a_policy_that_no_longer_tries_anything_is_named(warned: Warned) -> None:
    sure = {"probabilities": [0.999, 0.0005, 0.0005], "components": {}}
    found = warned(sft=varied("sft", components={}), ppo=varied("ppo", **sure))
    assert "nats a decision" in found["entropy_collapse"]["detail"]
    assert found["entropy_collapse"]["filter"]["policy"] == "ppo"


def trained(begin: int, **changes: Any) -> list[Episode]:
    """Twenty training iterations of two episodes."""
    return [
        episode(
            "policy",
            row,
            [
                step(2 if "probabilities" in changes else turn % 2, row, **changes)
                for turn in (0, 1)
            ],
            split="train",
            stage="ppo",
            iteration=begin + i,
        )
        for i in range(20)
        for row in (i, i + 20)
    ]


def test_a_collapse_shows_during_training_beside_an_evaluation(warned: Warned) -> None:
    sure = {"probabilities": [0.0005, 0.0005, 0.999], "components": {}}
    made = trained(0, components={}) + trained(20, **sure)
    found = warned(train=made, sft=varied("sft", components={}))
    assert found["entropy_collapse"]["message"] == "the entropy of policy is 1% of that at first"
    assert found["entropy_collapse"]["filter"]["split"] == "train"
    assert found["one_action"]["message"] == "policy takes 'hand_over' nearly always"


def test_a_training_that_still_tries_things_causes_no_warning(warned: Warned) -> None:
    made = trained(0, components={}) + trained(20, components={})
    assert warned(train=made, sft=varied("sft", components={})) == {}


def test_correlation_needs_pairs_that_vary() -> None:
    assert correlation([(n, 2 * n) for n in range(19)]) is None
    assert correlation([(n, -n) for n in range(20)]) == pytest.approx(-1)
    assert correlation([(n, 1) for n in range(20)]) is None
    assert correlation([]) is None
