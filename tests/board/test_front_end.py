"""The Policy tab in TensorBoard, as a person uses it in a browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from invented_runs import CHINESE, SCRIPT, append_episodes
from policy_tab import Page, files_of, press_titled, rows, select, tensorboard_of
from registered import OURS

from strategy_rl.board import maps, renderers
from strategy_rl.board.export import export_board

pytestmark = pytest.mark.slow  # a browser takes a minute

ESCAPE, ENTER = "\ue00c", "\ue007"


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renderers, "entry_points", lambda group: OURS)
        renderers.installed_renderers.cache_clear()
        yield
    renderers.installed_renderers.cache_clear()


def classes(element: Any) -> str:
    return str(element.get_attribute("class"))


def open_first(page: Page, **place: Any) -> None:
    page.open(**place)
    page.click("table.list tbody tr")
    page.until(lambda: page.all("article.step"))


def test_the_list_shows_every_episode_of_the_run(page: Page) -> None:
    page.open(run="replies")
    assert page.text(".total") == "1\N{EN DASH}100 of 108 episodes"
    assert len(rows(page)) == 100


def test_a_click_on_a_heading_sorts_and_the_address_keeps_it(page: Page) -> None:
    page.open(run="replies", split="test")
    page.click("#sort-return")
    page.until(lambda: "sort=return" in page.hash())
    page.until(lambda: page.all("th[aria-sort=ascending]"))
    returns = [float(cells[5].replace("\N{MINUS SIGN}", "-")) for cells in rows(page)]
    assert returns == sorted(returns)
    assert len(returns) == 48


def test_a_filter_is_written_into_the_address_and_survives_a_reload(page: Page) -> None:
    page.open(run="replies")
    select(page, "filter-policy", "sft")
    page.until(lambda: page.text(".total") == "44 episodes")
    page.driver.refresh()
    page.enter()
    page.until(lambda: page.text(".total") == "44 episodes")
    assert "policy=sft" in page.hash()


def test_training_episodes_say_why_they_were_kept_and_are_filtered_by_it(page: Page) -> None:
    page.open(run="replies", split="train", sort="row")
    assert page.text(".total") == "40 episodes"
    kept = [
        [tag.text for tag in cell.find_elements("css selector", ".tag")]
        for cell in page.all("td.tags")
    ]
    assert kept[0] == ["random"]
    assert kept[-1] == ["worst", "surprising"]
    select(page, "filter-selected", "surprising")
    page.until(lambda: page.text(".total") == "20 episodes")
    page.click("table.list tbody tr")
    page.until(lambda: page.all("article.step"))
    assert "random, surprising of 64 episodes with mean return" in page.text(".facts")


def test_an_evaluation_alone_has_no_column_of_why_it_was_kept(page: Page) -> None:
    page.open(run="replies", split="test")
    assert page.all("td.tags") == []
    page.open(run="decoding")
    assert page.all("#filter-selected") == []


def test_short_words_of_the_list_stand_on_one_line(page: Page) -> None:
    page.open(run="replies")
    heights = [row.size["height"] for row in page.all("table.list tbody tr")]
    assert max(heights) < 30


def test_an_episode_that_was_cut_shows_what_its_critic_expected_after_it(page: Page) -> None:
    page.open(run="replies", split="train", row=1)
    page.click("table.list tbody tr")
    page.until(lambda: page.all("article.step"))
    facts = page.text(".facts").replace("\n", " ")
    assert "endedtruncated V after the cut0.750" in facts


def test_slash_goes_to_the_text_filter_and_chinese_is_found(page: Page) -> None:
    page.open(run="summaries")
    page.click(".total")
    page.press("/")
    page.press("订单")
    page.until(lambda: "text=%E8%AE%A2%E5%8D%95" in page.hash())
    page.until(lambda: page.text(".total") == "3 episodes")
    page.press("xx")
    page.until(lambda: "None of 3 episodes" in page.text())
    assert page.driver.switch_to.active_element.get_attribute("id") == "filter-text"


def test_keys_walk_through_episodes_and_escape_returns_to_the_list(page: Page) -> None:
    page.open(run="decoding")
    page.click(".pager")
    page.press("j")
    page.press(ENTER)
    page.until(lambda: "1 of 6" in page.text())
    page.press("j")
    page.until(lambda: "2 of 6" in page.text())
    page.press("k")
    page.until(lambda: "1 of 6" in page.text())
    page.press(ESCAPE)
    page.until(lambda: page.all("tr.selected"))


def test_back_leads_from_an_episode_to_its_list(page: Page) -> None:
    open_first(page, run="replies", policy="ppo")
    page.driver.back()
    page.enter()
    page.until(lambda: page.text(".total") == "24 episodes")


def test_what_a_model_wrote_is_shown_as_text_and_never_run(page: Page) -> None:
    open_first(page, run="summaries")
    assert SCRIPT in page.text()
    assert CHINESE in page.text()
    assert page.all("main img, main script") == []
    assert page.driver.execute_script("return [document.title, parent.document.title]") == [
        "",
        "TensorBoard",
    ]


def test_a_step_marks_who_chose_which_action(page: Page) -> None:
    open_first(page, run="replies", policy="ppo", row=0)
    chosen = page.text("article.step tr.chosen")
    assert page.all("article.step tr.chosen .mark.greedy") != []
    assert chosen.split("\n")[-1].startswith("0.")
    assert page.all("article.step .mark.expert") != []
    assert page.all("article.step .mark.reference") != []
    assert len(page.all("article.step .meter b")) == 4  # the reference's probabilities


def test_components_add_up_to_the_reward_with_their_weights(page: Page) -> None:
    open_first(page, run="replies", policy="ppo", row=0)
    weights = page.text("article.step .waterfall")
    assert "manners 0.500 × 0.20 +0.100" in weights
    assert "reward" in weights


def test_the_numbers_of_an_action_have_a_bar_for_each_of_their_values(page: Page) -> None:
    open_first(page, run="decoding")
    first = page.all("article.step")[0]
    factors = first.find_elements("css selector", ".factor")
    values = [factor.find_elements("css selector", "tr") for factor in factors]
    assert [factor.text.split("\n")[0] for factor in factors] == ["temperature", "keyword bonus"]
    assert [[row.text.split()[-2:] for row in rows] for rows in values] == [
        [["0", "0.200"], ["0.7", "0.500"], ["1.2", "0.300"]],
        [["0", "0.600"], ["6", "0.400"]],
    ]
    greedy = [bool(row.find_elements("css selector", ".mark.greedy")) for row in values[0]]
    reference = [bool(row.find_elements("css selector", ".mark.reference")) for row in values[1]]
    assert (greedy, reference) == ([False, True, False], [False, True])
    assert all(len(f.find_elements("css selector", "tr.chosen")) == 1 for f in factors)
    assert len(first.find_elements("css selector", ".factor .meter b")) == 5


def test_decoding_is_coloured_from_cold_to_hot_by_what_its_task_registered(page: Page) -> None:
    open_first(page, run="decoding")
    pieces = page.all(".written .piece")
    assert len(pieces) == 9
    names = [piece.get_attribute("title").split(": ")[1].split("\n")[0] for piece in pieces]
    colours = [piece.value_of_css_property("background-color") for piece in pieces]
    by_temperature = dict(zip((name.split(",")[0] for name in names), colours, strict=True))
    assert len(set(colours)) == len(by_temperature) > 1
    assert [ink.text for ink in page.all(".written, .legend .ink")][:-1] == ["0", "0.70", "1.20"]
    open_first(page, run="decoding", paint="keyword-bonus")
    assert [ink.text for ink in page.all(".legend .ink")] == ["0", "6"]


def test_decoding_is_coloured_by_the_setting_of_each_step(page: Page) -> None:
    open_first(page, run="decoding", paint="setting")
    pieces = page.all(".written .piece")
    assert len({piece.value_of_css_property("border-bottom-color") for piece in pieces}) > 1


def test_picked_sentences_are_marked_in_the_document(page: Page) -> None:
    open_first(page, run="summaries")
    picked = [line.text for line in page.all(".document li.picked")]
    assert len(picked) == 2
    assert picked[0].startswith("It reads files.")
    told = [line.text.split("\n") for line in page.all(".told")]
    assert told == [["Summary", "It reads files."], ["Reference", "It reads files fast."]]


def test_a_task_that_registered_nothing_has_no_document(page: Page) -> None:
    open_first(page, run="replies", row=3)
    assert page.all(".document") == []


@pytest.mark.parametrize("colour", ["logprob", "advantage", "kl", "value"])
def test_tokens_are_coloured_by_what_is_asked_for(page: Page, colour: str) -> None:
    open_first(page, run="tokens", colour=colour)
    backgrounds = {t.value_of_css_property("background-color") for t in page.all(".prose .token")}
    assert len(backgrounds) > 2


def test_before_and_after_shows_changed_rows_by_gain(page: Page) -> None:
    page.open(run="replies", view="compare")
    gains = [float(cells[4].replace("\N{MINUS SIGN}", "-")) for cells in rows(page)]
    assert gains == sorted(gains, reverse=True)
    assert "24 rows in common" in page.text(".total")
    page.click("table.list tbody tr")
    page.until(lambda: page.all(".sides tr.changed"))


def test_the_slider_shows_probe_rows_at_another_moment(page: Page) -> None:
    page.open(run="replies", view="probes")
    assert "actions at ppo 45" in page.text()
    page.driver.execute_script(
        "const slider = document.getElementById('probe-at'); slider.value = 2;"
        "slider.dispatchEvent(new Event('input'))"
    )
    page.until(lambda: "actions at ppo 10" in page.text())
    page.click("table.list tbody tr")
    page.until(lambda: page.all(".sides"))


@pytest.mark.parametrize("panel", [1, 2, 4])
def test_every_bin_opens_as_many_episodes_as_it_counts(page: Page, panel: int) -> None:
    page.open(run="replies", view="rewards")
    page.until(lambda: len(page.all(".multiples .panel")) == 4)
    assert "only those drawn at random count" in page.text(".sample-note")
    title = press_titled(page, f".multiples .panel:nth-child({panel}) .bin", "")
    page.until(lambda: page.all(".total"))
    assert page.text(".total") == title.split(": ")[1]
    assert "selected=random" in page.hash()


def test_bins_of_another_component_than_the_filtered_one_open_nothing(page: Page) -> None:
    page.open(run="replies", view="rewards", component="length", component_max=-0.2)
    page.until(lambda: len(page.all(".multiples .panel")) == 4)
    bins = [
        len(panel.find_elements("css selector", ".bin")) > 0
        for panel in page.all(".multiples .panel")
    ]
    assert bins == [True, False, True, False]  # the return, correct, length, manners


def test_a_point_of_the_curve_opens_the_episodes_of_its_iteration(page: Page) -> None:
    page.open(run="replies", view="rewards")
    page.until(lambda: page.all(".dot"))
    title = press_titled(page, ".dot", "policy, train, ppo 3")
    assert title == "policy, train, ppo 3: 0.300, of 64 played, opens the 4 episodes kept"
    page.until(lambda: page.text(".total") == "4 episodes")
    assert "iteration=3" in page.hash()
    page.open(run="replies", view="rewards")
    page.until(lambda: page.all(".dot"))
    assert press_titled(page, ".dot", "sft, probe, ppo 0").endswith("2 episodes")
    page.until(lambda: page.text(".total") == "2 episodes")


def test_a_cell_of_the_map_opens_its_episodes(page: Page) -> None:
    page.open(run="replies", view="map", axis="kind")
    assert "only those drawn at random count" in page.text(".sample-note")
    page.click("table.heat td.press")
    page.until(lambda: page.all(".total"))
    for part in ("kind=complaint", "action=candidate%200", "selected=random"):
        assert part in page.hash()


def test_the_map_says_where_it_reads_only_some_of_the_episodes(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "MAX_READ", 10)
    page.open(run="replies", view="map", axis="step")
    assert "Counted are the first 10 of 88 episodes." in page.text()
    page.open(run="replies", view="map", axis="kind")
    assert "leave at most 2,000 of 88 episodes" in page.text()


def test_a_warning_leads_to_its_episodes(page: Page) -> None:
    page.open(run="replies", view="warnings")
    assert "correct goes with the length" in page.text()
    assert "manners" not in page.text()  # a cost of each step
    page.until(lambda: int(page.text(".badge")) == len(page.all("ul.warnings > li")))
    page.click("ul.warnings a")
    page.until(lambda: page.all(".total"))


def test_dark_mode_follows_tensorboard(page: Page) -> None:
    page.open(run="replies")
    ask = "return getComputedStyle(document.body).backgroundColor"
    light = page.driver.execute_script(ask)
    page.driver.execute_script("parent.document.body.classList.toggle('dark-mode')")
    page.until(lambda: page.driver.execute_script(ask) != light)


def test_an_error_is_shown_as_text_that_says_what_to_do(opened: Page) -> None:
    opened.open(run="replies", view="episode", key=987654321)
    assert "987654321" in opened.text(".error")
    opened.open(run="elsewhere")
    assert "elsewhere" in opened.text(".error")
    opened.complaints()


def test_a_wider_list_than_the_window_does_not_widen_the_page(page: Page) -> None:
    page.open(run="replies")
    widths = "return [document.documentElement.scrollWidth, window.innerWidth]"
    needed, there = page.driver.execute_script(widths)
    assert needed <= there


def test_new_episodes_appear_without_a_click(page: Page, runs: Path) -> None:
    page.open(run="growing", policy="ppo")
    assert page.text(".total") == "3 episodes"
    assert page.all(".badge") == []
    page.click(".total")
    page.press("jj")
    append_episodes(runs)
    page.until(lambda: page.text(".total") == "33 episodes")
    page.until(lambda: page.text(".badge") == "1")
    assert [i for i, row in enumerate(page.all("tbody tr")) if "selected" in classes(row)] == [1]


def test_an_episode_stays_as_it_is_read_while_its_run_grows(page: Page, runs: Path) -> None:
    open_first(page, run="growing")
    page.click("article.step details:last-of-type summary")
    before = page.all("article.step details[open]")
    about = page.text(".about")
    append_episodes(runs, 90)
    page.until(lambda: page.text(".about") != about)
    time.sleep(0.5)  # in which it would be drawn anew
    assert page.all("article.step details[open]") == before


def test_a_filter_that_is_typed_is_left_alone_while_its_run_grows(page: Page, runs: Path) -> None:
    page.open(run="growing")
    page.until(lambda: page.all("#filter-return_min"))
    page.all("#filter-return_min")[0].send_keys("-0.")
    about = page.text(".about")
    append_episodes(runs, 200)
    page.until(lambda: page.text(".about") != about)
    page.press("5")
    page.until(lambda: "return_min=-0.5" in page.hash())


def test_a_run_that_was_opened_itself_is_called_by_its_folder(opened: Page, runs: Path) -> None:
    with tensorboard_of(runs / "tokens") as address:
        page = Page(opened.driver, address)
        page.open()
        assert page.text("#run") == "tokens"


def test_an_empty_folder_says_what_to_do(opened: Page, tmp_path: Path) -> None:
    with tensorboard_of(tmp_path) as address:
        page = Page(opened.driver, address)
        page.open()
        assert "strategy-rl run" in page.text(".empty")


def test_an_exported_copy_shows_episodes_without_tensorboard(
    opened: Page, runs: Path, tmp_path: Path
) -> None:
    export_board(runs, tmp_path / "out")
    with files_of(tmp_path / "out") as address:
        opened.driver.get(f"{address}#strategy_rl&run=replies&view=compare")
        opened.until(lambda: "24 rows in common" in opened.text(".total"))
        opened.driver.get(f"{address}#strategy_rl&run=summaries")
        opened.click("table.list tbody tr")
        opened.until(lambda: opened.all(".document li.picked"))
    assert opened.complaints() == []
