import gymnasium
import numpy as np
import pytest

ID = "strategy_rl_envs:strategy_rl/TinyReply-v0"


def mean_return(env, choose):
    total = 0.0
    for row in range(env.unwrapped.num_rows):
        obs, info = env.reset(seed=row, options={"row": row})
        ended = False
        while not ended:
            obs, reward, ended, _, info = env.step(choose(obs, info))
            total += reward
    return total / env.unwrapped.num_rows


def overlap(obs):
    asked = set(obs["context"][0].split())
    return [len(asked & set(text.split())) for text in obs["candidates"]]


def test_the_expert_wins_every_question():
    assert mean_return(gymnasium.make(ID), lambda obs, info: info["expert_action"]) == 2.0


def test_handing_over_the_unclear_questions_beats_guessing_them():
    env = gymnasium.make(ID, num_rows=1000)
    rng = np.random.default_rng(0)

    def guess(obs, info):
        if obs["context"][0] == "where is it ?":
            return int(rng.integers(len(obs["candidates"])))
        return int(np.argmax(overlap(obs)))

    def hand_over(obs, info):
        return 5 if obs["context"][0] == "where is it ?" else int(np.argmax(overlap(obs)))

    assert mean_return(env, hand_over) == pytest.approx(1.375, abs=0.05)
    assert mean_return(env, guess) < 1.3
    assert mean_return(env, lambda obs, info: 5) == -0.5


def test_word_overlap_tells_the_right_answer_of_every_clear_question():
    env = gymnasium.make(ID)
    for row in range(50):
        obs, info = env.reset(options={"row": row})
        if obs["context"][0] != "where is it ?":
            scores = overlap(obs)
            assert int(np.argmax(scores)) == info["expert_action"]
            assert sorted(scores)[-1] >= sorted(scores)[-2] + 2


def test_splits_hold_different_rows_and_a_row_is_always_the_same():
    def first_questions(split):
        env = gymnasium.make(ID, split=split)
        return [env.reset(options={"row": row})[0]["candidates"] for row in range(20)]

    train = first_questions("train")
    assert train == first_questions("train")
    assert train != first_questions("validation") != first_questions("test")
