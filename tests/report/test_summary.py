from dataclasses import replace
from typing import Any

import pytest
from invented import MakeEpisode

from strategy_rl.episodes import Episode, Step
from strategy_rl.errors import RunError
from strategy_rl.report import summarize
from strategy_rl.report.returns import default_comparisons, mean_over_seeds, returns_of


def quick(episodes: dict[str, list[Episode]], **settings: Any) -> dict[str, Any]:
    return summarize(episodes, bootstrap_samples=200, **settings)


def plain_episode(row: int, actions: list[int], expert: int) -> Episode:
    steps = tuple(
        Step(a, str(a), 1.0, {}, legal_actions=[0, 1], expert_action=expert) for a in actions
    )
    return Episode(f"e{row}", "evaluation", 0, row, "test", None, None, "ppo", False, steps)


def test_returns_lengths_and_components_are_means_over_episodes(episode: MakeEpisode) -> None:
    played = [episode("ppo", 0, ["right", "wrong"]), episode("ppo", 1, ["hand_over"])]
    policy = quick({"ppo": played})["policies"]["ppo"]
    assert policy["mean_return"] == pytest.approx((0.5 - 0.25) / 2)
    assert policy["episodes"] == 2
    assert policy["mean_length"] == 1.5
    assert policy["components"] == {"right": 0.5, "wrong": -0.25, "hand_over": -0.125}


def test_shares_name_candidates_as_one_kind_and_special_actions_by_name(
    episode: MakeEpisode,
) -> None:
    played = [episode("ppo", 0, ["right", "wrong", "right", "hand_over"])]
    policy = quick({"ppo": played})["policies"]["ppo"]
    assert policy["action_shares"] == {"candidate": 0.75, "hand_over": 0.25}
    assert policy["most_frequent_action"] == {"action": "candidate 0", "share": 0.5}


def test_accuracy_counts_answered_decisions_only(episode: MakeEpisode) -> None:
    played = [episode("ppo", 0, ["right", "right", "wrong", "hand_over"])]
    assert quick({"ppo": played})["policies"]["ppo"]["accuracy"] == pytest.approx(2 / 3)
    silent = [episode("ppo", 0, ["hand_over"])]
    assert quick({"ppo": silent})["policies"]["ppo"]["accuracy"] is None


def test_confusion_of_a_selection_task_is_kind_by_agreement(episode: MakeEpisode) -> None:
    played = [episode("ppo", 0, ["right", "wrong", "wrong", "hand_over"])]
    assert quick({"ppo": played})["policies"]["ppo"]["confusion"] == {
        "rows": ["gold", "hand_over", "random"],
        "columns": ["expert agrees", "expert differs"],
        "counts": [[1, 0], [0, 1], [0, 2]],
    }


def test_confusion_of_plain_actions_is_expert_by_chosen() -> None:
    played = [plain_episode(0, [0, 1, 1], expert=1), plain_episode(1, [0], expert=0)]
    assert quick({"ppo": played})["policies"]["ppo"]["confusion"] == {
        "rows": ["expert 0", "expert 1"],
        "columns": ["chose 0", "chose 1"],
        "counts": [[1, 0], [1, 2]],
    }


def test_a_vector_of_actions_has_a_return_and_no_shares() -> None:
    steps = (Step([0.5, -0.5], "[0.5, -0.5]", 2.0, {}),)
    played = [Episode("e", "evaluation", 0, 5, "test", None, None, "ppo", False, steps)]
    policy = quick({"ppo": played})["policies"]["ppo"]
    assert policy["mean_return"] == 2.0
    assert policy["action_shares"] == {}
    assert policy["most_frequent_action"] is None
    assert policy["accuracy"] is None
    assert policy["confusion"] is None


def test_many_kinds_are_summed_up_as_others() -> None:
    played = [plain_episode(0, [*range(20), 0], expert=1)]
    shares = quick({"ppo": played})["policies"]["ppo"]["action_shares"]
    assert len(shares) == 13
    assert shares["0"] == pytest.approx(2 / 21)
    assert shares["others"] == pytest.approx(8 / 21)


def test_special_actions_are_counted_by_state(episode: MakeEpisode) -> None:
    played = [episode("ppo", 0, ["right", "hand_over"]), episode("ppo", 1, ["right", "right"])]
    assert quick({"ppo": played})["policies"]["ppo"]["special_share_by_state"] == [
        {"state": [0.5, 0.0], "decisions": 2, "share": 0.5},
        {"state": [1.0, 0.0], "decisions": 2, "share": 0.0},
    ]


def test_any_small_vector_of_numbers_is_a_state_whatever_its_name(episode: MakeEpisode) -> None:
    (step,) = episode("ppo", 0, ["hand_over"]).steps
    long = {"context": ["hi"], "pixels": [0.0] * 9}

    def shares(observation: dict[str, Any], action: str = "hand_over") -> Any:
        steps = (replace(step, observation=observation, action_name=action),)
        played = [replace(episode("ppo", 0, ["hand_over"]), steps=steps)]
        return quick({"ppo": played})["policies"]["ppo"]["special_share_by_state"]

    state = {"state": [3.0, 0.5], "decisions": 1, "share": 1.0}
    assert shares({**long, "mood": [3, 0.5]}) == [state]
    assert shares(long) == []
    assert shares({**long, "mood": [3, 0.5]}, action="candidate 2") == []  # none is special


def test_a_comparison_is_paired_by_row_and_knows_its_share_of_the_gap(
    episode: MakeEpisode,
) -> None:
    report = quick(
        {
            "sft": [episode("sft", r, ["wrong"]) for r in range(4)],
            # The order of the file does not matter.
            "ppo": [episode("ppo", r, ["right" if r < 2 else "wrong"]) for r in (3, 1, 0, 2)],
            "expert": [episode("expert", r, ["right"]) for r in range(4)],
        }
    )
    figures = report["comparisons"]["ppo_vs_sft"]
    assert figures["mean_difference"] == 0.75  # +1.5 on two of four rows
    assert figures["share_of_gap_to_expert"] == 0.5
    assert figures["rows"] == 4
    assert figures["ci95"][0] <= 0.75 <= figures["ci95"][1]


def test_there_is_no_share_of_a_gap_that_is_not_positive(episode: MakeEpisode) -> None:
    same = {name: [episode(name, 0, ["right"])] for name in ("sft", "ppo", "expert")}
    assert quick(same)["comparisons"]["ppo_vs_sft"]["share_of_gap_to_expert"] is None
    del same["expert"]
    assert quick(same)["comparisons"]["ppo_vs_sft"]["share_of_gap_to_expert"] is None


def test_policies_played_on_other_rows_are_not_compared(episode: MakeEpisode) -> None:
    apart = {"sft": [episode("sft", 0, ["right"])], "ppo": [episode("ppo", 1, ["right"])]}
    with pytest.raises(RunError, match=r"'ppo' and 'sft' .* different rows: 2 rows"):
        quick(apart)


def test_a_policy_without_episodes_is_refused_by_name() -> None:
    with pytest.raises(RunError, match="'sft' has no episodes"):
        quick({"sft": []})


def test_a_row_played_twice_counts_once(episode: MakeEpisode) -> None:
    played = [episode("ppo", 0, ["right"]), episode("ppo", 0, ["wrong"]), episode("ppo", 1, [])]
    assert quick({"ppo": played})["policies"]["ppo"]["mean_return"] == 0.125  # (0.25 + 0) / 2


def test_tasks_without_rows_are_paired_by_the_order_of_their_episodes() -> None:
    ours = [plain_episode(0, [0] * length, expert=0) for length in (3, 1)]
    theirs = [plain_episode(0, [0] * length, expert=0) for length in (1, 1)]
    report = quick({"ppo": ours, "sft": theirs})
    assert report["comparisons"]["ppo_vs_sft"]["rows"] == 2
    assert [row["row"] for row in report["rows"]["best"]] == [0]


def test_the_default_comparisons_name_every_rival_and_the_best_fair_one() -> None:
    means = {
        "random": -1.0,
        "sft": 0.1,
        "ppo": 0.8,
        "ppo_sampled": 0.7,
        "threshold": 0.5,
        "all_rows_dp": 0.9,
        "expert": 2.0,
    }
    named = default_comparisons(means)
    assert named == {
        "ppo_vs_sft": ("ppo", "sft"),
        "ppo_vs_random": ("ppo", "random"),
        "ppo_vs_threshold": ("ppo", "threshold"),
        "ppo_vs_all_rows_dp": ("ppo", "all_rows_dp"),
        "ppo_vs_expert": ("ppo", "expert"),
        "sft_vs_random": ("sft", "random"),
        "ppo_vs_best_rival": ("ppo", "threshold"),
    }


def test_without_ppo_the_default_comparisons_judge_sft() -> None:
    assert default_comparisons({"sft": 1.0, "random": 0.0}) == {"sft_vs_random": ("sft", "random")}
    assert default_comparisons({"random": 0.0}) == {}


def test_comparisons_can_be_chosen(episode: MakeEpisode) -> None:
    both = {name: [episode(name, 0, ["right"])] for name in ("a", "b")}
    assert list(quick(both, comparisons=[("a", "b")])["comparisons"]) == ["a_vs_b"]


def test_best_and_worst_rows_show_where_the_policies_part(episode: MakeEpisode) -> None:
    rows = quick(
        {
            "sft": [
                episode("sft", 0, ["right", "wrong"]),
                episode("sft", 1, ["right"]),
                episode("sft", 2, ["wrong"]),
            ],
            "ppo": [
                episode("ppo", 0, ["right", "right"]),
                episode("ppo", 1, ["hand_over"]),
                episode("ppo", 2, ["wrong"]),
            ],
        }
    )["rows"]
    assert [row["row"] for row in rows["best"]] == [0]
    assert rows["best"][0]["difference"] == 1.5
    assert rows["best"][0]["parting"] == {
        "step": 2,
        "context": "question 1",
        "ppo": "the right reply",
        "sft": "a wrong | reply",
        "expert": "the right reply",
    }
    assert [row["row"] for row in rows["worst"]] == [1]
    assert rows["worst"][0]["parting"]["ppo"] == "hand_over"


def test_rows_without_texts_still_tell_the_actions(episode: MakeEpisode) -> None:
    bare = [
        replace(e, steps=tuple(replace(s, observation=None) for s in e.steps))
        for e in (episode("ppo", 0, ["right"]), episode("sft", 0, ["wrong"]))
    ]
    (row,) = quick({"ppo": bare[:1], "sft": bare[1:]})["rows"]["best"]
    assert row["parting"] == {
        "step": 1,
        "context": None,
        "ppo": "candidate 0",
        "sft": "candidate 1",
        "expert": "0",
    }


def test_a_text_that_no_file_can_hold_is_mended(episode: MakeEpisode) -> None:
    ours, theirs = episode("ppo", 0, ["right"]), episode("sft", 0, ["wrong"])
    steps = (
        replace(ours.steps[0], observation={"context": ["a\udc80"], "candidates": ["x" * 999]}),
    )
    (row,) = quick({"ppo": [replace(ours, steps=steps)], "sft": [theirs]})["rows"]["best"]
    assert row["parting"]["context"] == "a?"
    assert len(row["parting"]["ppo"]) == 300
    assert row["parting"]["sft"] == "candidate 1"


def test_two_ways_to_the_same_actions_have_no_parting(episode: MakeEpisode) -> None:
    ours, theirs = episode("ppo", 0, ["right", "right"]), episode("sft", 0, ["right"])
    (row,) = quick({"ppo": [ours], "sft": [theirs]})["rows"]["best"]
    assert row["parting"] is None


def test_runs_on_the_same_rows_in_other_groups_are_not_averaged(episode: MakeEpisode) -> None:
    first = returns_of("ppo", [episode("ppo", 0, ["right"], group="a")])
    other = returns_of("ppo", [episode("ppo", 0, ["right"], group="b")])
    with pytest.raises(RunError, match="grouped differently"):
        mean_over_seeds([first, other])
