"""Which settings were chosen where, told from episodes alone."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from invented import make_episode

from strategy_rl.episodes import Action, Episode, Step, plain
from strategy_rl.report.actions import in_order
from strategy_rl.report.behaviour import describe
from strategy_rl.report.fonts import BASE, families_for
from strategy_rl.report.plots import write_plots
from strategy_rl.report.settings import (
    MOST_SETTINGS,
    OTHERS,
    settings_by_kind,
    settings_by_step,
    written_texts,
)
from strategy_rl.report.summary import summarize
from strategy_rl.report.tables import render_markdown
from strategy_rl.report.text_layout import Run, lay_out, settings_of_line, words_of_line

NOBODY_HAS = "\U000e0fff"  # a character that is assigned to nothing
NAMES: dict[str, tuple[list[int], str]] = {
    "cold": ([0, 0], "T 0"),
    "hot": ([1, 0], "T 0.7"),
    "hot+": ([1, 1], "T 0.7, r 1.3"),
    "stop": ([0, 2], "stop"),
}


def step(action: Action, name: str, text: str | None, **more: Any) -> Step:
    return Step(action, name, 0.0, {}, text=text, special=False, **more)


def episode(
    kind: str | None, *chosen: str, texts: Sequence[str | None] = (), row: int = 0
) -> Episode:
    """An episode whose steps took these settings of `NAMES`, and wrote these texts."""
    given = [*texts, *["word "] * (len(chosen) - len(texts))]
    steps = tuple(step(*NAMES[name], text) for name, text in zip(chosen, given, strict=True))
    return Episode("e", "evaluation", 0, 0, "test", row, None, "ppo", True, steps, kind)


def report_of(*ppo: Episode) -> dict[str, Any]:
    numbered = [Episode(**{**vars(e), "row": row}) for row, e in enumerate(ppo)]
    found: dict[str, Any] = plain(
        summarize({"ppo": numbered, "sft": numbered}, bootstrap_samples=20)
    )
    return found


def test_each_factor_of_a_setting_counts_by_kind_of_row() -> None:
    episodes = [
        episode("copy", "cold", "cold", "stop"),
        episode("copy", "hot+"),
        episode("ideas", "hot", "hot+"),
    ]
    found = settings_by_kind(episodes)
    assert list(found) == ["copy", "ideas"]
    assert list(found["copy"]) == ["T 0", "T 0.7", "r 1.3", "stop"]
    assert list(found["copy"].values()) == [0.5, 0.25, 0.25, 0.25]
    assert list(found["ideas"].values()) == [0.0, 1.0, 0.5, 0.0]


def test_a_vector_without_a_name_counts_factor_by_factor() -> None:
    def nameless(kind: str, action: list[int]) -> Episode:
        steps = (step(action, str(action), None),)
        return Episode("e", "evaluation", 0, 0, "test", 0, None, "ppo", True, steps, kind)

    found = settings_by_kind([nameless("a", [0, 2]), nameless("b", [0, 1])])
    assert found == {
        "a": {"factor 1: 0": 1.0, "factor 2: 1": 0.0, "factor 2: 2": 1.0},
        "b": {"factor 1: 0": 1.0, "factor 2: 1": 1.0, "factor 2: 2": 0.0},
    }


def test_rows_of_one_kind_candidates_texts_and_too_many_settings_give_no_table() -> None:
    assert settings_by_kind([episode("copy", "cold"), episode("copy", "hot")]) == {}
    candidates = [
        Episode(**{**vars(make_episode("ppo", row, ["right"])), "kind": kind})
        for row, kind in enumerate("ab")
    ]
    assert settings_by_kind(candidates) == {}
    many = [
        Episode(
            "e", "", 0, 0, "test", 0, None, "", True, (step(a, f"name {a}", None),), "ab"[a % 2]
        )
        for a in range(MOST_SETTINGS + 1)
    ]
    assert settings_by_kind(many) == {}
    assert len(settings_by_kind(many[1:])["a"]) == MOST_SETTINGS
    written = [
        Episode("e", "", 0, 0, "test", 0, None, "", True, (step("hi", "hi", None),), kind)
        for kind in "ab"
    ]
    assert settings_by_kind(written) == {}


def test_over_the_steps_what_is_missing_to_one_has_ended() -> None:
    episodes = [episode(None, "cold", "hot", "stop"), episode(None, "cold", "cold")]
    assert settings_by_step(episodes) == {
        "T 0": [1.0, 0.5, 0.0],
        "T 0.7": [0.0, 0.5, 0.0],
        "stop": [0.0, 0.0, 0.5],
    }
    assert settings_by_step([episode(None, "cold", texts=[None])]) == {}


def test_rare_settings_are_counted_together() -> None:
    steps = tuple(step(a, f"T {a}", "x ") for a in (*range(MOST_SETTINGS), *range(30)))
    shares = settings_by_step([Episode("e", "", 0, 0, "test", 0, None, "", True, steps)])
    assert len(shares) == MOST_SETTINGS + 1
    assert sum(shares[OTHERS]) == 30 - MOST_SETTINGS
    assert [sum(column) for column in zip(*shares.values(), strict=True)] == [1.0] * len(steps)


def test_names_are_ordered_by_the_numbers_in_them() -> None:
    assert in_order(["T 10", "T 0.7, r 1.3", "stop", "T 0.7", "T 2"]) == [
        "T 0.7",
        "T 0.7, r 1.3",
        "T 2",
        "T 10",
        "stop",
    ]


def test_a_text_keeps_the_setting_of_each_piece() -> None:
    facts = {"prompt": "What is it?" + "x" * 500}
    whole = episode("copy", "cold", "cold", "hot", "stop", texts=["It ", "is ", "gzip", ""])
    last = Step(**{**vars(whole.steps[-1]), "reward_inputs": facts, "reward": 0.5})
    whole = Episode(**{**vars(whole), "steps": (*whole.steps[:-1], last)})
    (found,) = written_texts([whole])
    assert found["pieces"] == [["T 0", "It is "], ["T 0.7", "gzip"], ["stop", ""]]
    assert (found["row"], found["kind"], found["return"]) == (0, "copy", 0.5)
    assert found["prompt"].startswith("What is it?xxx")
    assert len(found["prompt"]) < 300


def test_the_page_shows_settings_by_kind_and_texts_that_cannot_break_it() -> None:
    texts = ["<b>bold</b> ", "*stars* | pipes\n\n# head", "\ud800"]
    page = render_markdown(
        report_of(episode("copy", "cold", "hot", "hot+", texts=texts), episode("ideas", "hot"))
    )
    assert "## Settings by kind of row" in page
    assert "| ppo | copy | 0.333 | 0.667 | 0.333 |" in page
    assert "| ppo | ideas | 0.000 | 1.000 | 0.000 |" in page
    assert "## Texts by setting" in page
    assert "> **[T 0]** &#60;b&#62;bold&#60;/b&#62; **[T 0.7]** &#42;stars&#42; &#124;" in page
    assert "\n# head" not in page
    assert "## Texts by setting" not in render_markdown(
        report_of(episode("a", "cold", texts=[None]))
    )


def test_a_named_action_is_no_special_one_and_its_accuracy_is_told() -> None:
    steps = (
        step(0, "T 0", "a ", expert_action=0, expert_name="T 0"),
        step(2, "T 0.7", "b ", expert_action=1, expert_name="T 0.3"),
    )
    found = describe([Episode("e", "", 0, 0, "test", 0, None, "ppo", True, steps)])
    assert found["accuracy"] == 0.5
    assert found["action_shares"] == {"T 0": 0.5, "T 0.7": 0.5}
    assert found["confusion"]["rows"] == [
        "expert T 0",
        "expert T 0.3",
    ]  # the latter was never taken
    assert found["confusion"]["columns"] == ["chose T 0", "chose T 0.7"]
    assert found["special_share_by_state"] == []


def test_the_share_of_a_named_vector_is_told_and_its_collapse_seen() -> None:
    found = describe([episode(None, "cold", "cold", "cold", "hot")])
    assert found["action_shares"] == {"T 0": 0.75, "T 0.7": 0.25}
    assert found["most_frequent_action"] == {"action": "T 0", "share": 0.75}


# The grid of the picture.


def test_lines_break_between_words_and_long_words_anywhere() -> None:
    lines = lay_out([["a", "one two "], ["b", "three abcdefghijklm"]], 10)
    shown = ["".join(cell.text for cell in line) for line in lines]
    assert shown == ["one two ", "three ", "abcdefghij", "klm"]


def test_a_run_of_one_setting_has_one_background_and_words_of_their_own() -> None:
    (line,) = lay_out([["a", "one tw"], ["b", "o  x"]], 40)
    assert settings_of_line(line) == [Run(0, 6, "one tw", "a"), Run(6, 3, "o x", "b")]
    assert words_of_line(line) == [
        Run(0, 3, "one", "a"),
        Run(4, 2, "tw", "a"),
        Run(6, 1, "o", "b"),
        Run(8, 1, "x", "b"),
    ]


def test_chinese_takes_two_cells_a_character_and_breaks_anywhere() -> None:
    lines = lay_out([["a", "你好吗ok"]], 5)
    assert [[cell.text for cell in line] for line in lines] == [["你", "好"], ["吗", "o", "k"]]
    assert words_of_line(lines[1]) == [Run(0, 2, "吗", "a"), Run(2, 2, "ok", "a")]


def test_marks_are_written_over_letters_and_what_is_no_sign_is_a_space() -> None:
    (line,) = lay_out([["a", "e\u0301\x1b[31m\n\u202eb"]], 20)
    assert [cell.text for cell in line] == ["e\u0301", " ", "[", "3", "1", "m", " ", "b"]


def test_a_text_that_ends_without_a_word_has_a_mark_there() -> None:
    (line,) = lay_out([["a", "so"], ["stop", ""]], 20)
    assert [cell.text for cell in line] == ["s", "o", "■"]


# The pictures.


def test_settings_are_drawn_where_steps_wrote_texts(tmp_path: Path) -> None:
    names = {"texts_by_setting.png", "settings_by_step.png", "settings_by_kind.png"}
    written = report_of(
        episode("copy", "cold", "hot", "stop", texts=["$x_1$ ", "costs 5$", ""]),
        episode("ideas", "hot+", "hot"),
    )
    drawn = {path.name for path in write_plots(written, {}, tmp_path)}
    assert names <= drawn
    silent = report_of(episode("copy", "cold", texts=[None]), episode("ideas", "hot", texts=[None]))
    drawn = {path.name for path in write_plots(silent, {}, tmp_path)}
    assert drawn & names == {"settings_by_kind.png"}
    assert {path.name for path in tmp_path.iterdir()} & names == {"settings_by_kind.png"}


def test_a_text_that_no_font_can_show_is_left_to_the_page_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = episode("copy", "cold", "hot", texts=[NOBODY_HAS, "word"])
    with caplog.at_level(logging.WARNING):
        drawn = write_plots(report_of(odd, odd), {}, tmp_path)
    assert "texts_by_setting.png" not in {path.name for path in drawn}
    assert len(caplog.records) == 1
    assert "2 of 2 texts have characters that no installed font has" in caplog.text
    assert NOBODY_HAS in render_markdown(report_of(odd))
    drawn = write_plots(report_of(odd, episode("copy", "cold", "hot")), {}, tmp_path)
    assert "texts_by_setting.png" in {path.name for path in drawn}


def test_what_the_base_font_lacks_is_drawn_with_another_that_has_it(tmp_path: Path) -> None:
    hebrew = "\u05e9\u05dc\u05d5\u05dd"  # in DejaVu Sans, which comes with matplotlib too
    found = families_for(hebrew)
    assert found is not None
    assert len(found) == 2
    report = report_of(episode("copy", "cold", texts=[hebrew]))  # a missing glyph would warn
    assert "texts_by_setting.png" in {path.name for path in write_plots(report, {}, tmp_path)}


def test_a_font_of_boxes_counts_for_nothing() -> None:
    assert families_for("plain words, ■, é and ß") == [BASE]
    assert families_for("a" + NOBODY_HAS) is None
    found = families_for("你")
    assert found is None or (found[0] == BASE and len(found) == 2)
