import hashlib
import json
import subprocess
import zipfile
from random import Random

import gymnasium
import pytest

from strategy_rl_envs.kit.errors import DataError
from strategy_rl_envs.reply_selection import chitchat
from strategy_rl_envs.reply_selection.build import Size, build, main, split_episodes
from strategy_rl_envs.reply_selection.chitchat import (
    WHEEL,
    find_source,
    is_clean,
    load_conversations,
)
from strategy_rl_envs.reply_selection.distractors import Pool, Reply

SIZE = Size(test=4, validation=3, distractors=(1, 1, 2))
TOPICS = ("river", "castle", "violin")


def messages(number, turns):
    topic = TOPICS[number % len(TOPICS)]
    return [
        [
            {
                "text": f"about {topic}{'abcdefghijklmnopqrstuvwx'[place]}  in talk {number},",
                "sender": f"s{place % 2}",
                "timestamp": "",
            },
            {"text": f"part {place} of it", "sender": f"s{place % 2}", "timestamp": ""},
        ]
        for place in range(turns)
    ]


@pytest.fixture
def source(tmp_path):
    liked = {"witty": 8, "interesting": 6, "upbeat": 7}
    raw = {f"{n:04d}-aaaa-bbbb": {"messages": messages(n, 24), "ratings": liked} for n in range(20)}
    raw["short"] = {"messages": messages(30, 5), "ratings": liked}
    raw["disliked"] = {"messages": messages(31, 24), "ratings": {"witty": 2}}
    raw["unrated"] = {"messages": messages(32, 24)}
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(raw))
    return path


def read(folder, split):
    return [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]


def test_only_long_and_liked_conversations_are_kept_and_messages_are_joined(source):
    conversations = load_conversations(source)
    assert len(conversations) == 20
    assert conversations[0].turns[1].text == "about riverb in talk 0, part 1 of it"
    assert [said.speaker for said in conversations[0].turns[:3]] == [0, 1, 0]


def test_an_episode_is_one_speakers_first_eight_turns_with_the_three_before(source, tmp_path):
    build(source, tmp_path / "out", SIZE)
    row = next(row for row in read(tmp_path / "out", "train") if row["id"].endswith("-0"))
    assert len(row["turns"]) == 8
    first = row["turns"][0]
    gold = first["candidates"][first["label"]]
    assert gold.endswith("part 2 of it")  # turn 0 has nothing before it
    assert [text[-13:] for text in first["context"]] == [" part 0 of it", " part 1 of it"]
    assert len(row["turns"][5]["context"]) == 3


def test_splits_share_no_conversation_and_candidates_stay_in_their_split(source, tmp_path):
    manifest = build(source, tmp_path / "out", SIZE)
    groups, golds = {}, {}
    for split in ("train", "validation", "test"):
        rows = read(tmp_path / "out", split)
        groups[split] = {row["group"] for row in rows}
        turns = [turn for row in rows for turn in row["turns"]]
        golds[split] = {turn["candidates"][turn["label"]] for turn in turns}
        assert {text for turn in turns for text in turn["candidates"]} == golds[split]
        assert manifest["splits"][split]["episodes"] == len(rows)
        assert manifest["splits"][split]["turns"] == len(turns)
    assert [len(names) for names in groups.values()] == [13, 3, 4]
    assert len(set().union(*groups.values())) == 20


def test_a_turn_has_four_wrong_candidates_none_of_them_shown_twice(source, tmp_path):
    build(source, tmp_path / "out", SIZE)
    near = 0
    for row in read(tmp_path / "out", "train"):
        for turn in row["turns"]:
            assert turn["kinds"].count("same_conversation") == 1
            assert turn["kinds"].count("gold") == 1
            assert turn["kinds"].count("near") + turn["kinds"].count("random") == 3
            assert turn["kinds"][turn["label"]] == "gold"
            texts = [*turn["candidates"], *turn["context"]]
            assert len(set(texts)) == len(texts)
            near += turn["kinds"].count("near")
    assert near > 50


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_splits(source, tmp_path):
    first, again, other = (
        build(source, tmp_path / name, SIZE, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first == again
    for name in ("train.jsonl", "validation.jsonl", "test.jsonl", "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert first["splits"]["test"]["sha256"] != other["splits"]["test"]["sha256"]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        *("train.jsonl", "validation.jsonl", "test.jsonl", "manifest.json")
    }


def test_a_cap_on_texts_leaves_out_training_conversations_alone(source, tmp_path):
    whole = build(source, tmp_path / "whole", SIZE)
    capped = build(source, tmp_path / "capped", Size(test=4, validation=3, max_texts=200))
    assert whole["distinct_texts"] > 200 >= capped["distinct_texts"]
    assert 0 < capped["splits"]["train"]["episodes"] < whole["splits"]["train"]["episodes"]
    for split in ("validation", "test"):
        assert capped["splits"][split]["episodes"] == whole["splits"][split]["episodes"]


def test_the_train_size_counts_episodes(source):
    conversations = load_conversations(source)
    splits = split_episodes(conversations, Size(test=4, validation=3, train=6), seed=0)
    assert len(splits["train"]) == 6


def test_the_built_folder_loads_as_a_task(source, tmp_path):
    build(source, tmp_path / "out", SIZE)
    env = gymnasium.make(
        "strategy_rl_envs:strategy_rl/ReplySelection-v0", data=str(tmp_path / "out"), split="test"
    )
    assert env.unwrapped.num_rows == 8
    assert len(set(env.unwrapped.row_groups)) == 4


def test_a_wheel_serves_as_well_as_the_file_in_it(source, tmp_path):
    wheel = tmp_path / "chitchat.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(source, "chitchat_dataset/dataset.json")
    assert load_conversations(wheel) == load_conversations(source)


def test_the_command_reports_its_counts_and_refuses_a_missing_source(source, tmp_path, capsys):
    out = tmp_path / "out"
    code = main(["--out", str(out), "--dataset", str(source), "--size", "full"])
    assert code == 2
    assert "20 conversations can be used; expected over 550" in capsys.readouterr().err
    assert not out.exists()
    assert main(["--out", str(out), "--dataset", str(tmp_path / "absent.json")]) == 2
    assert "absent.json: cannot read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "what the f***, fuck",
        "Shit happens",
        "mail me at a@b.org",
        "it is on www.example.org",
        "call 801 555 1234",
        "I have 12345 of them",
        "add me on Instagram",
        "my name is short",
        "Hey Claire how are you",
        "I'm Sarah",
        "nice to meet you too, Sophia",
        "line\u0007bell",
        "",
    ],
)
def test_coarse_and_personal_texts_are_left_out(text):
    assert not is_clean(text)


@pytest.mark.parametrize(
    "text", ["Hi there, how are you?", "that class was a classic", "I'm from time to time late"]
)
def test_plain_texts_are_kept(text):
    assert is_clean(text) == ("from" not in text)


def test_near_distractors_share_a_rare_word_and_are_never_of_the_same_conversation():
    replies = [Reply(f"filler number {word}", f"g{word}") for word in "abcdefghij" * 40]
    replies += [Reply("the violin is old", "x"), Reply("a violin for sale", "y")]
    replies += [Reply("my violin broke", "z"), Reply("second thing of z", "z")]
    pool = Pool(replies)
    gold = Reply("my violin broke", "z")
    drawn = pool.draw(Random(0), gold, ["do you play ?"], (1, 2, 2))
    kinds = {kind: {text for text, given in drawn if given == kind} for _, kind in drawn}
    assert kinds["same_conversation"] == {"second thing of z"}
    assert kinds["near"] == {"the violin is old", "a violin for sale"}
    assert all(text.startswith("filler") for text in kinds["random"])
    assert len(drawn) == 5


def test_a_cached_wheel_that_is_not_the_pinned_one_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / WHEEL).write_bytes(b"something else")
    with pytest.raises(
        DataError, match=r"SHA-256 is [0-9a-f]{64}, expected 7bf89f.*delete the file"
    ):
        find_source()


def test_a_failed_download_tells_what_pip_said_and_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    errors = [
        subprocess.CalledProcessError(1, "pip", stderr="no route to the index\n"),
        subprocess.TimeoutExpired("pip", 900),
    ]

    def fail(command, *, timeout, **kwargs):
        raise errors[0]

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(DataError, match=r"no route to the index; install the package or name"):
        find_source()
    errors.pop(0)
    with pytest.raises(DataError, match="timed out after 900 seconds; install the package"):
        find_source()


def test_an_installed_data_set_is_used_only_where_it_is_the_pinned_one(tmp_path, monkeypatch):
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path / "cache"))
    package = tmp_path / "chitchat_dataset"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('must not run')")
    (package / "dataset.json").write_bytes(b"{}")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "cache/data").mkdir(parents=True)
    (tmp_path / "cache/data" / WHEEL).write_bytes(b"fetched")
    digest = hashlib.sha256(b"fetched").hexdigest()
    monkeypatch.setattr(chitchat, "WHEEL_SHA256", digest)
    assert find_source() == tmp_path / "cache/data" / WHEEL
    monkeypatch.setattr(chitchat, "DATASET_SHA256", hashlib.sha256(b"{}").hexdigest())
    assert find_source() == package / "dataset.json"
