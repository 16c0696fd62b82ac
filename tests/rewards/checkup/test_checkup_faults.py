"""The check-up names each planted fault and finds nothing wrong with a sound reward."""

from __future__ import annotations

import json
from typing import Any

import gymnasium
import pytest
from planted import FACTS, REWARDS, Dial, Headlines

from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.rewards import WeightedReward
from strategy_rl_envs.rewards.checkup import CheckUp, Finding, check_up
from strategy_rl_envs.rewards.checkup.report import WIDTH

PLANTED: dict[str, tuple[list[Any], str]] = {
    "rewards empty output": (["brevity"], "rewards empty output"),
    "rewards copying the source": (["copying"], "rewards copying the source"),
    "rewards length": (["length"], "rewards length"),
    "repetition pays": (["repetition"], "repetition pays"),
    "constant on these rows": (["constant"], "constant on these rows"),
    "non-deterministic": (["noisy"], "non-deterministic"),
    "NaN on empty": (["nan_on_empty"], "NaN or error on empty"),
    "scale 1e6": (["huge"], "scale: returns spread by 6e+05"),
    "one component drowning the others": (
        ["overlap", {"name": "exact", "weight": 50.0}],
        "exact drowns the other components",
    ),
    "reseeds the process": (["seeding"], "changes what is not its own"),
    "keeps a state": (["grudging"], "depends on other steps"),
    "fails on a batch": (["alone_only"], "fails on several steps at once"),
    "NaN in a batch": (["holes"], "fails on several steps at once"),
    "drops a batch": (
        [{"name": "alone_only", "on_error": "drop"}],
        "fails on several steps at once",
    ),
    "outside its declared range": (["boastful"], "leaves its declared range"),
}
OUTPUT_CHECKS = {str(number) for number in range(8, 27)} | {"5", "29"}


def checked(*reward: Any) -> CheckUp:
    return check_up(Headlines(list(reward)), steps=300)


def found(result: CheckUp, check: str) -> Finding:
    return next(finding for finding in result.findings if finding.check == check)


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_a_failure_by_its_name(fault: str) -> None:
    reward, name = PLANTED[fault]
    result = checked(*reward)
    assert name in result.faults
    assert result.failed


@pytest.mark.parametrize(
    "fault", ["non-deterministic", "scale 1e6", "one component drowning the others"]
)
def test_a_fault_beside_a_sound_reward_is_the_only_one_named(fault: str) -> None:
    reward, name = PLANTED[fault]
    assert checked(*reward).faults == (name,)


@pytest.mark.parametrize("reward", [["overlap"], ["right_only"], ["exact"], ["rouge_l"]])
def test_a_sound_reward_passes(reward: list[Any]) -> None:
    result = checked(*reward)
    assert result.faults == ()
    assert not result.failed


@pytest.mark.parametrize("task", ["TinyReply", "ReplySelection"])
def test_the_default_reward_of_a_shipped_task_passes(task: str) -> None:
    env = gymnasium.make(f"strategy_rl_envs:strategy_rl/{task}-v0", disable_env_checker=True)
    result = check_up(env, steps=300)
    assert result.faults == ()
    assert result.warnings == ()


def test_checks_of_outputs_do_not_apply_to_a_reward_that_reads_none() -> None:
    result = checked("right_only")
    verdicts = {f.check: f.verdict for f in result.findings if f.check in OUTPUT_CHECKS}
    assert verdicts == dict.fromkeys(OUTPUT_CHECKS, "n/a")
    assert "not applicable: the reward reads no output (5, 8-26, 29)" in result.table()


def test_a_bonus_for_the_right_answer_is_not_given_to_scripted_outputs() -> None:
    """`right` follows from the output, so an empty output is not paid as the right answer."""
    result = checked("right_only", {"name": "brevity", "weight": 0.2})
    assert result.scores["empty"].components == pytest.approx({"right_only": 0.0, "brevity": 0.2})
    assert result.scores["reference"].components["right_only"] == 1.0
    assert result.faults == ()


def test_the_score_of_a_strategy_is_its_mean_reward() -> None:
    """Headlines have 6 words: an empty one gains 20/20 where the reference gains 14/20."""
    result = checked("brevity")
    assert result.scores["reference"].score == pytest.approx(0.7)
    assert result.scores["empty"].score == pytest.approx(1.0)
    assert found(result, "17").value == pytest.approx(-0.3 / 0.7)


def test_repetition_is_judged_by_what_it_adds_to_the_reference() -> None:
    """Each word of the reference counts as often as it is said: five times over earns 5."""
    result = checked("repetition")
    assert result.scores["reference repeated"].score == pytest.approx(5.0)


def test_a_near_miss_of_exact_match_is_a_warning_not_a_failure() -> None:
    finding = found(checked("exact"), "9")
    assert (finding.verdict, finding.value) == ("warn", 0.0)


def test_the_worst_rows_of_a_failure_are_rows_of_the_task() -> None:
    rows = found(checked("length"), "21").rows
    assert rows
    assert set(rows) <= set(range(40))


def test_the_same_seed_gives_the_same_findings() -> None:
    results = [checked("overlap").to_json() for _ in range(2)]
    for result in results:
        result["checks"] = [check for check in result["checks"] if check["check"] != "6"]
    assert results[0] == results[1]


@pytest.mark.parametrize("reward", ["overlap", "length", "nan_on_empty", "right_only"])
def test_the_table_fits_the_screen_and_the_json_is_strict(reward: str) -> None:
    result = checked(reward)
    assert max(map(len, result.table().splitlines())) <= WIDTH
    written = json.loads(json.dumps(result.to_json(), allow_nan=False))
    numbers = [*map(str, range(1, 35)), "P1", "P2", "P3", "P4"]
    assert sorted(check["check"] for check in written["checks"]) == sorted(numbers)
    assert all(check["meaning"] for check in written["checks"])


def test_a_reward_that_always_fails_is_named_and_does_not_end_the_check_up() -> None:
    result = checked("broken")
    assert "fails on steps of the task" in result.faults
    assert "no idea" in found(result, "1").meaning


@pytest.mark.parametrize("name", ["alone_only", "holes"])
def test_a_failure_on_several_steps_is_named_once(name: str) -> None:
    result = checked(name)
    assert result.faults == ("fails on several steps at once",)
    assert found(result, "1").verdict == "ok"
    assert "see check 3" in found(result, "4").meaning
    assert max(map(len, result.table().splitlines())) <= WIDTH


def test_steps_that_fail_alone_are_not_named_again_by_checks_3_and_4() -> None:
    result = checked("broken")
    assert [found(result, check).verdict for check in "134"] == ["fail", "n/a", "n/a"]


def test_a_probe_that_fails_where_no_other_check_does_is_a_failure() -> None:
    class Unprobed(WeightedReward):
        def probe(self, facts: Any) -> Any:
            raise ValueError("not twice")

    env = Headlines(["overlap"])
    env.reward = Unprobed(REWARDS, ["overlap"], FACTS)
    result = check_up(env, steps=100)
    assert result.faults == ("fails when probed",)
    assert found(result, "4").verdict == "fail"
    assert "not twice" in found(result, "4").meaning


def test_outputs_on_which_the_reward_fails_are_not_called_ok() -> None:
    result = checked("choosy")
    assert found(result, "21").verdict == "n/a"
    assert "the reward fails on it" in found(result, "21").meaning
    assert found(result, "14").verdict == "ok"
    assert any(fault.startswith("NaN or error on whitespace") for fault in result.faults)


def test_a_task_of_numbers_is_checked_as_far_as_that_goes() -> None:
    result = check_up(Dial(["turned"]), steps=60)
    assert result.faults == ()
    assert "no expert" in found(result, "P").meaning
    assert "the reward reads no output" in found(result, "14").meaning
    assert found(result, "27").verdict == "ok"
    assert found(result, "31").value == 3.0


def test_a_reward_of_outputs_needs_references_to_be_ordered() -> None:
    assert "no reference" in found(check_up(Dial(["output"]), steps=60), "14").meaning


def test_episodes_that_a_reward_drops_are_a_failure() -> None:
    """Action 0 divides by 0; a step that is dropped must not pass for one that earns 0."""
    result = check_up(Dial([{"name": "dropping", "on_error": "drop"}]), steps=60)
    assert "fails on steps of the task" in result.faults
    assert "ZeroDivisionError" in found(result, "1").meaning


def test_a_running_scale_is_said_to_be_left_out() -> None:
    result = checked({"name": "overlap", "scale": "running"})
    assert any("scale: running is left out here" in note for note in result.notes)


def test_a_task_without_a_reward_composition_is_refused() -> None:
    env = gymnasium.make("CartPole-v1")
    with pytest.raises(SettingError, match="no attribute `reward`"):
        check_up(env)
