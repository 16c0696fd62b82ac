"""`check-reward` and `rescore`: what they print and write, and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from strategy_rl import Experiment, run
from strategy_rl.actors import RandomActor
from strategy_rl.cli import main
from strategy_rl.cli_rescore import rescore
from strategy_rl.cli_rewards import check_reward, read_reward
from strategy_rl.env import EnvSlots
from strategy_rl.episodes import (
    Episode,
    Step,
    facts_from_json,
    facts_to_json,
    read_episodes,
    write_episodes,
)
from strategy_rl.errors import EnvironmentFault, InputError, RunError
from strategy_rl.evaluation import Label, play
from strategy_rl.rescoring import facts_of, ranks
from strategy_rl.rescoring import rescore as score_again
from strategy_rl.rollout import EpisodePlan
from strategy_rl_envs.rewards import WeightedReward
from strategy_rl_envs.rewards.composition import Score

TASK = "strategy_rl_envs:strategy_rl/TinyReply-v0"
SUMMARIZATION = "strategy_rl_envs:strategy_rl/Summarization-v0"
CONFIG = f"name: tiny\ntask:\n  id: {TASK}\n  settings: {{num_rows: 24}}\n"
PYTHON = """
from strategy_rl_envs import reward


@reward
def {name}(output: str, *, per: int = 10) -> float:
    return {value}
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def text_file(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def step(reward: float, **facts: object) -> Step:
    return Step(0, "0", reward, {}, reward_inputs=dict(facts) or None)


def episode(policy: str, row: int, *steps: Step) -> Episode:
    head = (f"test-{policy}-{row}", "evaluate", 0, 0, "test", row, None, policy, True)
    return Episode(*head, steps)


def tiny_step(right: bool, handed_over: bool = False) -> Step:
    facts = {"right": right, "handed_over": handed_over, "ended": True, "output": "a b"}
    return step(1.0 if right else -1.0, **facts, reference="a b", action=0, row=0)


def run_folder(tmp_path: Path, episodes: Sequence[Episode]) -> Path:
    folder = tmp_path / "run"
    (folder / "episodes").mkdir(parents=True)
    text_file(folder / "config.yaml", CONFIG)
    for policy in {e.policy for e in episodes}:
        path = folder / "episodes" / f"test-{policy}.jsonl"
        write_episodes(path, [e for e in episodes if e.policy == policy], {"task": TASK})
    return folder


def test_the_check_up_of_a_sound_task_ends_with_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_reward(TASK, steps=100) == 0
    printed = capsys.readouterr().out
    assert "0 failures" in printed
    assert "written: check-reward.json" in printed
    written = json.loads((tmp_path / "check-reward.json").read_text("utf-8"))
    assert (written["target"], written["faults"]) == (TASK, [])


def test_a_faulty_reward_of_an_experiment_file_ends_with_6(tmp_path: Path) -> None:
    experiment = text_file(tmp_path / "e.yaml", CONFIG + "reward: [{name: constant}]\n")
    out = tmp_path / "c.json"
    assert check_reward(str(experiment), steps=100, out=out) == 6
    assert "constant on these rows" in json.loads(out.read_text("utf-8"))["faults"]


def test_a_python_file_takes_the_place_of_the_reward(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = PYTHON.format(name="wordy_in_a_file", value="len(output.split()) / per")
    file = text_file(tmp_path / "wordy_rewards_of_mine.py", code)
    assert check_reward(TASK, reward=file, steps=100) == 6
    printed = capsys.readouterr().out
    assert "reward: wordy_in_a_file" in printed
    assert "rewards length" in printed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: hand_over", "expected a list"),
        ("[]", "expected a list"),
        ("- name: hand_over\n  wieght: 2", "wieght"),
        ("- {name: hand_over, weight: much}", "weight"),
        ("- [", "cannot be read"),
    ],
)
def test_a_reward_file_that_cannot_be_used_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_reward(text_file(tmp_path / "r.yaml", text))


def test_a_reward_file_holds_names_or_whole_terms(tmp_path: Path) -> None:
    file = text_file(tmp_path / "r.yaml", "- right_answer\n- {name: hand_over, weight: 2}\n")
    assert [(term.name, term.weight) for term in read_reward(file)] == [
        ("right_answer", 1.0),
        ("hand_over", 2.0),
    ]


def test_a_python_file_without_a_reward_function_is_refused(tmp_path: Path) -> None:
    file = text_file(tmp_path / "no_rewards_in_this_file.py", "X = 1\n")
    with pytest.raises(InputError, match="no function under @reward"):
        read_reward(file)


@pytest.mark.parametrize("target", ["no_such_package:No/Task-v0", "missing.yaml"])
def test_a_target_that_does_not_exist_is_refused(target: str) -> None:
    with pytest.raises(InputError, match=r"no_such_package|missing\.yaml"):
        check_reward(target)


def test_a_task_without_a_reward_composition_is_refused() -> None:
    with pytest.raises(InputError, match="WeightedReward"):
        check_reward("CartPole-v1", steps=20)


def test_a_name_that_is_unknown_to_the_task_is_refused(tmp_path: Path) -> None:
    file = text_file(tmp_path / "r.yaml", "- right_anwser\n")
    with pytest.raises(InputError, match="did you mean 'right_answer'"):
        check_reward(TASK, reward=file, steps=20)


def test_rescoring_gives_hand_worked_differences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice the pay for right, nothing for wrong: ppo 1 -> 2 and -1 -> 0, sft -1 -> 0 twice."""
    folder = run_folder(
        tmp_path,
        [
            episode("ppo", 0, tiny_step(True)),
            episode("ppo", 1, tiny_step(False)),
            episode("sft", 0, tiny_step(False)),
            episode("sft", 1, tiny_step(False)),
            episode("random", 0, step(0.5)),
        ],
    )
    file = text_file(tmp_path / "double.yaml", "- {name: right_answer, weight: 2}\n")
    assert rescore(folder, reward=file, samples=50) == 0
    report = json.loads((folder / "rescore-double.json").read_text("utf-8"))
    ppo, sft = report["policies"]["ppo"], report["policies"]["sft"]
    assert (ppo["before"], ppo["after"], ppo["mean_difference"]) == (0.0, 1.0, 1.0)
    assert ppo["ci95"] == [1.0, 1.0]
    assert ppo["most_changed_rows"] == [
        {"row": 0, "before": 1.0, "after": 2.0},
        {"row": 1, "before": -1.0, "after": 0.0},
    ]
    assert (sft["after"], sft["rank_before"], sft["rank_after"]) == (0.0, 2, 2)
    assert report["not_scored"] == {"random": 1}
    printed = capsys.readouterr().out
    assert "policies not scored (no reward_inputs, or all dropped): random 1" in printed
    assert max(map(len, printed.splitlines()[:-1])) <= 110


def test_the_reward_of_the_run_itself_changes_nothing(tmp_path: Path) -> None:
    """Trained for real: what is stored must be what the reward was given."""
    fields = {
        "name": "tiny",
        "task": {"id": TASK, "settings": {"num_rows": 24}},
        "backbone": {"model": "random:tiny", "cache_dir": str(tmp_path / "cache")},
        "sft": {"epochs": 1},
        "ppo": {"iterations": 1, "episodes_per_iteration": 8},
        "evaluation": {"episodes": 6, "rivals": [], "bootstrap_samples": 50},
        "logging": {"tensorboard": False, "digest_episodes": 0},
    }
    folder = run(Experiment.model_validate(fields), out=tmp_path / "run").path
    same = text_file(
        tmp_path / "same.yaml",
        "- right_answer\n- wrong_answer\n- {name: hand_over, weight: 0.25}\n",
    )
    assert rescore(folder, reward=same, samples=50) == 0
    report = json.loads((folder / "rescore-same.json").read_text("utf-8"))
    assert set(report["policies"]) == {"sft", "ppo"}
    for policy in report["policies"].values():
        assert policy["before"] == policy["after"]
        assert policy["most_changed_rows"] == []
    out, overlap = tmp_path / "c.json", text_file(tmp_path / "overlap.yaml", "- rouge_l\n")
    assert check_reward(TASK, run=folder, reward=overlap, steps=60, out=out) == 0
    written = json.loads(out.read_text("utf-8"))
    assert any("kept one episode a row" in note for note in written["notes"])
    greedy = next(check for check in written["checks"] if check["check"] == "10")
    assert 0 <= greedy["value"] < 1


def test_rescoring_a_run_that_kept_no_inputs_is_refused(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, [episode("ppo", 0, step(1.0))])
    file = text_file(tmp_path / "r.yaml", "- right_answer\n")
    with pytest.raises(RunError, match="full_episodes"):
        rescore(folder, reward=file)


def test_a_reward_that_fails_on_stored_episodes_ends_with_6(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, [episode("ppo", 0, tiny_step(True))])
    code = PYTHON.format(name="fails_on_stored", value="1 / 0")
    file = text_file(tmp_path / "failing_rewards_of_mine.py", code)
    with pytest.raises(EnvironmentFault, match="ZeroDivisionError"):
        rescore(folder, reward=file)


def test_episodes_that_a_reward_drops_are_counted() -> None:
    def picky(output: str) -> float:
        if output == "bad":
            raise ValueError(output)
        return 1.0

    reward = WeightedReward({"picky": picky}, [{"name": "picky", "on_error": "drop"}], ["output"])
    episodes = [
        episode("ppo", 0, step(0.0, output="good")),
        episode("ppo", 1, step(0.0, output="good"), step(0.0, output="bad")),
    ]
    found, silent = score_again([{"ppo": episodes}], reward.score_many)
    assert (found["ppo"].episodes, found["ppo"].dropped, found["ppo"].unscored) == (1, 1, 0)
    assert found["ppo"].after.values.tolist() == [1.0]
    assert silent == {}


def test_rows_are_averaged_over_seeds() -> None:
    """Row 0 earns 1 under one seed and 0 under the other; both earned 0 before."""
    reward = WeightedReward({"said": lambda output: float(output == "yes")}, ["said"], ["output"])
    runs = [{"ppo": [episode("ppo", 0, step(0.0, output=text))]} for text in ("yes", "no")]
    found, _ = score_again(runs, reward.score_many)
    assert found["ppo"].after.values.tolist() == [0.5]
    assert (found["ppo"].episodes, found["ppo"].before.mean) == (2, 0.0)


def test_an_episode_with_a_silent_step_is_counted_and_left_out() -> None:
    reward = WeightedReward({"one": lambda output: 1.0}, ["one"], ["output"])
    whole, silent = step(0.0, output="a"), step(5.0)
    episodes = [episode("ppo", 0, whole, whole), episode("ppo", 1, whole, silent)]
    found, _ = score_again([{"ppo": episodes}], reward.score_many)
    assert (found["ppo"].unscored, found["ppo"].after.rows) == (1, (0,))
    assert found["ppo"].to_json(20)["mean_difference"] == 2.0


def test_texts_in_a_row_are_tuples_again_after_they_were_stored() -> None:
    stored = step(0.0, context=["a", "b"], references=["a"], output="c")
    assert facts_of(stored) == {"context": ("a", "b"), "references": ["a"], "output": "c"}


def test_only_facts_that_were_tuples_are_tuples_again(tmp_path: Path) -> None:
    facts = {"picked": ["a"], "references": ("b",), "flags": (), "nested": {"x": [1]}, "row": 3}
    stored = replace(step(0.0), reward_inputs=facts_to_json(facts))
    write_episodes(tmp_path / "e.jsonl", [episode("ppo", 0, stored)], {})
    again = read_episodes(tmp_path / "e.jsonl")[1][0].steps[0]
    assert facts_of(again) == facts


def test_a_played_step_gives_its_reward_the_very_facts_again(tmp_path: Path) -> None:
    """The texts of a document are tuples; a fact of the user's own is a list."""
    given: list[dict[str, object]] = []

    class Watched(gymnasium.Wrapper[Any, Any, Any, Any]):
        def step(self, action: Any) -> Any:
            obs, reward, ended, cut, info = self.env.step(action)
            info["reward_inputs"] = {**info["reward_inputs"], "own": ["a", "b"]}
            given.append(info["reward_inputs"])
            return obs, reward, ended, cut, info

    slots = EnvSlots(lambda: Watched(gymnasium.make(SUMMARIZATION, disable_env_checker=True)), 1)
    actor, rng = RandomActor(slots.action_space, 1), np.random.default_rng(0)
    plans = [EpisodePlan(0, 0)]
    episodes = play(actor, slots, plans, Label("random", "test", 0), rng=rng, keep_texts=True)
    write_episodes(tmp_path / "e.jsonl", episodes, {})
    (again,) = read_episodes(tmp_path / "e.jsonl")[1]
    assert isinstance(given[0]["references"], tuple)
    assert [facts_of(step) for step in again.steps] == given


def test_facts_that_are_all_lists_stay_lists() -> None:
    assert facts_from_json(facts_to_json({"picked": ["a"]}) or {}) == {"picked": ["a"]}


def test_a_fact_that_json_cannot_hold_is_left_out_and_named() -> None:
    with pytest.warns(UserWarning, match="cannot be written as JSON") as told:
        stored = facts_to_json({"tree": object(), "deep": {"x": {1, 2}}, "row": np.int64(3)})
    assert stored == {"row": 3, "_tuples": []}
    assert ["'tree'" in str(told[0].message), "'deep'" in str(told[1].message)] == [True, True]


def test_a_step_that_gives_no_facts_is_stored_as_silent() -> None:
    assert facts_to_json(None) is None
    assert facts_to_json({}) == {}


@pytest.mark.parametrize("picked", [["a"], ("a",)])
def test_a_reward_sees_the_container_that_it_saw_in_training(picked: Sequence[str]) -> None:
    """The function pays by the type of what it is given, and knows no other fact."""
    seen: list[set[str]] = []

    def score_many(steps: Sequence[dict[str, object]]) -> list[Score]:
        seen.extend(set(given) for given in steps)
        return composition.score_many(steps)

    pays = {"kind": lambda picked: float(isinstance(picked, list))}
    composition = WeightedReward(pays, ["kind"], ["picked"])
    before = composition.score({"picked": picked}).reward
    stored = replace(step(before), reward_inputs=facts_to_json({"picked": picked}))
    found, _ = score_again([{"ppo": [episode("ppo", 0, stored)]}], score_many)
    assert found["ppo"].after.mean == before
    assert seen == [{"picked"}]


def test_a_file_that_a_run_names_is_run_only_where_it_is_trusted(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, [episode("ppo", 0, tiny_step(True))])
    code = PYTHON.format(name="from_elsewhere", value="1.0")
    file = text_file(tmp_path / "rewards_from_elsewhere.py", code)
    text_file(folder / "config.yaml", f"{CONFIG}imports: [{file}]\n")
    terms = text_file(tmp_path / "r.yaml", "- from_elsewhere\n")
    with pytest.raises(InputError, match="--trust-imports"):
        rescore(folder, reward=terms, samples=20)
    assert rescore(folder, reward=terms, samples=20, trust_imports=True) == 0


def test_the_verb_passes_on_that_a_run_is_trusted(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, [episode("ppo", 0, tiny_step(True))])
    code = PYTHON.format(name="from_afar", value="1.0")
    file = text_file(tmp_path / "rewards_from_afar.py", code)
    text_file(folder / "config.yaml", f"{CONFIG}imports: [{file}]\n")
    terms = text_file(tmp_path / "r.yaml", "- from_afar\n")
    words = ["rescore", str(folder), "--reward", str(terms)]
    assert main(words) == InputError.exit_code
    assert main([*words, "--trust-imports"]) == 0


def test_a_running_scale_cannot_be_rescored(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, [episode("ppo", 0, tiny_step(True))])
    running = text_file(
        tmp_path / "r.yaml", "- wrong_answer\n- {name: right_answer, scale: running}\n"
    )
    with pytest.raises(InputError, match=r"running of right_answer .*give scale: {shift"):
        rescore(folder, reward=running, samples=20)
    fixed = text_file(tmp_path / "f.yaml", "- {name: right_answer, scale: {shift: 1, divide: 2}}\n")
    assert rescore(folder, reward=fixed, samples=20) == 0


def test_level_policies_share_a_rank() -> None:
    assert ranks({"a": 1.0, "b": 2.0, "c": 2.0, "d": 0.0}) == {"a": 3, "b": 1, "c": 1, "d": 4}
