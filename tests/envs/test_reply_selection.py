import json

import gymnasium
import numpy as np
import pytest

from strategy_rl_envs.kit.errors import DataError, SettingError
from strategy_rl_envs.kit.tfidf import TfIdf, terms
from strategy_rl_envs.testing import check_env_contract

ID = "strategy_rl_envs:strategy_rl/ReplySelection-v0"
HAND_OVER = 10


def turn(number, candidates=4, label=None):
    label = number % candidates if label is None else label
    texts = [f"wrong {number} {place}" for place in range(candidates)]
    texts[label] = f"right {number}"
    return {"context": [f"said {number}"], "candidates": texts, "label": label}


def conversation(name, turns):
    return {"id": name, "group": name.split("-")[0], "turns": [turn(n) for n in range(turns)]}


def write(folder, rows, split="train"):
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")


@pytest.fixture
def data(tmp_path):
    for split in ("train", "validation", "test"):
        write(
            tmp_path,
            [conversation("a-0", 4), conversation("a-1", 3), conversation("b-0", 9)],
            split,
        )
    return str(tmp_path)


def play(env, actions, row=0):
    """Play words: right, wrong, hand_over. Give the observations, rewards and last flag."""
    obs, info = env.reset(seed=0, options={"row": row})
    seen, rewards, ended = [obs], [], False
    for word in actions:
        assert not ended
        right = info["expert_action"]
        action = {"right": right, "wrong": 0 if right else 1, "hand_over": HAND_OVER}[word]
        obs, reward, ended, _, info = env.step(action)
        seen.append(obs)
        rewards.append(reward)
    return seen, rewards, ended


def test_prices_are_one_minus_half_and_minus_quarter_and_a_hand_over_ends_the_episode(data):
    _, rewards, ended = play(gymnasium.make(ID, data=data), ["right", "wrong", "hand_over"])
    assert (rewards, ended) == ([1.0, -0.5, -0.25], True)


def test_the_second_wrong_reply_costs_two_and_the_customer_leaves(data):
    env = gymnasium.make(ID, data=data)
    _, rewards, ended = play(env, ["wrong", "right", "wrong"])
    assert (rewards, ended) == ([-0.5, 1.0, -2.0], True)


def test_a_patient_customer_bears_with_as_many_wrong_replies_as_set(data):
    env = gymnasium.make(ID, data=data, wrong_replies_allowed=3)
    assert play(env, ["wrong"] * 4) [1:] == ([-0.5, -0.5, -0.5, -2.0], True)  # fmt: skip
    env = gymnasium.make(ID, data=data, wrong_replies_allowed=0)
    assert play(env, ["wrong"])[1:] == ([-2.0], True)


def test_the_next_turn_shows_the_logged_history_whatever_was_chosen(data):
    env = gymnasium.make(ID, data=data)
    after_right, *_ = play(env, ["right", "right"])
    after_wrong, *_ = play(env, ["wrong", "right"])
    assert [obs["context"] for obs in after_right] == [obs["context"] for obs in after_wrong]
    assert after_right[1]["candidates"] == after_wrong[1]["candidates"]
    assert after_right[1]["context"] == ("said 1",)


def test_the_state_counts_turns_left_wrong_replies_and_hand_overs_left(data):
    env = gymnasium.make(ID, data=data, after_hand_over="stay", hand_over_budget=2)
    seen, rewards, ended = play(env, ["wrong", "hand_over", "right", "hand_over"])
    states = [obs["state"].tolist() for obs in seen]
    assert states == [
        [0.5, 0, 0.25],
        [0.375, 1, 0.25],
        [0.25, 1, 0.125],
        [0.125, 1, 0.125],
        [0, 1, 0],
    ]
    assert (rewards, ended) == ([-0.5, -0.25, 1.0, -0.25], True)


def test_a_spent_budget_closes_the_hand_over(data):
    env = gymnasium.make(ID, data=data, after_hand_over="stay", hand_over_budget=1)
    seen, *_ = play(env, ["hand_over"])
    assert [obs["action_mask"][HAND_OVER] for obs in seen] == [1, 0]
    env.reset(options={"row": 0})
    env.step(HAND_OVER)
    _, reward, _, _, info = env.step(HAND_OVER)
    assert reward == -0.5
    assert not info["reward_inputs"]["handed_over"]


def test_at_most_eight_turns_of_a_conversation_are_played(data):
    assert play(gymnasium.make(ID, data=data), ["right"] * 8, row=2)[1:] == ([1.0] * 8, True)
    shorter = gymnasium.make(ID, data=data, max_turns=2)
    assert play(shorter, ["right"] * 2, row=2)[1:] == ([1.0] * 2, True)


def test_single_mode_makes_each_turn_a_row_of_its_conversations_group(data):
    env = gymnasium.make(ID, data=data, mode="single")
    assert env.unwrapped.num_rows == 4 + 3 + 8
    assert env.unwrapped.row_groups == ("a",) * 7 + ("b",) * 8
    for word, price in (("right", 1.0), ("wrong", -1.0), ("hand_over", -0.25)):
        assert play(env, [word], row=5)[1:] == ([price], True)


def test_conversations_of_two_speakers_share_a_group(data):
    assert gymnasium.make(ID, data=data).unwrapped.row_groups == ("a", "a", "b")


def test_candidates_are_a_subset_with_the_gold_one_and_the_same_in_every_environment(tmp_path):
    rows = [{"id": str(number), **turn(number, candidates=10)} for number in range(200)]
    for split in ("train", "validation", "test"):
        write(tmp_path, rows, split)
    env, other = (gymnasium.make(ID, data=str(tmp_path), max_candidates=6) for _ in range(2))
    counts, places = set(), set()
    for row in range(200):
        obs, info = env.reset(seed=row, options={"row": row})
        again, _ = other.reset(seed=1, options={"row": row})
        assert obs["candidates"] == again["candidates"]
        assert obs["candidates"][info["expert_action"]] == f"right {row}"
        assert len(set(obs["candidates"])) == len(obs["candidates"])
        assert info["candidate_kinds"].index("gold") == info["expert_action"]
        counts.add(len(obs["candidates"]))
        places.add(info["expert_action"])
    assert counts == {3, 4, 5, 6}
    assert places == set(range(6))
    assert env.reset(options={"row": 0})[0]["candidates"] == (
        "wrong 0 7",
        "right 0",
        "wrong 0 1",
        "wrong 0 2",
    )


def test_reward_functions_see_texts_and_what_happened(data):
    env = gymnasium.make(ID, data=data)
    _, info = env.reset(options={"row": 1})
    *_, info = env.step(info["expert_action"])
    inputs = info["reward_inputs"]
    assert inputs["output"] == inputs["reference"] == "right 0"
    assert (inputs["correct"], inputs["handed_over"], inputs["left"]) == (True, False, False)
    assert (inputs["context"], inputs["row"], inputs["turn"]) == (("said 0",), 1, 0)
    assert info["reward_components"] == {
        "correct_reply": 1.0,
        "wrong_reply": 0.0,
        "hand_over": 0.0,
        "customer_leaves": 0.0,
    }


def test_the_constant_reward_is_one_however_the_episode_goes(data):
    env = gymnasium.make(ID, data=data, reward=[{"name": "constant"}])
    for actions in (["hand_over"], ["wrong", "wrong"], ["right"] * 4):
        assert sum(play(env, actions)[1]) == 1.0


def test_other_prices_are_a_setting(data):
    reward = [{"name": "correct_reply", "weight": 3}, {"name": "hand_over", "weight": 0.5}]
    env = gymnasium.make(ID, data=data, reward=reward)
    assert play(env, ["right", "wrong", "hand_over"])[1] == [3.0, 0.0, -0.5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "tset"}, "split: got 'tset'; did you mean 'test'"),
        ({"mode": "singel"}, "mode: got 'singel'; did you mean 'single'"),
        ({"after_hand_over": "go"}, "known: leave, stay"),
        ({"max_turns": 0}, "max_turns: expected a whole number 1 or more, got 0"),
        ({"max_candidates": 2}, "max_candidates: expected a whole number 3 or more, got 2"),
        ({"hand_over_budget": -1}, "hand_over_budget"),
        ({"reward": [{"name": "corect_reply"}]}, "did you mean 'correct_reply'"),
        ({"data": __file__}, "one file for all splits"),
        ({"data": 3}, "data: expected a folder"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(settings, message):
    with pytest.raises(SettingError, match=message):
        gymnasium.make(ID, **settings)


BAD_ROWS = {
    "missing field": ({"context": ["a"], "label": 0}, ":2: candidates: the field is missing"),
    "nearest field": ({"contxt": ["a"], "candidates": ["a"], "label": 0}, "mean 'contxt'"),
    "label outside": ({**turn(0), "label": 4}, ":2: label: 4 is not among the 4 candidates"),
    "label is a text": ({**turn(0), "label": "right"}, ":2: label: expected a whole number"),
    "kinds too few": ({**turn(0), "kinds": ["gold"]}, ":2: kinds: has 1 entries for 4"),
    "same id": ({**turn(0), "id": "ok"}, ":2: id: 'ok' stands twice"),
    "inside a conversation": (
        {"turns": [turn(0), {**turn(1), "label": -1}]},
        r":2: turns\[1\]: label: -1 is not among",
    ),
}


@pytest.mark.parametrize("fault", BAD_ROWS)
def test_a_row_with_a_fault_is_refused_with_file_line_and_field(tmp_path, fault):
    row, message = BAD_ROWS[fault]
    write(tmp_path, [{"id": "ok", **turn(0)}, {"id": "bad", **row}])
    with pytest.raises(DataError, match=message):
        gymnasium.make(ID, data=str(tmp_path))


def test_rows_without_a_choice_are_skipped_and_counted(tmp_path, caplog):
    rows = [{"id": str(number), **turn(number)} for number in range(5)]
    rows += [
        {"id": "one", "context": ["a"], "candidates": ["b"], "label": 0},
        {"id": "equal", "context": ["a"], "candidates": ["b", "b"], "label": 0},
        {"id": "empty", "context": [" "], "candidates": ["b", "c"], "label": 0},
        {"id": "blank", "context": ["a"], "candidates": ["b", "\n"], "label": 0},
    ]
    write(tmp_path, rows)
    env = gymnasium.make(ID, data=str(tmp_path)).unwrapped
    assert env.num_rows == 5
    assert env.data_counts == {
        "used": 5,
        "skipped: all candidates equal": 1,
        "skipped: empty candidate": 1,
        "skipped: empty context": 1,
        "skipped: one candidate": 1,
    }
    assert "5 rows used, skipped: all candidates equal 1" in caplog.text


def test_a_file_that_is_mostly_unusable_is_refused(tmp_path):
    rows = [{"id": str(n), "context": ["a"], "candidates": ["b"], "label": 0} for n in range(3)]
    write(tmp_path, [{"id": "ok", **turn(0)}, *rows])
    with pytest.raises(DataError, match=r"3 of 4 rows cannot be used .one candidate 3"):
        gymnasium.make(ID, data=str(tmp_path))


def test_an_overlong_history_keeps_its_end_and_is_counted(tmp_path):
    long = {"id": "long", **turn(0), "context": ["word " * 100_000 + "the end"]}
    write(tmp_path, [long])
    env = gymnasium.make(ID, data=str(tmp_path), max_chars=20)
    obs, _ = env.reset()
    assert obs["context"] == ("rd word word the end",)
    assert env.unwrapped.data_counts["changed: texts cut to 20 characters"] == 1
    assert obs in env.observation_space


def test_only_the_latest_turns_of_the_history_are_shown(tmp_path):
    write(tmp_path, [{"id": "0", **turn(0), "context": ["a", "b", "c", "d"]}])
    shown = {
        count: gymnasium.make(ID, data=str(tmp_path), context_turns=count).reset()[0]["context"]
        for count in (1, 3)
    }
    assert shown == {1: ("d",), 3: ("b", "c", "d")}


def test_a_missing_file_is_refused_by_name(tmp_path):
    write(tmp_path, [{"id": "0", **turn(0)}], "valid")
    with pytest.raises(DataError, match=r"validation.jsonl: No such file.*valid.jsonl"):
        gymnasium.make(ID, data=str(tmp_path), split="validation")


def test_chinese_single_rows_load_by_a_file_pattern_and_keep_the_contract(tmp_path):
    rows = [
        {
            "id": f"zh-{number}",
            "lang": "zh",
            "context": ["你看过这部电影吗？", f"看过，导演是第{number}位。"],
            "candidates": ["主演是谁？", "我不喜欢旅行。", "门票多少钱？", "导演是谁？"],
            "label": 3,
            "kinds": ["lexical", "random", "random", "gold"],
        }
        for number in range(6)
    ]
    for split in ("train", "validation", "test"):
        write(tmp_path, rows, split)
        (tmp_path / f"{split}.jsonl").rename(tmp_path / f"zh.{split}.jsonl")
    pattern = str(tmp_path / "zh.{split}.jsonl")
    check_env_contract(ID, data=pattern, mode="single")
    env = gymnasium.make(ID, data=pattern, split="test")
    obs, info = env.reset(options={"row": 0})
    chosen = env.unwrapped.heuristics["tfidf"](obs, np.random.default_rng(0))
    assert obs["candidates"][chosen] == "导演是谁？"
    assert info["candidate_kinds"][chosen] == "gold"


@pytest.mark.parametrize(
    "settings",
    [{"mode": "single"}, {"after_hand_over": "stay", "hand_over_budget": 1}, {"split": "test"}],
)
def test_every_form_keeps_the_contract_on_the_shipped_sample(settings):
    check_env_contract(ID, episodes=8, **settings)


def test_the_shipped_sample_has_sixty_twenty_and_twenty_conversations_none_shared():
    groups = [
        gymnasium.make(ID, split=s).unwrapped.row_groups for s in ("train", "validation", "test")
    ]
    assert [len(names) for names in groups] == [60, 20, 20]
    assert len(set().union(*groups)) == 100


def test_terms_are_words_and_pairs_of_chinese_characters():
    assert terms("Don't stop_me, 42!") == ["don", "t", "stop", "me", "42"]
    assert terms("看过iPhone吗，导演是谁") == ["看过", "iphone", "吗", "导演", "演是", "是谁"]
    assert terms("안녕하세요") == ["안녕하세요"]


def test_tfidf_prefers_the_rare_shared_word_and_breaks_ties_by_chance():
    tfidf = TfIdf(["the cat", "the dog", "the owl", "the the sun"])
    rng = np.random.default_rng(0)
    obs = {"context": ("the owl",), "candidates": ("the cat", "an owl", "sun")}
    assert {tfidf(obs, rng) for _ in range(20)} == {1}
    tied = {"context": ("owl",), "candidates": ("cat", "dog", "owl owl", "owl")}
    assert {tfidf(tied, rng) for _ in range(50)} == {2, 3}


def test_tfidf_weights_match_the_hand_worked_cosine():
    tfidf = TfIdf(["a b", "a c"])  # idf(a) = ln(3/3) + 1 = 1, idf(b) = ln(3/2) + 1 = 1.405465
    assert tfidf.vector("a b") == pytest.approx({"a": 0.579739, "b": 0.814802}, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"row": 3}, IndexError, "row 3 does not exist; rows are 0 to 2"),
        ({"row": "1"}, SettingError, "expected a whole number, got '1'"),
        ({"rwo": 1}, SettingError, "reset option 'rwo': did you mean 'row'"),
    ],
)
def test_a_wrong_reset_option_is_refused(data, options, error, message):
    with pytest.raises(error, match=message):
        gymnasium.make(ID, data=data).reset(options=options)
