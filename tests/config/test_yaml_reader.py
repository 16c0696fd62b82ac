from __future__ import annotations

import math
import time

import pytest

from strategy_rl.config.yaml_reader import MAX_NODES, Document, Place, read_text


def messages(document: Document) -> str:
    return "\n".join(str(fault) for fault in document.faults)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1E5", 100000.0),
        ("-.5", -0.5),
        ("3.", 3.0),
        ("0x1f", 31),
        ("-7", -7),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("-.inf", -math.inf),
        ("010", "010"),
        ("12:30:00", "12:30:00"),
        ("1_000", "1_000"),
        ("2026-01-31", "2026-01-31"),
        ('"no"', "no"),
        ("y", "y"),
        ("0", 0),
        ("1.2.3", "1.2.3"),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    document = read_text(f"a: {text}", "f")
    assert document.faults == []
    assert document.values == {"a": value}
    assert type(document.values["a"]) is type(value)


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "Yes", "NO", "Off"])
def test_plain_yes_and_no_are_refused_wherever_they_stand(word: str) -> None:
    for text in (f"a: {word}", f"a: [1, {word}]", f"{word}: 1"):
        assert "quote it" in messages(read_text(text, "f"))


def test_places_are_those_of_keys_and_items() -> None:
    document = read_text("a: 1\nb:\n  - x: 2\n  - 3\n", "f")
    assert document.places[("a",)] == Place("f", 1, 1)
    assert document.places[("b",)] == Place("f", 2, 1)
    assert document.places[("b", 0, "x")] == Place("f", 3, 5)
    assert document.places[("b", 1)] == Place("f", 4, 5)


def test_every_duplicate_key_is_named_with_both_places() -> None:
    document = read_text("a: 1\nb: {c: 1, c: 2}\na: 3\n", "f")
    assert messages(document).splitlines() == [
        "f:2:11: b.c: given twice, first in line 2; remove one",
        "f:3:1: a: given twice, first in line 1; remove one",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: !!python/object/apply:os.getcwd []", "tag"),
        ("a: !!python/name:os.system x", "tag"),
        ("a: !mine {b: 1}", "tag"),
        ("a: !!set {b, c}", "tag"),
        ("a: !!int x", "expected a number"),
        ("a: " + "9" * 5000, "expected a number"),
        ("? [1, 2]\n: 3", "is no text"),
        ("1: 2", "is no text"),
        ("a:\n\tb: 1", "tabs"),
        ("a: [1", "not valid YAML"),
        ("a: b: c", "not valid YAML"),
        ("a: *nobody", "undefined alias"),
        ("--- 1\n--- 2", "single document"),
        ('a: "\\ud800"', "half a character"),
        ('a: "\\UFFFFFFFF"', "not valid YAML"),
        ("a: \x07", "control character"),
        ("a: &x [*x]", "contains itself"),
    ],
)
def test_what_is_not_plain_data_is_refused(text: str, expected: str) -> None:
    assert expected in messages(read_text(text, "f"))


ALIAS_BOMB = "a0: &a0 [x, x]\n" + "".join(
    f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 20)
)


@pytest.mark.parametrize(
    "text",
    [
        ALIAS_BOMB,
        "[" * 50_000,
        "- " * 50_000,
        "{a: " * 50_000,
        "a: [" + "1, " * 60_000 + "]",
        "".join(f"k{i}: {i}\n" for i in range(MAX_NODES)),
    ],
    ids=["aliases", "brackets", "dashes", "braces", "long list", "many keys"],
)
def test_hostile_sizes_are_refused_in_bounded_time(text: str) -> None:
    start = time.process_time()
    document = read_text(text, "f")
    assert time.process_time() - start < 5
    assert document.broken
    assert "nested deeper" in messages(document) or "more than 20000" in messages(document)
