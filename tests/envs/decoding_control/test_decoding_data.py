"""Rows of decoding control: what a file may hold, what is refused, and how data is built."""

import json

import pytest

from strategy_rl_envs.decoding_control import build
from strategy_rl_envs.decoding_control.data import SAMPLE, load_split
from strategy_rl_envs.decoding_control.sources import LENGTHS, around
from strategy_rl_envs.kit.errors import DataError

FULL = {
    "id": "a",
    "group": "g",
    "kind": "question",
    "prompt": "Foxes are red. Which colour?",
    "source": "Foxes are red.",
    "references": ["red", "Red."],
    "keywords": ["red"],
    "window": [1, 4],
}


@pytest.fixture
def load(tmp_path):
    """Read given rows back."""

    def loaded(*rows, **kwargs):
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return load_split(path, **kwargs)

    return loaded


def test_a_row_gives_rewards_all_that_it_holds(load):
    row = load(FULL).rows[0]
    assert (row.id, row.group) == ("a", "g")
    assert row.facts(7, "red", 2, 0.5) == {
        "output": "red",
        "prompt": "Foxes are red. Which colour?",
        "source": "Foxes are red.",
        "reference": "red",
        "references": ("red", "Red."),
        "keywords": ("red",),
        "window": (1, 4),
        "kind": "question",
        "row": 7,
        "num_tokens": 2,
        "surprisal": 0.5,
    }


def test_a_prompt_alone_will_do(load):
    row = load({"id": "a", "prompt": "Write."}).rows[0]
    assert (row.group, row.kind, row.source) == ("a", "text", "")
    assert (row.references, row.keywords, row.window) == ((), (), None)
    assert row.facts(0, "", 0)["reference"] is None


def test_a_single_reference_stands_for_a_list_of_one(load):
    assert load({"id": "a", "prompt": "Write.", "reference": "so"}).rows[0].references == ("so",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": " .. "}, "prompt: expected a text with words"),
        ({"prompt": 3}, "prompt: expected a text"),
        ({"references": "red"}, "references: expected a list of texts"),
        ({"references": ["red", "?"]}, r"references\[1\]: expected a text with words"),
        ({"keywords": [""]}, r"keywords\[0\]: expected a text with words"),
        ({"window": [4, 1]}, r"window: expected \[fewest, most\].*got \[4, 1\]"),
        ({"window": [1, 2, 3]}, "window: expected"),
        ({"window": [True, 2]}, "window: expected"),
        ({"window": 3}, "window: expected"),
    ],
)
def test_a_field_that_cannot_be_used_is_named_with_its_line(load, change, message):
    with pytest.raises(DataError, match=rf"rows.jsonl:2: {message}"):
        load(FULL, {**FULL, "id": "b", **change})


def test_an_id_stands_once(load):
    with pytest.raises(DataError, match=r"rows.jsonl:2: id: 'a' stands twice"):
        load(FULL, FULL)


def test_prompts_that_are_too_long_are_left_out_and_counted(load):
    long = {**FULL, "id": "b", "prompt": "x" * 41}
    split = load(FULL, long, max_prompt=40)
    assert [row.id for row in split.rows] == ["a"]
    assert split.counts == {"used": 1, "skipped: prompt of more than 40 characters": 1}


def test_the_sample_has_both_kinds_in_every_split_and_splits_share_no_group():
    splits = [load_split(SAMPLE / f"{name}.jsonl").rows for name in ("train", "validation", "test")]
    for rows in splits:
        assert {row.kind for row in rows} == {"description", "question"}
        assert all(row.references and row.source in row.prompt for row in rows)
    groups = [{row.group for row in rows} for rows in splits]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]


CONTEXT = "A fox came. It was 3.5 feet long, Dr Po said. It left!  Nobody saw it."


@pytest.mark.parametrize(
    ("part", "sentences"),
    [
        ("fox", "A fox came."),
        ("3.5 feet", "It was 3.5 feet long, Dr Po said."),
        ("Nobody", "Nobody saw it."),
        ("said. It", "It was 3.5 feet long, Dr Po said. It left!"),
    ],
)
def test_a_question_is_asked_of_the_sentences_that_hold_its_answer(part, sentences):
    start = CONTEXT.index(part)
    assert around(CONTEXT, start, start + len(part)) == sentences


COPIED = "The third sentence is long enough to be copied."


def sources(folder):
    """Documents and questions, one that cannot be used among each."""
    for split in ("train", "validation", "test"):
        documents = [
            {
                "id": f"{split}-{number}",
                "group": f"{split}-g{number}",
                "sentences": [f"Tool {number} is fine.", "It is written in pure Go.", COPIED],
                "references": [f"fine tool {number}"],
            }
            for number in range(4)
        ]
        documents[3]["sentences"] = ["x" * 601, "It is written in Gothic."]
        question = {
            "id": f"{split}-q",
            "context": CONTEXT,
            "question": "Who said so?",
            "answers": ["Dr Po", "Dr Po"],
            "answer_start": CONTEXT.index("Dr"),
            "title": split,
        }
        wanted = [
            {
                "id": f"{split}-k{number}",
                "control": "keywords" if number else "sentiment",
                "target": {"keywords": ["tool", "fine"], "max_words": 24},
                "reference": "This tool is fine.",
            }
            for number in range(9)
        ]
        for name, rows in (("d", documents), ("q", [question]), ("k", wanted)):
            path = folder / f"{name}.{split}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    documents = str(folder / "d.{split}.jsonl")
    given = {
        **dict.fromkeys(("descriptions", "languages", "copies", "lists"), documents),
        "questions": str(folder / "q.{split}.jsonl"),
        **dict.fromkeys(("keywords", "lengths"), str(folder / "k.{split}.jsonl")),
    }
    return [word for name, where in given.items() for word in (f"--{name}", where)]


def test_the_builder_gives_the_same_rows_of_every_source_twice(tmp_path, capsys):
    for out in ("one", "two"):
        assert build.main([*sources(tmp_path), "--out", str(tmp_path / out)]) == 0
    one, two = ((tmp_path / out / "test.jsonl").read_bytes() for out in ("one", "two"))
    assert one == two
    expected = (
        'test: {"descriptions": 3, "languages": 3, "copies": 3, "lists": 4, '
        '"keywords": 8, "lengths": 8, "questions": 1}\n'
    )
    assert capsys.readouterr().out.endswith(expected)
    rows = {row.id: row for row in load_split(tmp_path / "one" / "test.jsonl").rows}
    assert rows["test-0"].source == "Tool 0 is fine. It is written in pure Go."
    assert rows["test-0"].prompt == (
        "Tool 0 is fine. It is written in pure Go.\nWhat is this package? Answer in a few words."
    )
    assert rows["test-0"].references == ("fine tool 0",)
    assert rows["test-0-language"].source == "It is written in pure Go."
    assert rows["test-0-language"].references == ("Go",)
    assert rows["test-0-language"].group == "test-g0"
    assert rows["test-0-copy"].prompt.endswith(f'any change:\n"{COPIED}"')
    assert rows["test-0-copy"].references == (COPIED,)
    assert (
        rows["test-0-list"].prompt == "List ten different words that have to do with fine tool 0."
    )
    assert rows["test-0-list"].references == ()
    assert rows["test-k1"].prompt.endswith("all of these words: tool, fine.")
    assert rows["test-k1"].keywords == ("tool", "fine")
    lengths = [row for name, row in rows.items() if name.endswith("-length")]
    assert {row.kind: row.window for row in lengths} == LENGTHS
    assert all("{} to {} words".format(*row.window) in row.prompt for row in lengths)
    assert rows["test-q"].references == ("Dr Po",)
    assert rows["test-q"].prompt.startswith("It was 3.5 feet long, Dr Po said.\nWho said so?")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--descriptions", "/no/such"], r"/no/such/train.jsonl"),
        (["--questions", "one.jsonl"], "--questions: one.jsonl is one file"),
    ],
)
def test_the_builder_says_what_it_cannot_use(tmp_path, capsys, arguments, message):
    assert build.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_the_builder_wants_a_source(tmp_path, capsys):
    with pytest.raises(SystemExit):
        build.main(["--out", str(tmp_path)])
    assert "give one or more of --descriptions" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer_start": 0}, "answer_start: at 0 the context does not hold 'Dr Po'"),
        ({"answer_start": -1, "answers": ["."]}, "answer_start: at -1"),
        ({"answers": []}, "answers: expected one text or more"),
    ],
)
def test_an_answer_that_is_not_where_it_should_be_is_refused(tmp_path, capsys, change, message):
    arguments = sources(tmp_path)
    path = tmp_path / "q.train.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}) + "\n")
    assert build.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert f"q.train.jsonl:1: {message}" in capsys.readouterr().err
