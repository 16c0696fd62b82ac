"""The builder, on package lists written by hand."""

import gzip
import json
import lzma

import pytest

from strategy_rl_envs.kit.descriptions import (
    Package,
    load_packages,
    sentences_of,
    split_sentences,
)
from strategy_rl_envs.kit.errors import DataError, TaskError
from strategy_rl_envs.summarization.build import SIZES, Size, build, deal, family, main, usable

PACKAGES = """\
Package: foxview
Source: fox (1.2)
Version: 1.2-1
Description: viewer for foxes
Section: science

Package: henhouse
Description: house of many hens

"""
TRANSLATION = """\
Package: foxview
Description-md5: 0123456789abcdef0123456789abcdef
Description-en: viewer for foxes
 Foxview shows foxes, e.g. Red ones. It is fast!  See
 https://fox.example.org/view or ask <a.fox@example.org> for more.
 .
 It knows:
  * red foxes,
    and grey ones
  * arctic foxes
"""


def test_both_lists_together_give_source_synopsis_and_sentences(tmp_path):
    (tmp_path / "Packages").write_text(PACKAGES)
    with gzip.open(tmp_path / "Translation-en.gz", "wt") as file:
        file.write(TRANSLATION)
    fox, hen = load_packages([tmp_path / "Packages", tmp_path / "Translation-en.gz"])
    assert (fox.name, fox.source, fox.synopsis) == ("foxview", "fox", "viewer for foxes")
    assert fox.sentences == (
        "Foxview shows foxes, e.g. Red ones.",
        "It is fast!",
        "See <url> or ask <mail> for more.",
        "It knows:",
        "red foxes, and grey ones",
        "arctic foxes",
    )
    assert hen == Package("henhouse", "henhouse", "house of many hens", ())


def test_a_packed_list_says_the_same(tmp_path):
    with lzma.open(tmp_path / "Translation-en.xz", "wt") as file:
        file.write(TRANSLATION)
    (fox,) = load_packages([tmp_path / "Translation-en.xz"])
    assert len(fox.sentences) == 6


def test_lists_without_long_descriptions_are_refused(tmp_path):
    (tmp_path / "Packages").write_text(PACKAGES)
    with pytest.raises(DataError, match="give the `Translation-en` list too"):
        load_packages([tmp_path / "Packages"])


def test_a_line_that_is_no_field_is_named(tmp_path):
    (tmp_path / "Packages").write_text("Package: a\nnonsense\n")
    with pytest.raises(DataError, match=r"Packages:2: expected 'Field: value', got 'nonsense"):
        load_packages([tmp_path / "Packages"])


def test_a_list_in_an_unknown_packing_is_refused_with_a_hint(tmp_path):
    (tmp_path / "Packages.lz4").write_bytes(b"\x04\x22\x4d\x18\xff\xfe")
    with pytest.raises(DataError, match=r"Packages\.lz4: cannot be read.*unpack it first"):
        load_packages([tmp_path / "Packages.lz4"])


def test_sentences_end_at_full_stops_but_not_at_abbreviations_or_inside_numbers():
    text = 'It has 2.5 parts, i.e. Two. "Why?" asks one. J. Doe knows, etc. so do you'
    assert split_sentences(text) == [
        "It has 2.5 parts, i.e. Two.",
        '"Why?" asks one.',
        "J. Doe knows, etc. so do you",
    ]


def test_a_line_under_a_heading_ends_it():
    assert sentences_of(" Foxes\n =====\n They are red.\n") == ["Foxes", "They are red."]


def test_empty_descriptions_have_no_sentences():
    assert sentences_of("") == []
    assert sentences_of(" .\n .\n") == []


WORDS = [first + second for first in "bcdfghjklm" for second in ("ad", "el", "im", "op", "un")]


def packages(count, name="{word}tool"):
    """Packages of four sentences, each of another source."""
    return [
        Package(
            name.format(word=word),
            word,
            f"tool that knows {word}",
            tuple(f"Part {part} of {word}." for part in range(4)),
        )
        for word in WORDS[:count]
    ]


def test_one_package_a_source_and_no_text_twice():
    one, other, third = packages(3)
    twin = Package("twin", one.source, "quite another synopsis", ("A.", "B.", "C.", "D."))
    same = Package("same", "same", other.synopsis.upper(), ("E.", "F.", "G.", "H."))
    alike = Package(
        "alike", "alike", "yet another synopsis", (third.sentences[0], "I.", "J.", "K.")
    )
    kept = usable([one, other, third, twin, same, alike], seed=0)
    assert len(kept) == 3
    assert len({package.source for package in kept}) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"sentences": ("A.", "B.", "C.")},
        {"sentences": ("A.",) * 15},
        {"synopsis": "tool"},
        {"synopsis": "transitional package for tools"},
    ],
)
def test_what_gives_nothing_to_decide_is_left_out(change):
    (package,) = packages(1)
    fields = {"name": package.name, "source": package.source} | {
        "synopsis": package.synopsis,
        "sentences": package.sentences,
    }
    assert len(usable([Package(**fields)], seed=0)) == 1
    assert usable([Package(**(fields | change))], seed=0) == []


def test_few_packages_of_one_family_come_into_a_split():
    assert family("libfox-perl") == family("libhen-perl") == "-perl"
    assert family("python3-fox") == "python3"
    many = packages(20, "lib{word}-perl") + packages(20, "{word}view")
    dealt = deal(many, Size(train=10, validation=10, test=10, family_share=0.2))
    for split in dealt.values():
        assert sum(family(package.name) == "-perl" for package in split) <= 2


def test_too_few_packages_are_refused():
    with pytest.raises(TaskError, match="5 packages can be used; expected over 160"):
        deal(packages(5), SIZES["sample"])


def a_list(count):
    """A list of that many packages."""
    return "\n".join(
        f"Package: {package.name}\nDescription: {package.synopsis}\n "
        + "\n ".join(package.sentences)
        + "\n"
        for package in packages(count)
    )


def test_the_same_lists_give_the_same_bytes_and_splits_share_nothing(tmp_path):
    (tmp_path / "Packages").write_text(a_list(30))
    size = Size(train=100, validation=4, test=6)
    build([tmp_path / "Packages"], tmp_path / "one", size)
    manifest = build([tmp_path / "Packages"], tmp_path / "two", size)
    groups = {}
    for split in ("train", "validation", "test"):
        content = (tmp_path / "one" / f"{split}.jsonl").read_bytes()
        assert content == (tmp_path / "two" / f"{split}.jsonl").read_bytes()
        groups[split] = {json.loads(line)["group"] for line in content.splitlines()}
        assert len(groups[split]) == manifest["splits"][split]["documents"]
    assert {split: len(found) for split, found in groups.items()} == {
        "train": 20,
        "validation": 4,
        "test": 6,
    }
    assert len(set.union(*groups.values())) == 30


def test_the_command_builds_what_it_says_and_refuses_in_one_line(tmp_path, capsys):
    (tmp_path / "Packages").write_text(a_list(30))
    lists = ["--packages", str(tmp_path / "Packages"), "--out", str(tmp_path / "out")]
    assert main([*lists, "--test", "5", "--validation", "5"]) == 0
    assert "train: 20 documents, 80 sentences" in capsys.readouterr().out
    assert main(["--packages", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    assert "none: cannot be read" in capsys.readouterr().err
