"""The environment, its oracle and its baselines, on documents worked out by hand."""

import json
import logging

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy_rl_envs.kit.errors import DataError, SettingError
from strategy_rl_envs.summarization.data import Document, View, load_split
from strategy_rl_envs.summarization.oracle import Terms, Utility, exhaustive, greedy, with_pick
from strategy_rl_envs.testing import check_env_contract

ID = "strategy_rl_envs:strategy_rl/Summarization-v0"
STOP = 16
WORDS = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen")


def document(*sentences, reference="red fox jumps high", **fields):
    return {"id": "a", "sentences": list(sentences), "references": [reference], **fields}


@pytest.fixture
def make(tmp_path):
    """Make the environment on given rows, the same in every split."""

    def made(*rows, **kwargs):
        rows = [row | {"id": str(number)} for number, row in enumerate(rows)]
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        for split in ("train", "validation", "test"):
            (tmp_path / f"{split}.jsonl").write_text(content, encoding="utf-8")
        return gymnasium.make(ID, data=str(tmp_path), **kwargs).unwrapped

    return made


def play(env, choose, row):
    """Play a row; `choose` gets observation and info. Gives the return and the last info."""
    obs, info = env.reset(seed=0, options={"row": row})
    total, ended = 0.0, False
    while not ended:
        obs, reward, ended, _, info = env.step(choose(obs, info))
        total += reward
    return total, info


def mean_return(env, heuristic):
    rule, rng = env.heuristics[heuristic], np.random.default_rng(0)
    return np.mean([play(env, lambda obs, _: rule(obs, rng), row)[0] for row in range(30)])


def of_expert(obs, info):
    return info["expert_action"]


def test_worth_of_picks_by_hand(make):
    env = make(document("Red fox.", "A hen sleeps.", "It jumps high."), price=0.1)
    obs, _ = env.reset(options={"row": 0})
    assert obs["context"] == ()
    assert obs["action_mask"].tolist() == [1, 1, 1] + [0] * 14
    # ROUGE-1 2/4, ROUGE-2 1/3, ROUGE-L 2/4; two words of four cost half the price.
    obs, reward, ended, _, info = env.step(0)
    assert reward == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 3 - 0.05)
    assert info["reward_components"] == pytest.approx({"recall_gain": 4 / 9, "word_cost": -0.05})
    assert obs["context"] == ("Red fox.",)
    assert obs["action_mask"].tolist() == [0, 1, 1] + [0] * 13 + [1]
    assert not ended
    assert info["expert_action"] == 2
    # "red fox it jumps high" holds all words and two of three pairs; three more words.
    obs, reward, ended, _, info = env.step(2)
    assert reward == pytest.approx((1 + 2 / 3 + 1) / 3 - 4 / 9 - 0.075)
    assert info["expert_action"] == STOP
    _, reward, ended, _, info = env.step(STOP)
    assert (reward, ended) == (0.0, True)
    assert info["reward_inputs"]["output"] == "Red fox. It jumps high."
    assert info["reward_inputs"]["history"] == ("Red fox.", "It jumps high.")


def test_the_summary_reads_in_the_order_of_the_document_and_the_context_in_that_of_picks(make):
    env = make(document("Red fox.", "A hen sleeps.", "It jumps high.", title="Of foxes"))
    env.reset(options={"row": 0})
    env.step(2)
    obs, _, _, _, info = env.step(0)
    assert obs["context"] == ("Of foxes", "It jumps high.", "Red fox.")
    assert info["reward_inputs"]["output"] == "Red fox. It jumps high."


def test_chinese_is_counted_by_characters(make):
    row = document("红狐。", "母鸡睡觉。", reference="红狐跳高", lang="zh")
    env = make(row, price=0.1)
    env.reset(options={"row": 0})
    _, reward, *_ = env.step(0)
    assert reward == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 3 - 0.05)


def test_prices_are_relative_to_the_references_of_the_language(make):
    chinese = document("红狐。", "母鸡。", reference="红狐跳高红狐跳高", lang="zh")
    env = make(document("Red fox.", "A hen.", lang="en"), chinese, price=1.0)
    costs = []
    for row in (0, 1):
        env.reset(options={"row": row})
        costs.append(env.step(0)[4]["reward_components"]["word_cost"])
    assert costs == [-2 / 4, -2 / 8]


@pytest.mark.parametrize("terms", [{}, {"price": 0.0, "length_limit": 3.0}])
def test_rewards_of_an_episode_add_up_to_the_worth_of_its_summary(terms):
    env = gymnasium.make(ID, split="test", **terms).unwrapped
    rng = np.random.default_rng(0)
    for row in range(40):
        total, info = play(env, lambda obs, _: env.heuristics["random"](obs, rng), row)
        assert total == pytest.approx(info["reward_inputs"]["utility"], abs=1e-9)


def test_the_worth_told_late_is_the_same():
    late = gymnasium.make(ID, split="test", reward=[{"name": "final_utility"}]).unwrapped
    steps = gymnasium.make(ID, split="test").unwrapped
    for row in range(10):
        assert play(late, of_expert, row)[0] == pytest.approx(play(steps, of_expert, row)[0])


@pytest.mark.parametrize("terms", [{}, {"price": 0.0, "length_limit": 3.0}])
def test_the_expert_is_better_than_every_baseline_on_the_sample(terms):
    env = gymnasium.make(ID, split="test", **terms).unwrapped
    expert = np.mean([play(env, of_expert, row)[0] for row in range(30)])
    for name in env.heuristics:
        assert mean_return(env, name) < expert - 0.02, name


sentences = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join), min_size=2, max_size=6
)


@given(
    sentences,
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join),
    st.sampled_from([Terms(0.02, 3, None), Terms(0.0, 5, 1.5), Terms(0.3, 2, None)]),
)
@settings(max_examples=60, deadline=None)
def test_the_best_of_all_sets_is_at_least_as_good_as_the_greedy_one(texts, reference, terms):
    utility = Utility(Document("a", "a", "", "", tuple(texts), (reference,)), terms, 4.0)
    found, best = greedy(utility), exhaustive(utility)
    assert utility.fits(found)
    assert utility.value(best) >= utility.value(found) - 1e-12
    for place in utility.legal(found):  # nothing that gains is left
        assert utility.value(with_pick(found, place)) <= utility.value(found) + 1e-9


def test_greedy_can_miss_the_best_set():
    texts = ("ant bee cat", "ant bee dog elk", "cat fox gnu hen")
    utility = Utility(
        Document("a", "a", "", "", texts, ("ant bee dog elk cat fox gnu hen",)),
        Terms(0.0, 2, None),
        8.0,
    )
    assert exhaustive(utility) == (1, 2)
    assert utility.recall((1, 2)) == pytest.approx(1.0)


def test_picks_are_at_most_max_picks_and_stopping_costs_nothing(make):
    env = make(document("Red.", "Fox.", "Jumps.", "High."), max_picks=2)
    env.reset(options={"row": 0})
    assert env.step(3)[2] is False
    assert env.step(0)[2] is True


def test_a_length_limit_forbids_what_is_too_long_and_ends_when_nothing_fits(make):
    row = document("Red fox jumps over it.", "High up.", "One two three four.")
    env = make(row, price=0.0, length_limit=1.0)
    obs, _ = env.reset(options={"row": 0})
    assert obs["action_mask"][:3].tolist() == [0, 1, 1]
    assert env.step(1)[2] is True
    env = make(row, price=0.0, length_limit=0.25)
    obs, _ = env.reset(options={"row": 0})
    assert obs["action_mask"][:3].tolist() == [0, 1, 0]  # the shortest, since one must be picked


def test_an_illegal_action_ends_the_episode_with_what_there_is(make):
    env = make(document("Red fox.", "A hen."))
    for before, illegal in (((), STOP), ((), 7), ((0,), 0)):
        env.reset(options={"row": 0})
        for action in before:
            env.step(action)
        _, reward, ended, _, info = env.step(illegal)
        assert (reward, ended, info["reward_inputs"]["picked"]) == (0.0, True, False)


def test_numbers_of_sentences_follow_the_picks(make):
    env = make(document("Red fox.", "Red fox.", "A hen sleeps."))
    before, _ = env.reset(options={"row": 0})
    after = env.step(0)[0]
    static = slice(0, 11)
    changed, kept = after["candidate_features"], before["candidate_features"]
    assert (changed[:, static] == kept[:, static]).all()
    assert changed[1, 12] == pytest.approx(3.0)  # every word of it is in the summary
    assert changed[2, 12] == 0.0
    assert changed[1, 11] == 0.0  # so nothing new is to be had
    assert (changed[3:] == 0).all()


def test_a_training_document_does_not_count_its_own_summary():
    from strategy_rl_envs.summarization.features import WordChances

    own = frozenset({"fox", "hen"}), frozenset({"fox"})
    other = frozenset({"fox", "elk"}), frozenset({"elk"})
    chances = WordChances({"own": own, "other": other})
    known, fresh = chances.of(["fox"], "own"), chances.of(["fox"], "new")
    assert known["fox"] == pytest.approx((0 + 4 * 0.5) / (1 + 4))
    assert fresh["fox"] == pytest.approx((1 + 4 * 0.5) / (2 + 4))


def test_lead_picks_the_first_sentences_and_stops(make):
    env = make(document("Red fox.", "A hen.", "A cow."))
    seen = []

    def choose(obs, info):
        seen.append(env.heuristics["lead_2"](obs, np.random.default_rng(0)))
        return seen[-1]

    play(env, choose, 0)
    assert seen == [0, 1, STOP]


def test_tuned_lead_takes_the_number_that_is_best_in_training(make):
    two = document("Red fox.", "It jumps high.", "One two three four five six.")
    env = make(two, price=0.2)
    assert play(env, lambda o, i: env.heuristics["lead_k"](o, None), 0)[1]["reward_inputs"][
        "history"
    ] == ("Red fox.", "It jumps high.")


def test_position_prefers_where_training_summaries_are_found(make):
    rows = [document(f"{word} one.", f"{word} two.", "Red fox jumps.") for word in WORDS]
    env = make(*rows)
    obs, _ = env.reset(options={"row": 0})
    assert env.heuristics["position_k"](obs, None) == 2
    assert env.heuristics["lead_1"](obs, None) == 0


def test_textrank_prefers_the_sentence_that_shares_words_with_the_others(make):
    env = make(document("Ants eat leaves.", "Ants and bees eat.", "Bees and wasps fly.", "No."))
    obs, _ = env.reset(options={"row": 0})
    assert env.heuristics["textrank_k"](obs, None) == 1


def test_textrank_of_two_equal_sentences_beside_a_stranger_by_hand():
    from strategy_rl_envs.summarization.features import textrank

    has = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=bool)
    scores = textrank(has, np.array([2.0, 2.0, 1.0]))
    stranger = scores[2]
    # The stranger has no neighbour and spreads its score evenly: s = 0.05 + 0.85 s / 3.
    assert stranger == pytest.approx(0.05 / (1 - 0.85 / 3))
    assert scores[0] == pytest.approx((1 - stranger) / 2)


@pytest.mark.parametrize(
    ("row", "seen"),
    [
        ({"sentences": "one text", "references": ["x"]}, "sentences: expected a list of texts"),
        ({"sentences": ["a", 3], "references": ["x"]}, "sentences[1]: expected a text, got int"),
        ({"references": ["x"]}, "sentences: the field is missing"),
        ({"sentences": ["a", "b"]}, "summary: the field is missing"),
        ({"sentences": ["a", "b"], "summary": None}, "summary: is null"),
        ({"sentences": ["a", "b"], "summary": "c", "title": 1}, "title: expected a text"),
    ],
)
def test_a_bad_row_is_refused_with_file_and_line(tmp_path, row, seen):
    file = tmp_path / "train.jsonl"
    good = json.dumps(document("Red fox.", "A hen."))
    file.write_text(f"{good}\n{json.dumps({'id': 'b'} | row)}\n")
    with pytest.raises(DataError) as caught:
        load_split(file, View(16, 2000))
    assert f"{file}:2: {seen}" in str(caught.value)


def test_an_id_that_stands_twice_is_refused(tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_text(2 * (json.dumps(document("Red fox.", "A hen.")) + "\n"))
    with pytest.raises(DataError, match=r"train\.jsonl:2: id: 'a' stands twice"):
        load_split(file, View(16, 2000))


def test_rows_with_nothing_to_decide_are_skipped_and_counted(tmp_path, caplog):
    rows = [
        document("Red fox.", "A hen."),
        document("Red fox.", "  "),
        document("Red.", "Fox.", reference="..."),
        document("Red.", "Fox.", "Hen."),
        document("Red.", "Fox."),
    ]
    lines = (json.dumps(row | {"id": str(number)}) + "\n" for number, row in enumerate(rows))
    file = tmp_path / "test.jsonl"
    file.write_text("".join(lines))
    with caplog.at_level(logging.WARNING):
        split = load_split(file, View(2, 2000))
    assert [document.id for document in split.rows] == ["0", "3", "4"]
    assert split.counts == {
        "used": 3,
        "skipped: fewer than 2 sentences": 1,
        "skipped: no reference with words": 1,
        "changed: documents cut to 2 sentences": 1,
    }
    assert "no reference with words 1" in caplog.text


def test_a_wrong_setting_is_refused_by_name(tmp_path):
    wrong = {
        "price": -1,
        "max_picks": 0,
        "length_limit": "long",
        "max_sentences": 1,
        "split": "dev",
        "data": str(tmp_path / "one.jsonl"),
    }
    for name, value in wrong.items():
        with pytest.raises(SettingError, match=name):
            gymnasium.make(ID, **{name: value})


def test_the_contract_holds_under_a_hard_limit():
    report = check_env_contract(ID, episodes=4, price=0.0, length_limit=2.0, max_picks=3)
    assert report.steps >= 8
