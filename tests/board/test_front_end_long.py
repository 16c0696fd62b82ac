"""Runs of many iterations in the Policy tab, as a person looks at them in a browser."""

from __future__ import annotations

from typing import Any

import pytest
from policy_tab import Page, rows, select

from strategy_rl.board import maps

pytestmark = pytest.mark.slow  # a browser takes a minute

EVERY = 300 * 2 + 104 * 2


def type_into(page: Page, control: str, text: str) -> None:
    page.until(lambda: page.all(f"#{control}"))
    field = page.all(f"#{control}")[0]
    field.clear()
    field.send_keys(text)


def map_rows(page: Page) -> list[str]:
    page.until(lambda: page.all("table.heat"))
    return [cell.text for cell in page.all("table.heat tbody th")]


def middle(page: Page, css: str) -> list[list[str]]:
    """Of each dot of a chart its title, and that of what is pressed at its middle."""
    script = """return [...document.querySelectorAll(arguments[0])].map(dot => {
        const box = dot.querySelector("circle").getBoundingClientRect();
        const at = [box.x + box.width / 2, box.y + box.height / 2];
        return [dot.textContent, document.elementFromPoint(...at).parentNode.textContent];
    })"""
    return list(page.driver.execute_script(script, css))


def overflow(page: Page, css: str) -> Any:
    script = "const box = document.querySelector(arguments[0]);"
    return page.driver.execute_script(script + "return box.scrollWidth - box.clientWidth", css)


def test_a_map_puts_iterations_together_and_its_cells_open_them(page: Page) -> None:
    page.open(run="long", view="map")
    names = map_rows(page)
    assert names[:4] == ["untrained 0", "sft 1", "sft 2", "sft 3"]
    assert names[4:] == [f"ppo {i}-{i + 11}" for i in range(0, 300, 12)]
    page.click("table.heat tbody tr:nth-child(6) td.press")
    page.until(lambda: page.all(".total"))
    assert "stage=ppo&iteration=12-23" in page.hash()
    assert page.all("#filter-iteration")[0].get_attribute("value") == "12-23"
    recorded = {cells[5] for cells in rows(page)}
    assert recorded <= {f"ppo {i}" for i in range(12, 24)}


def test_a_range_typed_into_the_filter_leaves_its_iterations(page: Page) -> None:
    page.open(run="long", split="train")
    type_into(page, "filter-iteration", "10-14")
    page.until(lambda: page.text(".total") == "10 episodes")
    type_into(page, "filter-iteration", "298-")
    page.until(lambda: page.text(".total") == "4 episodes")
    type_into(page, "filter-iteration", "ten")
    page.until(lambda: "got 'ten', expected a whole number or a range" in page.text(".error"))
    page.complaints()  # the browser tells of the answer too


def test_iterations_are_suggested_where_there_is_a_choice(page: Page) -> None:
    page.open(run="long")
    assert len(page.all("#filter-iteration-values option")) == 300
    page.open(run="decoding")
    assert not page.all("#filter-iteration")[0].is_displayed()


def test_ranges_are_compared(page: Page) -> None:
    sides = {"policy_a": "policy", "policy_b": "policy"}
    page.open(run="long", view="compare", split="probe", all=1, **sides)
    type_into(page, "iteration-a", "0-9\n")
    page.until(lambda: "iteration_a=0-9" in page.hash())
    type_into(page, "iteration-b", "290-\n")
    page.until(lambda: "policy 290-: actions" in page.text())
    assert "2 rows in common" in page.text(".total")


def test_a_map_says_where_it_leaves_rows_out(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    page.open(run="replies", view="map", axis="row")
    assert len(map_rows(page)) == 24
    assert "Shown are the first" not in page.text()
    monkeypatch.setattr(maps, "MAX_ROWS", 20)
    page.open(run="replies", view="map", axis="row")
    assert len(map_rows(page)) == 20
    assert "Shown are the first 20 of 24 rows; filters leave fewer." in page.text()


def test_each_point_of_a_long_curve_can_be_hit_and_opens_its_iterations(page: Page) -> None:
    page.open(run="long", view="rewards")
    page.until(lambda: page.all(".dot"))
    assert "a point is the mean of up to 3 iterations" in page.text()
    hit = middle(page, ".dot")
    training = [titles for titles in hit if titles[0].startswith("policy, train")]
    assert len(training) == 100
    assert all(title == pressed for title, pressed in training)
    assert training[5][0] == (
        "policy, train, ppo 15-17: 1.600, of 192 played, opens the 6 episodes kept"
    )
    page.driver.execute_script("""[...document.querySelectorAll(".dot")]
        .find(dot => dot.textContent.startsWith("policy, train, ppo 15-17")).dispatchEvent(
            new MouseEvent("click", {bubbles: true}))""")
    page.until(lambda: page.text(".total") == "6 episodes")


def test_the_probes_of_many_moments_fit_beside_one_another(page: Page) -> None:
    page.open(run="long", view="probes")
    page.until(lambda: page.all(".strip"))
    assert len(page.all("tbody tr:first-child .strip i")) == 104
    assert overflow(page, "main .scroll") <= 0
    page.click("tbody tr:first-child .strip i:nth-child(10)")
    page.until(lambda: "actions at ppo 15" in page.text())
    page.until(lambda: page.all(".sides"))


def test_a_slider_can_be_dragged_from_moment_to_moment(page: Page) -> None:
    from selenium.webdriver import ActionChains

    page.open(run="long", view="probes")
    page.until(lambda: page.all("#probe-at"))
    slider = page.all("#probe-at")[0]
    actions = ActionChains(page.driver, duration=50).move_to_element(slider).click_and_hold()
    for _ in range(8):
        actions = actions.move_by_offset(-20, 0).pause(0.05)
    actions.release().perform()
    at = int(slider.get_attribute("value"))  # still the one that was taken hold of
    assert at < 30
    page.until(lambda: f"at={at}" in page.hash())
    assert page.all("tbody tr:first-child .strip i")[at].get_attribute("class") == "here"


def test_a_page_is_gone_to_by_its_number(page: Page) -> None:
    page.open(run="long")
    assert page.text(".total") == f"1\N{EN DASH}100 of {EVERY} episodes"
    field = page.all("input.page")[0]
    field.clear()
    field.send_keys("9\n")
    page.until(lambda: page.text(".total") == f"801\N{EN DASH}{EVERY} of {EVERY} episodes")
    select(page, "filter-split", "probe")
    page.until(lambda: "of 208 episodes" in page.text(".total"))
    assert page.all("input.page")[0].get_attribute("value") == "1"


def test_small_probabilities_can_be_told_apart(page: Page) -> None:
    page.driver.switch_to.default_content()
    page.open(run="long")
    shown = page.driver.execute_async_script("""const done = arguments[0];
        import(new URL("format.js", document.querySelector("link[href$='style.css']").href))
        .then(({ probability }) => done([2e-5, 0.0004, 0.001, 0.25, 0, null].map(probability)))""")
    assert shown == ["2e-5", "4e-4", "0.001", "0.250", "0.000", "\N{EN DASH}"]
