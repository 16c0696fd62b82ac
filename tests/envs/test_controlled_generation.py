"""The environment, its rewards and its builder, on rows worked out by hand."""

import io
import json
import tarfile

import gymnasium
import numpy as np
import pytest

from strategy_rl_envs.controlled_generation import build, fit
from strategy_rl_envs.controlled_generation.keywords import document_counts, keywords, longest_row
from strategy_rl_envs.controlled_generation.ratings import Rated, load_ratings
from strategy_rl_envs.controlled_generation.rewards import (
    control,
    echo,
    judge,
    keywords_used,
    length_kept,
    poem_form,
    prose,
    wanted_sentiment,
)
from strategy_rl_envs.controlled_generation.scorer import features, rate, rating
from strategy_rl_envs.kit.descriptions import Package
from strategy_rl_envs.kit.errors import DataError, SettingError
from strategy_rl_envs.testing import check_env_contract

ID = "strategy_rl_envs:strategy_rl/ControlledGeneration-v0"
KINDS = ["sentiment", "keywords", "length", "poem_form"]
SENTIMENT = {"control": "sentiment", "prompt": "the battery", "target": {"sentiment": "negative"}}
KEYWORDS = {
    "control": "keywords",
    "target": {"keywords": ["river", "bridge"], "max_words": 9},
    "reference": "A bridge crosses the river.",
}
LENGTH = {
    "control": "length",
    "prompt": "Foxes are red. They jump high.",
    "target": {"words": 4, "tolerance": 1},
    "reference": "Red foxes jump high.",
}
POEM = {
    "control": "poem_form",
    "prompt": "白日依山尽，黄河入海流。",
    "target": {"chars_per_line": 5, "couplets": 1},
    "reference": "欲穷千里目，更上一层楼。",
}


@pytest.fixture
def make(tmp_path):
    """Make the environment on given rows, the same in every split."""

    def made(*rows, **kwargs):
        rows = [{"id": str(number), **row} for number, row in enumerate(rows)]
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        for split in ("train", "validation", "test"):
            (tmp_path / f"{split}.jsonl").write_text(content, encoding="utf-8")
        return gymnasium.make(ID, data=str(tmp_path), **{"kinds": KINDS, **kwargs}).unwrapped

    return made


def answer(env, row, text):
    env.reset(options={"row": row})
    _, reward, terminated, truncated, info = env.step(text)
    assert (terminated, truncated) == (True, False)
    return reward, info


def test_each_kind_asks_in_one_instruction(make):
    env = make(SENTIMENT, KEYWORDS, LENGTH, POEM)
    prompts = [env.reset(options={"row": row})[0] for row in range(4)]
    assert prompts == [
        "Finish this sentence so that it is negative: the battery",
        "Write one sentence that contains all of these words: river, bridge.",
        "Summarize this text in 4 words: Foxes are red. They jump high.",
        "续写这首诗，再写1联，每句5字：白日依山尽，黄河入海流。",
    ]


def test_the_real_text_is_the_expert_and_rows_without_one_have_none(make):
    env = make(SENTIMENT, KEYWORDS)
    assert "expert_action" not in env.reset(options={"row": 0})[1]
    assert env.reset(options={"row": 1})[1]["expert_action"] == "A bridge crosses the river."
    assert make(SENTIMENT, KEYWORDS, expert_only=True).num_rows == 1


def test_real_texts_get_the_whole_reward(make):
    env = make(KEYWORDS, LENGTH, POEM)
    for row, known in enumerate((KEYWORDS, LENGTH, POEM)):
        reward, info = answer(env, row, known["reference"])
        values = info["reward_values"]
        assert values["control"] == values["judge"] == values["ends_sentence"] == 1
        weights = {"control": 1, "prose": 0.1, "ends_sentence": 0.2, "length_window": 0.1}
        expected = sum(weight * values[name] for name, weight in weights.items())
        if known is not LENGTH:  # that has no function word: the gate is shut
            assert reward == pytest.approx(expected)


def test_the_guard_is_told_and_does_not_count(make):
    env = make(KEYWORDS)
    _, info = answer(env, 0, "The river is under a bridge.")
    assert 0 < info["reward_values"]["judge"] < 1
    assert info["reward_components"]["judge"] == 0


def test_a_list_of_words_earns_nothing_by_its_words(make):
    env = make(SENTIMENT, KEYWORDS)
    for row in (0, 1):
        reward, info = answer(
            env, row, env.heuristics["word_list"](env.reset(options={"row": row})[0], None)
        )
        assert info["reward_values"]["control"] == 1
        assert info["reward_components"]["control"] == 0
        assert reward < 0.31


@pytest.mark.parametrize("row", range(4))
def test_silence_earns_nothing(make, row):
    assert answer(make(SENTIMENT, KEYWORDS, LENGTH, POEM), row, "")[0] == 0


def test_a_step_needs_a_reset_and_an_answer_is_cut(make):
    env = make(KEYWORDS, max_chars=10)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("text")
    _, info = answer(env, 0, "The river and the bridge.")
    assert info["reward_inputs"]["output"] == "The river "
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("text")


def test_what_a_caller_changes_in_the_info_stays_out_of_the_next_episode(make):
    env = make(KEYWORDS)
    _, info = answer(env, 0, "A river.")
    info["reward_inputs"]["target"]["keywords"].clear()
    assert answer(env, 0, "A river.")[1]["reward_values"]["control"] == 0.5


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"control": "sentimnt"}, "control: got 'sentimnt'; known: sentiment"),
        ({"target": ["negative"]}, "target: expected an object, got list"),
        ({"target": {"sentiment": "mixed"}}, "sentiment: expected positive or negative"),
        (KEYWORDS | {"target": {"keywords": []}}, "keywords: expected one word or more"),
        (KEYWORDS | {"target": {"keywords": ["ab" * 200]}}, "expected 200 characters at most"),
        (LENGTH | {"target": {"words": 0}}, "words: expected 1 or more, got 0"),
        (POEM | {"target": {"chars_per_line": 5}}, "couplets: the field is missing"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line_and_field(make, row, message):
    with pytest.raises(DataError, match=message) as refused:
        make(KEYWORDS, SENTIMENT | row)
    assert "train.jsonl:2: " in str(refused.value)


def test_an_id_that_stands_twice_is_refused(make):
    with pytest.raises(DataError, match=r"train.jsonl:2: id: 'a' stands twice"):
        make(KEYWORDS | {"id": "a"}, KEYWORDS | {"id": "a"})


@pytest.mark.parametrize("kinds", ["sentiment", [], ["sentimnt"], None])
def test_wrong_kinds_are_refused(make, kinds):
    with pytest.raises(SettingError, match="kinds: "):
        make(KEYWORDS, kinds=kinds)


def test_kinds_that_a_file_lacks_are_named(make):
    with pytest.raises(
        SettingError, match="none of its 1 rows is of the kinds length; it holds key"
    ):
        make(KEYWORDS, kinds=["length"])
    with pytest.raises(SettingError, match="poem_form and has a reference"):
        make(SENTIMENT, expert_only=True)


@pytest.mark.parametrize("kinds", [["sentiment"], ["keywords"], ["poem_form"]])
def test_each_kind_of_the_sample_keeps_the_contract(kinds):
    check_env_contract(ID, episodes=6, kinds=kinds)


def test_the_sample_is_large_enough_and_its_splits_share_no_group():
    groups = {}
    for split, least in (("train", 500), ("validation", 100), ("test", 200)):
        for kind in ("sentiment", "keywords"):
            env = gymnasium.make(ID, split=split, kinds=[kind]).unwrapped
            assert env.num_rows >= least
            groups.setdefault(split, set()).update(env.row_groups)
    assert not groups["train"] & groups["test"]
    assert not groups["train"] & groups["validation"]
    assert not groups["validation"] & groups["test"]


@pytest.mark.parametrize("kind", ["sentiment", "keywords"])
def test_real_texts_of_the_sample_earn_more_than_lists_and_other_rows_texts(kind):
    env = gymnasium.make(ID, split="test", kinds=[kind]).unwrapped
    infos = [env.reset(options={"row": row}) for row in range(env.num_rows)]
    known = {
        row: info["expert_action"] for row, (_, info) in enumerate(infos) if "expert_action" in info
    }
    others = [*list(known.values())[7:], *list(known.values())[:7]]
    real = np.mean([answer(env, row, text)[0] for row, text in known.items()])
    foreign = np.mean([answer(env, row, text)[0] for row, text in zip(known, others, strict=True)])
    listed = np.mean(
        [answer(env, row, env.heuristics["word_list"](infos[row][0], None))[0] for row in known]
    )
    assert real > foreign + 0.1
    assert real > listed + 0.5


def test_sentiment_is_full_from_a_clear_rating_on_and_naming_it_is_not_having_it():
    assert wanted_sentiment("it is a great camera.", "positive") == 1
    assert wanted_sentiment("it is a great camera.", "negative") == 0
    assert wanted_sentiment("it is the one of that.", "negative") == 0
    assert wanted_sentiment("it is positive, most Positively.", "positive") == 0
    assert wanted_sentiment("", "positive") == 0
    assert wanted_sentiment("great", "") is None


def test_keywords_in_a_row_count_half():
    words = ["river", "bridge", "stone"]
    assert longest_row("A river, the bridge and a stone.", words) == 3
    assert longest_row("A river flows under the stone bridge.", words) == 2
    assert keywords_used("A river, the bridge and a stone.", words) == 0.5
    assert keywords_used("A river flows under the stone bridge.", words) == 1
    assert keywords_used("A river.", words) == pytest.approx(1 / 3)
    assert keywords_used("A river.", []) is None


def test_a_summary_must_have_the_length_and_the_words():
    assert length_kept("Red foxes jump high.", "length", (3, 5), "Red foxes jump high.") == 1
    assert length_kept("Red foxes", "length", (4, 5), "Red foxes") == 0.5
    assert length_kept("One two three four.", "length", (3, 5), "Red foxes jump high.") == 0
    assert length_kept("One two three four.", "length", (3, 5), None) == 1
    assert length_kept("Red foxes", "keywords", (4, 5), None) is None


def test_lines_of_a_poem_are_counted_by_characters():
    target = {"chars_per_line": 5, "couplets": 1}
    assert poem_form("欲穷千里目，更上一层楼。", "poem_form", target) == 1
    assert poem_form("欲穷千里目，更上楼。", "poem_form", target) == 0.5
    assert poem_form("欲穷千里目，更上一层楼。白日依山尽。", "poem_form", target) == 0.5
    assert poem_form("", "poem_form", target) == 0


def test_prose_is_from_a_fifth_to_three_quarters_of_function_words():
    assert prose("the dog sees a cat", "sentiment") == 1
    assert prose("the big red dog sees six small fat grey cats", "keywords") == pytest.approx(0.5)
    assert prose("it is of the", "sentiment") == 0
    assert prose("你好", "keywords") == 0
    assert prose("你好", "poem_form") == 1


def test_repeating_the_prompt_is_seen_and_a_document_is_no_prompt():
    prompt = "Summarize this text in 4 words: red foxes jump high"
    assert echo("Summarize this text in 4 words", prompt, "", "keywords") == 1
    assert echo("red foxes jump high", prompt, "red foxes jump high", "length") == 0
    assert echo("something else entirely here", prompt, "", "sentiment") == 0


def test_control_and_judge_have_a_number_for_every_kind():
    for row in (SENTIMENT, KEYWORDS, LENGTH, POEM):
        wanted = row["target"].get("sentiment", "")
        reference = row.get("reference")
        for text in ("", "A bridge.", "欲穷千里目"):
            assert 0 <= control(text, row["control"], row["target"], (2, 4), reference) <= 1
            assert 0 <= judge(text, row["control"], wanted, reference) <= 1


def test_a_rating_is_the_sum_of_weights_over_the_root_of_their_number():
    assert features("It isn't good") == ["good", "is not", "not", "not good"]
    weights = {"good": 2.0, "not good": -3.0, "camera": 1.0}
    assert rate("A not good camera", weights) == pytest.approx((2 - 3 + 1) / np.sqrt(3))
    assert rate("of the", weights) == 0
    assert rating("this is great") > 1
    assert rating("this is horrible") < -1


def rated(number, text, score, domain="reviews"):
    return Rated(f"{domain}-{number}", f"{domain}-{number}", domain, text, score)


def test_the_fit_is_the_ridge_regression_that_normal_equations_give():
    texts = [rated(i, text, score) for i, (text, score) in enumerate(
        [("good camera", 2.0), ("bad camera", -2.0), ("good lens", 1.0), ("bad lens", -1.0)] * 3
    )]  # fmt: skip
    found = fit.fit(texts)
    names = sorted({gram for text in texts for gram in features(text.text)})
    matrix = np.array([[name in features(t.text) for name in names] for t in texts]) / np.sqrt(3)
    normal = matrix.T @ matrix + fit.RIDGE * np.eye(len(names))
    known = np.linalg.solve(normal, matrix.T @ np.array([text.score for text in texts]))
    for name, weight in zip(names, known, strict=True):
        assert found.get(name, 0.0) == pytest.approx(weight, abs=0.006)


def test_agreement_by_hand():
    texts = [rated(0, "a", 2.0), rated(1, "b", -2.0), rated(2, "c", 0.1)]
    figures = fit.agreement(texts, {"a": 1.0, "b": -1.0, "c": 0.0}.__getitem__)
    assert figures["polarity"] == figures["auc"] == 1
    assert figures["silent"] == pytest.approx(1 / 3)
    wrong = fit.agreement(texts, {"a": 0.0, "b": 0.0, "c": 1.0}.__getitem__)
    assert (wrong["polarity"], wrong["auc"]) == (0, 0.5)


def archive(folder, num_reviews=40):
    """An archive in the form of VADER's: reviews of one sentence, half of them bad."""
    tables = {"GroundTruth": "", "anonDataRatings": ""}
    for number in range(num_reviews):
        score = 2.0 if number % 2 else -2.0
        word = "great" if number % 2 else "awful"
        text = f"my new camera number {number} is a really {word} thing to hold , in all."
        tables["GroundTruth"] += f"{number}_1\t{score}\t{text}\n"
        spread = 1.9 if number == 0 else 0.5
        tables["anonDataRatings"] += f"{number}_1\t{score}\t{spread}\t[2, 2]\n"
    inner, outer = io.BytesIO(), folder / "vader.tar.gz"
    with tarfile.open(fileobj=inner, mode="w:gz") as packed:
        for domain in ("tweets", "amazonReviewSnippets"):
            for name, content in tables.items():
                _add(packed, f"hutto/{domain}_{name}.txt", content.encode())
    with tarfile.open(outer, "w:gz") as packed:
        _add(packed, "v/additional_resources/hutto_ICWSM_2014.tar.gz", inner.getvalue())
    return outer


def _add(packed, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    packed.addfile(member, io.BytesIO(content))


def packages(folder, count=60):
    things = ("river", "bridge", "stone", "garden", "window", "market", "winter", "letter")
    stanzas = []
    for number in range(count):
        one, two, three = (things[(number * step + number // 8) % 8] for step in (1, 3, 5))
        stanzas.append(
            f"Package: p{number}\nDescription: synopsis {number}\n"
            f" The {one} number is shown with an old {two} that many people like near a {three}.\n"
        )
    file = folder / "Packages"
    file.write_text("\n".join(stanzas))
    return file


def test_ratings_come_out_of_the_archive_by_review_without_those_on_which_people_differ(tmp_path):
    splits = load_ratings(archive(tmp_path))
    texts = [text for split in splits.values() for text in split]
    assert len(texts) == 78
    assert "vader-reviews-0_1" not in {text.id for text in texts}
    text = next(text for text in texts if text.id == "vader-reviews-3_1")
    assert text.text == "my new camera number 3 is a really great thing to hold, in all."
    assert (text.score, text.group) == (2.0, "vader-reviews-3")


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_another_file_than_the_archive_is_refused(tmp_path, content):
    (tmp_path / "x.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"x.tar.gz: cannot be read: .*expected vaderSentiment"):
        load_ratings(tmp_path / "x.tar.gz")


def test_keywords_are_rare_plain_words_that_the_sentence_does_not_merely_list():
    sentence = "The Foo server draws a graph with many small arrows."
    counts = document_counts([Package("p", "p", "", (sentence, "many small servers"))])
    counts.update({"small": 9, "many": 9, "with": 1})
    assert keywords(sentence, counts, 1) == ["draws", "graph", "arrows"]
    assert keywords(sentence, counts, 10**6) == []
    listed = "It is for graphs, arrows and servers."
    assert keywords(listed, document_counts([Package("p", "p", "", (listed,))]), 1) == []


def test_the_builder_gives_the_same_playable_bytes_twice(tmp_path, capsys):
    files = ["--ratings", str(archive(tmp_path)), "--packages", str(packages(tmp_path))]
    for split in ("train", "validation", "test"):
        row = json.dumps({"id": "poem", **POEM}, ensure_ascii=False)
        (tmp_path / f"poems.{split}.jsonl").write_text(row + "\n", encoding="utf-8")
    more = ["--add", str(tmp_path / "poems.{split}.jsonl")]
    for out in ("one", "two"):
        assert build.main([*files, "--out", str(tmp_path / out), *more]) == 0
    assert "train: " in capsys.readouterr().out
    for split in ("train", "validation", "test"):
        one, two = (tmp_path / out / f"{split}.jsonl" for out in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
        env = gymnasium.make(ID, split=split, data=str(tmp_path / "one"), kinds=KINDS).unwrapped
        rows = [env.reset(options={"row": row}) for row in range(env.num_rows)]
        assert {info["kind"] for _, info in rows} == {"sentiment", "keywords", "poem_form"}
        pairs = [info for _, info in rows if info["kind"] == "sentiment"]
        assert sum("expert_action" in info for info in pairs) * 2 == len(pairs)


def test_the_builder_says_what_it_cannot_read(tmp_path, capsys):
    lists = ["--packages", str(packages(tmp_path))]
    arguments = ["--ratings", str(tmp_path / "no.tar.gz"), *lists, "--out", str(tmp_path / "out")]
    assert build.main(arguments) == 2
    assert "no.tar.gz: cannot be read" in capsys.readouterr().err


def test_the_fit_writes_weights_and_says_how_far_scorers_agree(tmp_path, capsys):
    out = tmp_path / "weights.csv"
    assert fit.main(["--ratings", str(archive(tmp_path)), "--out", str(out)]) == 0
    weights = dict(line.split(",") for line in out.read_text().splitlines())
    assert float(weights["great"]) > 0 > float(weights["awful"])
    assert "n-grams all" in capsys.readouterr().out
    assert fit.main(["--ratings", str(tmp_path / "no"), "--out", str(out)]) == 2
