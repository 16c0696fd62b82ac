"""TensorBoard on a loopback port, and a headless Chromium that looks at it."""

from __future__ import annotations

import shutil
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
WAIT_S = 20


@contextmanager
def tensorboard_of(logdir: Path) -> Iterator[str]:
    """Its address; it has the Policy tab beside its own."""
    from tensorboard import default, program

    from strategy_rl.board.plugin import PolicyLoader

    board = program.TensorBoard(plugins=[*default.get_static_plugins(), PolicyLoader])
    board.configure(
        [
            "tensorboard",
            "--logdir",
            str(logdir),
            "--port",
            "0",
            "--host",
            "127.0.0.1",
            "--load_fast",
            "false",
        ]
    )
    yield board.launch()


@contextmanager
def files_of(folder: Path) -> Iterator[str]:
    """The address of a plain file server."""
    handler = partial(QuietFiles, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class QuietFiles(SimpleHTTPRequestHandler):
    """Without a line on the terminal for each request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A browser of 1200 by 900; skips the test where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (make setup)")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs a browser: chromium and chromedriver were not found on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1200,900",
        "--disable-dev-shm-usage",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """The Policy tab in a browser: opens places, reads what is shown."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver, self.address = driver, address

    def open(self, **place: Any) -> None:
        """Load the place anew and go into the tab's frame."""
        pairs = "&".join(f"{name}={urllib.parse.quote(str(v), '')}" for name, v in place.items())
        self.driver.get("about:blank")
        self.driver.get(f"{self.address}#strategy_rl{'&' if pairs else ''}{pairs}")
        self.enter()

    def enter(self) -> None:
        """Go into the tab's frame once it shows something."""
        self.driver.switch_to.default_content()
        self.until(lambda: self.driver.find_elements("css selector", "iframe"))
        self.driver.switch_to.frame(self.driver.find_element("css selector", "iframe"))
        self.until(lambda: self.all("main > *"))

    def hash(self) -> str:
        """What stands behind the # in the address bar."""
        return str(self.driver.execute_script("return window.parent.location.hash"))

    def all(self, css: str) -> list[Any]:
        """Elements in the frame."""
        return list(self.driver.find_elements("css selector", css))

    def text(self, css: str = "main") -> str:
        """The text of one element as a person sees it."""
        return str(self.driver.find_element("css selector", css).text)

    def click(self, css: str) -> None:
        """Click the first such element."""
        self.until(lambda: self.all(css))
        element = self.all(css)[0]
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def press(self, keys: str) -> None:
        """Press keys, wherever the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(keys).perform()

    def until(self, condition: Any, seconds: float = WAIT_S) -> None:
        """Wait for something to hold; elements that are being replaced count as not yet."""
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, seconds, ignored_exceptions=[WebDriverException]).until(
            lambda _: condition()
        )

    def complaints(self) -> list[str]:
        """Errors that the browser's console got from the tab since the last call."""
        entries = self.driver.get_log("browser")
        return [
            e["message"]
            for e in entries
            if e["level"] == "SEVERE" and "favicon" not in e["message"]
        ]


def rows(page: Page) -> list[list[str]]:
    """The cells of the list, row by row."""
    script = (
        "return [...document.querySelectorAll('main table.list tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return list(page.driver.execute_script(script))


def select(page: Page, control: str, value: str) -> None:
    """Choose from a list of choices."""
    page.driver.execute_script(
        "const list = document.getElementById(arguments[0]); list.value = arguments[1];"
        "list.dispatchEvent(new Event('change'))",
        control,
        value,
    )


def press_titled(page: Page, css: str, begin: str) -> str:
    """Click the first mark of a chart whose title begins so; gives the title."""
    script = (
        "const mark = [...document.querySelectorAll(arguments[0])]"
        ".find(one => one.textContent.startsWith(arguments[1]));"
        "mark.dispatchEvent(new MouseEvent('click', {bubbles: true})); return mark.textContent"
    )
    return str(page.driver.execute_script(script, css, begin))
