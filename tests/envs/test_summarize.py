"""Abstractive summarization, on documents worked out by hand."""

import json

import gymnasium
import numpy as np
import pytest

from strategy_rl_envs.kit.errors import DataError, SettingError

ID = "strategy_rl_envs:strategy_rl/Summarize-v0"
DOCUMENT = {
    "sentences": ["Red foxes jump high.", "They sleep by day.", "Hens fear them."],
    "references": ["Foxes jump high", "High jumps of foxes"],
}


@pytest.fixture
def make(tmp_path):
    """Make the environment on given rows, the same in every split."""

    def made(*rows, **kwargs):
        rows = [{"id": str(number), **row} for number, row in enumerate(rows)]
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        for split in ("train", "validation", "test"):
            (tmp_path / f"{split}.jsonl").write_text(content, encoding="utf-8")
        return gymnasium.make(ID, data=str(tmp_path), **kwargs).unwrapped

    return made


def test_the_prompt_shows_title_and_first_sentences(make):
    env = make(DOCUMENT, DOCUMENT | {"title": "Of foxes"}, max_sentences=2)
    asked = "Summarize in one short line: "
    assert env.reset(options={"row": 0})[0] == f"{asked}Red foxes jump high. They sleep by day."
    obs, info = env.reset(options={"row": 1})
    assert obs == f"{asked}Of foxes Red foxes jump high. They sleep by day."
    assert info == {"row": 1, "expert_action": "Foxes jump high"}


def test_a_chinese_document_is_asked_for_in_chinese_and_a_long_one_is_cut(make):
    row = {"sentences": ["红狐跳高。", "母鸡睡觉。"], "references": ["狐"], "lang": "zh"}
    env = make(row, max_source=7)
    assert env.reset(options={"row": 0})[0] == "用一句话概括：红狐跳高。 母"


def test_the_reward_by_hand(make):
    env = make(DOCUMENT)
    env.reset(options={"row": 0})
    _, reward, terminated, truncated, info = env.step("Foxes sleep high")
    # Two of three words of the first reference in order, both ways; no word stands twice.
    assert reward == pytest.approx(2 / 3)
    assert (terminated, truncated) == (True, False)
    assert info["reward_values"]["rouge_l"] == pytest.approx(2 / 3)
    assert info["reward_values"]["copy_ratio"] == 0
    assert info["reward_components"]["copy_ratio"] == 0
    assert info["reward_values"]["compression"] == pytest.approx(1 - 3 / 8)


def test_the_best_of_several_references_counts(make):
    env = make(DOCUMENT)
    for text in DOCUMENT["references"]:
        env.reset(options={"row": 0})
        assert env.step(text)[1] == pytest.approx(1)


@pytest.mark.parametrize("text", ["", "foxes " * 30])
def test_silence_and_repetition_earn_next_to_nothing(make, text):
    env = make(DOCUMENT)
    env.reset(options={"row": 0})
    assert env.step(text)[1] <= 0


def test_a_step_needs_a_reset_and_an_answer_is_cut(make):
    env = make(DOCUMENT, max_chars=5)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("Foxes")
    assert env.reset(options={"row": 0})[1]["expert_action"] == "Foxes"
    assert env.step("Foxes jump")[4]["reward_inputs"]["output"] == "Foxes"


def test_baselines_see_the_document_alone(make):
    env = make(DOCUMENT)
    obs, _ = env.reset(options={"row": 0})
    rng = np.random.default_rng(0)
    assert env.heuristics["lead"](obs, rng) == "Red foxes jump high."
    # "Red foxes jump high" holds the reference: 3 of 4 words, better than 2 of 3 or 3 of 5.
    assert env.heuristics["first_words"](obs, rng) == "Red foxes jump high."


def test_real_summaries_of_the_sample_are_better_than_every_baseline():
    env = gymnasium.make(ID, split="test").unwrapped
    rng = np.random.default_rng(0)
    means = {}
    for name, rule in (("expert", None), *env.heuristics.items()):
        rewards = []
        for row in range(env.num_rows):
            obs, info = env.reset(options={"row": row})
            text = info["expert_action"] if rule is None else rule(obs, rng)
            rewards.append(env.step(text)[1])
        means[name] = np.mean(rewards)
    assert means["expert"] == pytest.approx(1, abs=0.01)
    assert max(means["lead"], means["first_words"]) < 0.5


@pytest.mark.parametrize("setting", [{"max_sentences": 0}, {"max_source": 0}, {"split": "dev"}])
def test_a_wrong_setting_is_refused(make, setting):
    with pytest.raises(SettingError, match=next(iter(setting))):
        make(DOCUMENT, **setting)


def test_a_wrong_row_is_refused_with_its_line(make):
    with pytest.raises(DataError, match=r"train.jsonl:2: sentences"):
        make(DOCUMENT, DOCUMENT | {"sentences": "one text"})
