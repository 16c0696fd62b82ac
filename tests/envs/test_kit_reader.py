import json
import os

import pytest

from strategy_rl_envs.kit.errors import DataError
from strategy_rl_envs.kit.reader import read_records
from strategy_rl_envs.kit.record import Record, Tally


def written(tmp_path, content, name="rows.jsonl"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_jsonl_rows_come_in_order_with_their_line(tmp_path):
    path = written(tmp_path, '{"text": "a"}\n\n{"text": "你好 \\ud83d\\ude00 \\u0000"}')
    records = list(read_records(path))
    assert [record.place for record in records] == [f"{path}:1", f"{path}:3"]
    assert records[1].text("text") == "你好 \U0001f600 \0"


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path):
    path = written(tmp_path, b'\xef\xbb\xbf{"text": "a"}\n')
    assert [record.text("text") for record in read_records(path)] == ["a"]


FAULTS = {
    "empty": (b"", "0 rows"),
    "blank lines alone": (b"\n\n", "0 rows"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), ":1: looks like UTF-16"),
    "UTF-16 without mark": ('{"a": 1}'.encode("utf-16-le"), ":1: looks like UTF-16"),
    "invalid UTF-8": (
        b'{"a": 1}\n{"a": "\xe9"}\n',
        ":2: invalid UTF-8: byte 0xe9 at byte 7 of the line, 16",
    ),
    "cut last line": (b'{"a": 1}\n{"a": "x', ":2: not valid JSON.*may still be being written"),
    "no JSON": (b"{a: 1}\n", ":1: not valid JSON"),
    "a list": (b"[1]\n", ":1: expected a JSON object, got list"),
    "duplicate keys": (b'{"a": 1, "a": 2}\n', ":1: key 'a' stands twice"),
    "NaN": (b'{"a": NaN}\n', ":1: NaN is no number"),
    "infinity": (b'{"a": -Infinity}\n', ":1: -Infinity is no number"),
    "lone surrogate": (b'{"a": ["\\uD83D"]}\n', ":1: a: holds half of a surrogate pair"),
    "deep nesting": (b"[" * 100_000 + b"\n", ":1: not valid JSON: nested too deeply"),
    "endless number": (b'{"a": ' + b"1" * 5000 + b"}\n", ":1: not valid JSON"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_jsonl_file_is_refused_with_its_place(tmp_path, fault):
    content, message = FAULTS[fault]
    with pytest.raises(DataError, match=message):
        list(read_records(written(tmp_path, content)))


def test_rows_before_the_broken_one_are_already_given(tmp_path):
    records = read_records(written(tmp_path, b'{"a": 1}\n{"a": \n'))
    assert next(records).integer("a") == 1
    with pytest.raises(DataError, match=":2:"):
        next(records)


def test_a_line_past_the_cap_is_refused_without_reading_it_whole(tmp_path):
    path = written(tmp_path, b'{"a": 1}\n{"a": "' + b"x" * 200 + b'"}\n')
    with pytest.raises(DataError, match=":2: the line is longer than 100 bytes"):
        list(read_records(path, max_line_bytes=100))


def test_directories_pipes_missing_files_and_unknown_types_are_refused(tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    written(tmp_path, "{}", "train.jsonl")
    for name, message in {
        "folder.jsonl": "is a directory",
        "pipe.jsonl": "is a pipe",
        "trian.jsonl": "No such file.*did you mean 'train.jsonl'",
        "rows.pickle": "cannot read '.pickle'",
    }.items():
        with pytest.raises(DataError, match=message):
            list(read_records(tmp_path / name))


def test_csv_fields_are_texts_and_nothing_else(tmp_path):
    path = written(tmp_path, 'text,other\n001,NA\n"a, ""b""\nc",\n', "rows.csv")
    rows = [dict(record.values) for record in read_records(path)]
    assert rows == [{"text": "001", "other": "NA"}, {"text": 'a, "b"\nc', "other": ""}]


CSV_FAULTS = {
    "header alone": (b"a,b\n", "0 rows"),
    "duplicate column": (b"a,a\n1,2\n", ":1: column 'a' stands twice"),
    "ragged row": (b"a,b\n1,2\n1\n", ":3: 1 fields, but the header has 2"),
    "open quote": (b'a,b\n1,"2\n', "not valid CSV"),
    "long field": (b"a\n" + b"x" * 200_000, ":2: not valid CSV: field larger"),
}


@pytest.mark.parametrize("fault", CSV_FAULTS)
def test_a_broken_csv_file_is_refused_with_its_place(tmp_path, fault):
    content, message = CSV_FAULTS[fault]
    with pytest.raises(DataError, match=message):
        list(read_records(written(tmp_path, content, "rows.csv")))


def test_parquet_rows_equal_the_jsonl_rows(tmp_path):
    from pyarrow import Table, parquet

    rows = [{"id": "a", "texts": ["x", "y"], "label": 1}, {"id": "b", "texts": ["z"], "label": 0}]
    parquet.write_table(Table.from_pylist(rows), tmp_path / "rows.parquet")
    path = written(tmp_path, "".join(json.dumps(row) + "\n" for row in rows))
    from_parquet = list(read_records(tmp_path / "rows.parquet"))
    assert [dict(record.values) for record in from_parquet] == rows
    assert [record.texts("texts") for record in from_parquet] == [
        record.texts("texts") for record in read_records(path)
    ]
    assert from_parquet[1].place.endswith("rows.parquet:row 2")


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    with pytest.raises(DataError, match="not readable as parquet"):
        list(read_records(written(tmp_path, b"text", "rows.parquet")))


def test_field_faults_name_place_field_and_what_was_expected():
    record = Record("f:7", {"contxt": [], "n": True, "x": 1e999, "t": ["a", 2], "none": None})
    for call, message in (
        (
            lambda: record.texts("context"),
            r"f:7: context: the field is missing; did you mean 'cont",
        ),
        (lambda: record.text("none"), "f:7: none: is null"),
        (lambda: record.text("n"), "f:7: n: expected a text, got bool True"),
        (lambda: record.integer("n"), "f:7: n: expected a whole number, got bool"),
        (lambda: record.number("x"), "f:7: x: expected a finite number, got inf"),
        (lambda: record.number("t"), "f:7: t: expected a number, got list"),
        (lambda: record.texts("t"), r"f:7: t\[1\]: expected a text, got int 2"),
        (lambda: record.texts("x"), "f:7: x: expected a list of texts"),
        (lambda: record.records("t"), r"f:7: t\[0\]: expected an object, got str 'a'"),
        (lambda: record.records("n"), "f:7: n: expected a list of objects"),
    ):
        with pytest.raises(DataError, match=message):
            call()
    assert record.text("absent", default="d") == "d"


def test_half_of_the_rows_may_be_skipped_and_not_one_more(caplog):
    tally = Tally()
    tally.used, tally.skipped["one candidate"] = 2, 2
    tally.close("rows.jsonl")
    assert "2 rows used, skipped: one candidate 2" in caplog.text
    assert tally.counts() == {"used": 2, "skipped: one candidate": 2}
    tally.skipped["empty context"] += 1
    with pytest.raises(DataError, match=r"3 of 5 rows cannot be used .empty context 1, one cand"):
        tally.close("rows.jsonl")
