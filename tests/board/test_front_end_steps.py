"""An episode of thousands of steps, and one with values in units of scaled rewards."""

from __future__ import annotations

from pathlib import Path

import pytest
from policy_tab import Page, press_titled, rows
from recorded import episode, step, write_run

pytestmark = pytest.mark.slow  # a browser takes a minute

STEPS = 5000


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    endless = [step(i % 3, 0.0, text=f"w{i} ") for i in range(STEPS)]
    write_run(root / "endless", ppo=[episode("ppo", 0, endless)])
    odd = [
        episode("ppo", 0, [step(0, components={"constructor": 1.0}), step(1)]),
        episode("ppo", 1, [step(0, components={"bleu": 1.0}), step(1)]),
    ]
    scaled = write_run(root / "scaled", ppo=odd)
    (scaled / "config.yaml").write_text("ppo: {normalize_rewards: true}\n")
    return root


def open_first(page: Page, run: str) -> None:
    page.open(run=run)
    page.click("table.list tbody tr")
    page.until(lambda: page.all("article.step"), seconds=60)


def test_of_thousands_of_steps_the_first_hundred_are_drawn(page: Page) -> None:
    open_first(page, "endless")
    assert len(page.all("article.step")) == 100
    page.click("#more-steps")
    page.until(lambda: len(page.all("article.step")) == 200)
    assert page.text("#more-steps") == "Show 100 more of 5,000"


def test_a_later_step_is_drawn_when_a_chart_or_a_text_asks_for_it(page: Page) -> None:
    open_first(page, "endless")
    press_titled(page, ".dot", "step 400: value")
    page.until(lambda: len(page.all("article.step")) == 499)
    top = "return document.getElementById('step-399').getBoundingClientRect().top"
    assert abs(page.driver.execute_script(top)) < 100
    press_titled(page, ".piece", "w600 ")
    page.until(lambda: page.all("#step-600"))


def test_values_of_scaled_rewards_stand_alone_and_a_note_says_why(page: Page) -> None:
    open_first(page, "scaled")
    assert "Trained with ppo.normalize_rewards" in page.text(".scaled")
    titles = [title.text for title in page.all(".overview h2")]
    assert titles[0] == "Value"
    assert "return to go" not in page.text(".overview")
    assert "|V\N{MINUS SIGN}R|" not in page.text(".facts")


def test_a_component_may_have_the_name_of_a_property(page: Page) -> None:
    page.open(run="scaled")
    shown = page.driver.execute_script(
        "const head = [...document.querySelectorAll('main th')];"
        "return head.findIndex((one) => one.textContent.startsWith('constructor'))"
    )
    assert [line[shown] for line in rows(page)] == ["+1.000", "\N{EN DASH}"]


def test_a_view_that_does_not_exist_is_the_list(page: Page) -> None:
    page.open(run="scaled", view="constructor")
    assert len(rows(page)) == 2
