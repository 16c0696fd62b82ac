import json
from pathlib import Path

import pytest
from recorded import episode, evaluated, step, write_run

from strategy_rl.board.catalog import Catalog, RunIndex
from strategy_rl.board.faults import RequestError
from strategy_rl.board.index import FileIndex, read_whole
from strategy_rl.episodes import episode_to_json, json_line


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_run(tmp_path, ppo=[episode("ppo", row, [step(0)]) for row in range(3)]) / (
        "episodes/ppo.jsonl"
    )


def line(row: int) -> bytes:
    return json_line(episode_to_json(episode("ppo", row, [step(0)])))


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def rows(index: FileIndex) -> list[int]:
    return [entry.head["row"] for entry in index.entries()]


def indexed(path: Path) -> FileIndex:
    index = FileIndex(path)
    index.update()
    return index


def test_a_head_tells_what_lists_show(path: Path) -> None:
    head = indexed(path).entries()[1].head
    assert head == {
        "key": head["key"],
        "episode_id": "test-ppo-1",
        "stage": "evaluation",
        "iteration": 0,
        "split": "test",
        "policy": "ppo",
        "row": 1,
        "kind": "odd",
        "group": None,
        "return": 1.0,
        "length": 1,
        "terminated": True,
        "value_error": 1.0,
        "least_probability": 0.5,
        "actions": {"candidate 0": 1},
        "components": {"bleu": 1.25, "price": -0.25},
        "selection": None,
    }


def test_lines_without_a_summary_give_the_same_heads(path: Path) -> None:
    expected = [entry.head for entry in indexed(path).entries()]
    header, *lines = path.read_text().splitlines()
    old = [json.loads(text) for text in lines]
    for fields in old:
        del fields["summary"]
    path.write_text("\n".join([header, *map(json.dumps, old)]) + "\n")  # with spaces after colons
    assert [entry.head for entry in indexed(path).entries()] == expected


def test_only_appended_bytes_are_read_again(path: Path) -> None:
    index = indexed(path)
    first = index.entries()[0]
    append(path, line(3))
    assert index.update()
    assert rows(index) == [0, 1, 2, 3]
    assert index.entries()[0] is first


def test_nothing_new_is_no_change(path: Path) -> None:
    index = indexed(path)
    assert not index.update()


def test_a_half_written_last_line_waits_for_its_end(path: Path) -> None:
    index = indexed(path)
    whole = line(3)
    append(path, whole[:40])
    index.update()
    assert rows(index) == [0, 1, 2]
    append(path, whole[40:])
    index.update()
    assert rows(index) == [0, 1, 2, 3]
    assert read_whole(index.entries()[3])["row"] == 3


@pytest.mark.parametrize("new", [[7], [7, 8, 9, 10]], ids=["shorter", "longer"])
def test_a_file_that_was_written_anew_is_read_anew(path: Path, new: list[int]) -> None:
    index = indexed(path)
    header = path.read_bytes().partition(b"\n")[0]
    path.write_bytes(header + b"\n" + b"".join(line(row) for row in new))
    index.update()
    assert rows(index) == new


def test_a_file_changed_in_place_is_read_anew(path: Path) -> None:
    index = indexed(path)
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b'"row":1', b'"row":5'))
    assert path.stat().st_size == before.st_size
    index.update()
    assert rows(index) == [0, 5, 2]


@pytest.mark.parametrize(
    "damage",
    [
        *(b"no json\n", b"[1]\n", b'{"row": 1}\n', b"\xff\n", b"1],[2\n", b"[" * 10_000 + b"\n"),
        b'{"episode_id":"x","summary":{"length":true},"steps":[]}\n',
        b'{"episode_id":"x","summary":{"length":1' + b"0" * 400 + b'},"steps":[]}\n',
    ],
)
def test_damaged_lines_are_left_out(path: Path, damage: bytes) -> None:
    append(path, damage + line(4))
    index = indexed(path)
    assert rows(index) == [0, 1, 2, 4]
    assert read_whole(index.entries()[3])["row"] == 4


def test_steps_that_are_none_leave_an_old_line_out(path: Path) -> None:
    append(path, b'{"episode_id":"x","steps":[3]}\n' + line(4))
    assert rows(indexed(path)) == [0, 1, 2, 4]


def test_texts_that_look_like_json_do_not_cut_a_head(path: Path) -> None:
    trap = ',"steps":[1,2]'
    made = episode("ppo", 4, [step(0)], episode_id=trap, group=trap, kind=trap)
    append(path, json_line(episode_to_json(made)))
    head = indexed(path).entries()[3].head
    assert (head["episode_id"], head["kind"], head["group"]) == (trap, trap, trap)


def test_numbers_that_no_calculation_can_hold_are_unknown(path: Path) -> None:
    huge = b"1" + b"0" * 400
    numbers = b'"row":%s,"return":%s,"summary":{"length":1,"components":{"a":%s,"b":1e999,"c":2}}'
    append(path, b'{"episode_id":"x",' + numbers % (huge, huge, huge) + b',"steps":[]}\n')
    head = indexed(path).entries()[3].head
    assert (head["row"], head["return"], head["components"]) == (None, None, {"c": 2})


def test_other_schemas_are_left_out(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"schema":1', b'"schema":2'))
    assert rows(indexed(path)) == []


def test_keys_stay_the_same_after_a_restart_and_growth(path: Path) -> None:
    before = [entry.head["key"] for entry in indexed(path).entries()]
    append(path, line(3))
    after = [entry.head["key"] for entry in indexed(path).entries()]
    assert after[:3] == before
    assert len(set(after)) == 4
    assert max(after) < 2**53  # a whole number in JavaScript


def test_an_episode_whose_line_is_gone_is_refused(path: Path) -> None:
    entry = indexed(path).entries()[2]
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(RequestError, match="reload"):
        read_whole(entry)


def test_hidden_and_other_files_are_no_episodes(tmp_path: Path) -> None:
    run = evaluated(tmp_path / "run")
    (run / "episodes" / ".tmp-ppo.jsonl-1").write_bytes(line(1))
    (run / "episodes" / ".tmp.jsonl").write_bytes(line(1))
    (run / "episodes" / "notes.txt").write_text("hello")
    index = RunIndex("run", run)
    index.refresh()
    assert {path.name for path in index.files} == {"ppo.jsonl", "sft.jsonl"}


def test_the_version_rises_with_growth_alone(path: Path, tmp_path: Path) -> None:
    catalog = Catalog({tmp_path: None})
    catalog.refresh()
    version = catalog.version
    catalog.refresh()
    assert catalog.version == version
    append(path, line(3))
    catalog.refresh()
    assert catalog.version > version


def test_runs_and_files_that_are_deleted_disappear(tmp_path: Path) -> None:
    for name in ("one", "two"):
        evaluated(tmp_path / name)
    catalog = Catalog({tmp_path: None})
    catalog.refresh()
    (tmp_path / "one" / "episodes" / "sft.jsonl").unlink()
    (tmp_path / "two" / "episodes").rename(tmp_path / "two" / "other")
    version = catalog.version
    catalog.refresh()
    assert {name: len(run.entries()) for name, run in catalog.runs.items()} == {"one": 6}
    assert catalog.version > version
