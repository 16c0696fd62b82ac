"""Tasks out of a data file alone: what is read, shared out, shown, paid and refused."""

import json

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategy_rl_envs import reward
from strategy_rl_envs.kit.errors import DataError, SettingError
from strategy_rl_envs.kit.splits import share_groups
from strategy_rl_envs.testing import check_env_contract

SELECTION = "strategy_rl_envs:strategy_rl/Selection-v0"
CLASSIFICATION = "strategy_rl_envs:strategy_rl/Classification-v0"
SPLITS = ("train", "validation", "test")
FIELDS = {"context": "question", "candidates": "options", "label": "answer"}


def question(number, answer=1, **more):
    options = [f"wrong {number}", f"right {number}", f"no {number}"]
    return {"question": f"what is {number} ?", "options": options, "answer": answer, **more}


def mail(number, label=None, **more):
    label = ("billing", "delivery")[number % 2] if label is None else label
    return {"body": f"my {label} trouble {number}", "topic": label, **more}


@pytest.fixture
def file(tmp_path):
    """Write rows to one JSONL file and give its name."""

    def write(rows, name="all.jsonl"):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / name).write_text("".join(lines), encoding="utf-8")
        return str(tmp_path / name)

    return write


def select(data, split="train", **settings):
    return gymnasium.make(SELECTION, data=data, split=split, **{**FIELDS, **settings})


def classify(data, split="train", **settings):
    return gymnasium.make(
        CLASSIFICATION, data=data, split=split, **{"text": "body", "label": "topic", **settings}
    )


def play(env, action, row=0):
    obs, _ = env.reset(seed=0, options={"row": row})
    _, reward, ended, truncated, info = env.step(action)
    assert (ended, truncated) == (True, False)
    return obs, reward, info


@pytest.mark.parametrize("special", [(), ("abstain",)])
@pytest.mark.parametrize("env_id", [SELECTION, CLASSIFICATION])
def test_the_shipped_sample_keeps_the_contract_in_every_split(env_id, special):
    for split in SPLITS:
        check_env_contract(env_id, episodes=4, split=split, special_actions=special)


def test_a_row_of_the_users_file_is_one_decision_and_the_right_one_pays_one(file):
    env = select(file([question(n) for n in range(10)]))
    obs, reward, info = play(env, 1, row=3)
    assert (reward, info["reward_components"]) == (1.0, {"correct": 1.0})
    assert obs["candidates"][1].startswith("right")
    assert info["reward_inputs"]["output"] == info["reward_inputs"]["reference"]
    assert play(env, 0)[1] == 0.0
    assert env.reset(options={"row": 0})[1]["expert_action"] == 1


def test_the_label_may_be_the_text_of_the_candidate_and_in_csv_its_index(tmp_path, file):
    rows = [{**question(n), "answer": f"right {n}"} for n in range(6)]
    assert play(select(file(rows)), 1)[1] == 1.0
    lines = ["question,a,b,answer"] + [f"what is {n} ?,yes {n},no {n},1" for n in range(6)]
    (tmp_path / "all.csv").write_text("\n".join(lines) + "\n")
    env = select(str(tmp_path / "all.csv"), candidates=["a", "b"])
    obs, reward, _ = play(env, 1)
    assert (reward, obs["candidates"][1][:2]) == (1.0, "no")


def test_parquet_is_read_like_jsonl(tmp_path):
    import pyarrow
    from pyarrow import parquet

    rows = [question(n) for n in range(6)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "all.parquet")
    assert play(select(str(tmp_path / "all.parquet")), 1)[1] == 1.0


def test_several_fields_of_context_are_shown_in_their_order(file):
    rows = [question(n, history=["hello", "hi"]) for n in range(6)]
    obs, *_ = play(select(file(rows), context=["history", "question"]), 0)
    assert obs["context"][:2] == ("hello", "hi")
    assert obs["context"][2].startswith("what is")


def test_two_candidates_of_the_same_text_are_both_right(file):
    rows = [{**question(n), "options": ["a", "b", "a"], "answer": 0} for n in range(6)]
    assert play(select(file(rows)), 2)[1] == 1.0


def test_rows_with_fewer_candidates_mask_the_rest_and_a_masked_action_is_wrong(file):
    rows = [question(n) for n in range(9)]
    rows.append({**question(9), "options": ["a", "b", "c", "d", "e"]})
    env = select(file(rows), reward=[{"name": "correct"}, {"name": "wrong"}])
    assert env.action_space == gymnasium.spaces.Discrete(5)
    counts = [env.reset(options={"row": row})[0] for row in range(env.unwrapped.num_rows)]
    assert all(sum(obs["action_mask"]) == len(obs["candidates"]) for obs in counts)
    row = next(n for n, obs in enumerate(counts) if len(obs["candidates"]) == 3)
    assert play(env, 4, row)[1] == -1.0


def test_abstaining_has_a_price_and_the_prices_are_the_users(file):
    data = file([question(n) for n in range(6)])
    env = select(data, special_actions=["abstain"])
    assert env.unwrapped.special_actions == ("abstain",)
    prices = [play(env, action)[1] for action in (1, 0, 3)]
    assert prices == [1.0, -1.0, -0.25]
    terms = [{"name": "correct", "weight": 2.0}, {"name": "abstained", "weight": 0.5}]
    env = select(data, special_actions=["abstain"], reward=terms)
    assert [play(env, action)[1] for action in (1, 0, 3)] == [2.0, 0.0, -0.5]
    assert play(env, 3)[2]["reward_inputs"]["special"] == "abstain"


def test_a_users_reward_function_gets_fields_of_the_row(file):
    @reward(name="test_from_data_profit")
    def profit(correct: bool, margin: float, output: str, *, cost: float = 1.0) -> float:
        return margin * correct - cost * len(output.split())

    data = file([question(n, margin=5.0) for n in range(6)])
    env = select(data, reward_fields=["margin"], reward=[{"name": "test_from_data_profit"}])
    assert play(env, 1)[1] == 5.0 - 2
    assert play(env, 0)[1] == -2
    assert play(env, 0)[2]["reward_inputs"]["margin"] == 5.0


def test_a_null_field_reaches_the_reward_function_as_none_and_a_missing_one_is_a_fault(file):
    data = file([question(n, margin=None) for n in range(6)])
    assert play(select(data, reward_fields=["margin"]), 0)[2]["reward_inputs"]["margin"] is None
    with pytest.raises(DataError, match=r":1: margins: the field is missing; .*mean 'margin'"):
        select(data, reward_fields=["margins"])


def test_classes_are_those_of_the_training_rows_by_letter_or_by_size(file):
    env = classify(file([mail(n) for n in range(20)]))
    obs, reward, info = play(env, 1)
    assert info["reward_inputs"]["candidates"] == ("billing", "delivery")
    assert reward == float("delivery" in obs["body"])
    numbers = classify(file([mail(n, label=(2, 10)[n % 2]) for n in range(20)], "b.jsonl"))
    assert play(numbers, 0)[2]["reward_inputs"]["candidates"] == ("2", "10")
    flags = classify(file([mail(n, label=n % 2 == 0) for n in range(20)], "c.jsonl"))
    assert play(flags, 0)[2]["reward_inputs"]["candidates"] == ("false", "true")


def test_given_classes_fix_the_order_of_the_actions(file):
    env = classify(file([mail(n) for n in range(20)]), classes=["returns", "delivery", "billing"])
    assert env.action_space == gymnasium.spaces.Discrete(3)
    assert env.reset(options={"row": 0})[1]["expert_action"] in (1, 2)


def test_a_label_that_is_no_class_is_named_with_its_line_and_the_nearest_class(file, tmp_path):
    for split in SPLITS:
        file([mail(n) for n in range(8)], f"{split}.jsonl")
    file([mail(0), mail(1, label="bilings")], "test.jsonl")
    with pytest.raises(DataError, match=r"test.jsonl:2: topic: 'bilings'.*mean 'billing'"):
        classify(str(tmp_path), split="test")


@pytest.mark.parametrize("label", ["same", None])
def test_a_label_that_tells_nothing_apart_or_every_row_is_refused(file, label):
    rows = [mail(n, label=label or f"only {n}") for n in range(40)]
    with pytest.raises(DataError, match=r"topic: \d+ distinct value"):
        classify(file(rows))


def test_several_text_fields_are_shown_each_under_its_name(file):
    env = classify(file([mail(n, subject=f"s {n}") for n in range(20)]), text=["subject", "body"])
    assert list(env.observation_space.spaces) == ["body", "subject"]
    assert play(env, 0)[0]["subject"].startswith("s ")
    with pytest.raises(SettingError, match="rename the field"):
        classify(file([mail(n, candidates="x") for n in range(20)]), text="candidates")


def test_a_folder_and_a_pattern_name_a_file_for_each_split(file, tmp_path):
    for number, split in enumerate(SPLITS):
        file([question(n) for n in range(number + 2)], f"{split}.jsonl")
    sizes = [select(str(tmp_path), split).unwrapped.num_rows for split in SPLITS]
    pattern = str(tmp_path / "{split}.jsonl")
    assert sizes == [select(pattern, split).unwrapped.num_rows for split in SPLITS] == [2, 3, 4]


def test_one_file_is_shared_out_by_shares_and_every_row_stands_in_one_split(file):
    data = file([question(n) for n in range(20)])
    shown = []
    for split in SPLITS:
        env = select(data, split, shares=[0.5, 0.25, 0.25])
        rows = range(env.unwrapped.num_rows)
        shown.append([env.reset(options={"row": row})[0]["context"] for row in rows])
    assert [len(rows) for rows in shown] == [10, 5, 5]
    together = sorted(context for rows in shown for context in rows)
    assert together == sorted((f"what is {n} ?",) for n in range(20))


def test_rows_of_a_group_stay_together_and_so_do_rows_with_the_same_texts(file):
    data = file([question(n, shop=f"shop {n % 6}") for n in range(36)])
    groups = [set(select(data, split, group="shop").unwrapped.row_groups) for split in SPLITS]
    assert sum(len(names) for names in groups) == len(set.union(*groups)) == 6
    twice = file([question(n % 12) for n in range(24)], "twice.jsonl")
    counts = [select(twice, split).unwrapped.num_rows for split in SPLITS]
    assert sum(counts) == 24
    assert all(count % 2 == 0 for count in counts)


@given(st.sets(st.text(st.characters(codec="utf-8"), max_size=5), min_size=3, max_size=60))
def test_each_split_gets_a_group_and_the_order_of_the_rows_does_not_matter(names):
    splits = share_groups(sorted(names), (0.8, 0.1, 0.1))
    assert splits == share_groups(sorted(names, reverse=True), (0.8, 0.1, 0.1))
    assert set(splits) == names
    assert set(splits.values()) == set(SPLITS)


def test_too_few_rows_to_share_out_are_refused(file):
    with pytest.raises(SettingError, match="2 distinct row"):
        select(file([question(0), question(1)]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, r":1: question: is null"),
        ({"question": 7}, r":1: question: expected a text, got int 7"),
        ({"options": "a"}, r":1: options: expected a list of texts"),
        ({"options": ["a", 2]}, r":1: options\[1\]: expected a text"),
        ({"options": []}, r":1: answer: there are no candidates"),
        ({"answer": 3}, r":1: answer: 3 is no candidate; they are 0 to 2"),
        ({"answer": -1}, r":1: answer: -1 is no candidate"),
        ({"answer": 1.0}, r":1: answer: expected a whole number"),
        ({"answer": "rigth 0"}, r":1: answer: 'rigth 0' is none.*mean 'right 0'"),
    ],
)
def test_a_wrong_field_is_refused_with_file_line_and_field(file, change, message):
    rows = [{**question(0), **change}, *(question(n) for n in range(1, 6))]
    with pytest.raises(DataError, match=message):
        select(file(rows))


@pytest.mark.parametrize("setting", ["context", "candidates", "label", "group"])
def test_a_wrong_name_of_a_field_is_refused_with_the_nearest(file, setting):
    wrong = {**FIELDS, "group": "answer"}[setting] + "s"
    with pytest.raises(DataError, match=f":1: {wrong}: the field is missing; did you mean"):
        select(file([question(n) for n in range(6)]), **{setting: wrong})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context": []}, "context: expected a field's name"),
        ({"candidates": ["a", "a"]}, "candidates: expected a field's name"),
        ({"label": 1}, "label: expected a field's name"),
        ({"shares": [0.5, 0.5]}, "shares: expected three numbers"),
        ({"shares": [0.8, 0.3, -0.1]}, "shares: expected three numbers"),
        ({"reward_fields": ["output"]}, "reward_fields: 'output'"),
        ({"reward_fields": ["a b"]}, "reward_fields: 'a b'"),
        ({"special_actions": ["x", "x"]}, "special_actions: expected"),
        ({"max_candidates": 2}, "max_candidates: got 2, but a row has 3"),
        ({"max_chars": 0}, "max_chars: expected a whole number 1 or more"),
        ({"split": "dev"}, "split: got 'dev'"),
        ({"reward": [{"name": "corect"}]}, "did you mean 'correct'"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_was_expected(file, settings, message):
    with pytest.raises(SettingError, match=message):
        select(file([question(n) for n in range(6)]), **settings)


def test_shares_of_files_that_are_split_already_are_refused(file, tmp_path):
    for split in SPLITS:
        file([question(n) for n in range(4)], f"{split}.jsonl")
    with pytest.raises(SettingError, match="leave shares out"):
        select(str(tmp_path), shares=[0.8, 0.1, 0.1])


def test_rows_without_a_choice_are_skipped_and_counted_and_long_texts_are_cut(file):
    rows = [question(n) for n in range(8)]
    rows[0]["options"] = ["same", "same"]
    rows[1]["question"] = " "
    rows[2]["question"] = "x" * 30 + "end"
    env = select(file(rows), max_chars=20)
    assert env.unwrapped.data_counts == {
        "used": 6,
        "skipped: empty text": 1,
        "skipped: one candidate": 1,
        "changed: texts cut to 20 characters": 1,
    }
    assert len(env.unwrapped.data_fingerprint) == 64


def test_baselines_know_the_majority_and_the_words_of_each_class(file):
    rows = [mail(n, label="billing" if n % 5 else "delivery") for n in range(40)]
    env = classify(file(rows), special_actions=["abstain"])
    heuristics = env.unwrapped.heuristics
    assert sorted(heuristics) == ["always_abstain", "majority", "random", "tfidf"]
    rng = np.random.default_rng(0)
    for row in range(env.unwrapped.num_rows):
        obs, info = env.reset(options={"row": row})
        assert heuristics["tfidf"](obs, rng) == info["expert_action"]
        assert heuristics["majority"](obs, rng) == 0
        assert heuristics["always_abstain"](obs, rng) == 2


def test_word_overlap_selects_the_candidate_that_shares_words(file):
    rows = [
        {"question": f"a tale {n}", "options": [f"of {n + 50}", f"tale {n}"], "answer": 1}
        for n in range(20)
    ]
    env = select(file(rows))
    obs, _ = env.reset(options={"row": 0})
    assert env.unwrapped.heuristics["tfidf"](obs, np.random.default_rng(0)) == 1


def test_a_step_after_the_end_is_refused(file):
    env = select(file([question(n) for n in range(6)]))
    play(env, 0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)


def test_chinese_rows_are_read_as_they_are(file):
    rows = [
        {"question": f"第{n}个问题？", "options": ["不知道。", "蓝色。"], "answer": "蓝色。"}
        for n in range(6)
    ]
    obs, reward, _ = play(select(file(rows)), 1)
    assert (reward, obs["candidates"]) == (1.0, ("不知道。", "蓝色。"))
