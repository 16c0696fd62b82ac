"""The Policy tab in TensorBoard, as a person uses it in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from invented_runs import CHINESE, SCRIPT, append_episode, write_runs
from policy_tab import Page, chromium, files_of, tensorboard_of

from strategy_rl.board.export import export_board

pytestmark = pytest.mark.slow  # a browser takes a minute

ESCAPE, ENTER = "\ue00c", "\ue007"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    write_runs(root)
    return root


@pytest.fixture(scope="module")
def opened(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as driver, tensorboard_of(runs) as address:
        yield Page(driver, address)


@pytest.fixture
def page(opened: Page) -> Iterator[Page]:
    opened.complaints()
    yield opened
    assert opened.complaints() == []


def rows(page: Page) -> list[list[str]]:
    """The cells of the list, row by row."""
    script = (
        "return [...document.querySelectorAll('main table.list tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return list(page.driver.execute_script(script))


def open_first(page: Page, **place: Any) -> None:
    page.open(**place)
    page.click("table.list tbody tr")
    page.until(lambda: page.all("article.step"))


def test_the_list_shows_every_episode_of_the_run(page: Page) -> None:
    page.open(run="replies")
    assert page.text(".total") == "68 episodes"
    assert len(rows(page)) == 68


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
    page.driver.execute_script(
        "const list = document.getElementById('filter-policy'); list.value = 'sft';"
        "list.dispatchEvent(new Event('change'))"
    )
    page.until(lambda: page.text(".total") == "44 episodes")
    page.driver.refresh()
    page.enter()
    page.until(lambda: page.text(".total") == "44 episodes")
    assert "policy=sft" in page.hash()


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


def test_decoding_is_coloured_by_the_setting_of_each_step(page: Page) -> None:
    open_first(page, run="decoding")
    pieces = page.all(".written .piece")
    assert len(pieces) == 9
    assert len({piece.value_of_css_property("border-bottom-color") for piece in pieces}) > 1


def test_picked_sentences_are_marked_in_the_document(page: Page) -> None:
    open_first(page, run="summaries")
    picked = [line.text for line in page.all(".document li.picked")]
    assert len(picked) == 2
    assert picked[0].startswith("It reads files.")


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


def test_a_bin_and_a_point_open_their_episodes(page: Page) -> None:
    page.open(run="replies", view="rewards")
    page.until(lambda: len(page.all(".multiples .panel")) == 4)
    page.driver.execute_script(
        "document.querySelector('.bin').dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    page.until(lambda: page.all(".total"))
    assert "return_min=" in page.hash()
    page.open(run="replies", view="rewards")
    page.driver.execute_script(
        "document.querySelector('.dot').dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    page.until(lambda: page.text(".total") == "2 episodes")
    assert "iteration=0" in page.hash()


def test_a_cell_of_the_map_opens_its_episodes(page: Page) -> None:
    page.open(run="replies", view="map", axis="kind")
    page.click("table.heat td.press")
    page.until(lambda: page.all(".total"))
    assert "kind=complaint" in page.hash()
    assert "action=candidate%200" in page.hash()


def test_a_warning_leads_to_its_episodes(page: Page) -> None:
    page.open(run="replies", view="warnings")
    assert "manners" in page.text()
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
    page.open(run="replies", policy="ppo", split="test")
    assert page.text(".total") == "24 episodes"
    append_episode(runs)
    page.until(lambda: page.text(".total") == "25 episodes")


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
