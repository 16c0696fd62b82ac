"""What a person waits for in the Policy tab: `strategy-rl board` in a headless Chromium."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tools"))

from board_pictures import ROUTE, browser

LIST = "main table.list tbody tr"
# Label -> what is clicked, what is there afterwards; each from the list of episodes.
CLICKS = {
    "an episode": (LIST, "article.step"),
    "the list sorted": ("#sort-return", "th[aria-sort=ascending]"),
    "before and after": ("nav a:nth-child(2)", "main .pager strong"),
    "probes": ("nav a:nth-child(3)", "#probe-at"),
    "rewards": ("nav a:nth-child(4)", "main .bin"),
    "policy map": ("nav a:nth-child(5)", "table.heat td"),
}
# Until the frame after it is there.
CLICK = """
const [pressed, wanted, done] = arguments;
const start = performance.now();
document.querySelector(pressed).click();
const look = () => requestAnimationFrame(
  document.querySelector(wanted) ? () => done(performance.now() - start) : look,
);
look();
"""
WAIT_S = 60.0


def look(runs: Path, episodes: int, repeats: int) -> dict[str, float]:
    """Seconds until things are shown, medians."""
    start = time.perf_counter()
    with served(runs) as address:
        figures = {"start, until all is indexed": until(lambda: count(address) == episodes, start)}
        with browser() as driver:
            driver.set_script_timeout(WAIT_S)
            opened = [open_list(driver, address) for _ in range(repeats)]
            figures["TensorBoard, from its address"] = median(frame for frame, _ in opened)
            figures["the list, from its address"] = median(shown for _, shown in opened)
            for label, (pressed, wanted) in CLICKS.items():
                figures[f"{label}, from a click"] = median(
                    clicked(driver, address, pressed, wanted) for _ in range(repeats)
                )
    return figures


@contextmanager
def served(runs: Path) -> Iterator[str]:
    """The address of a server that is starting."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--logdir", str(runs), "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "strategy_rl.board.serve", *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()


def count(address: str) -> int:
    """Episodes that the tab knows of."""
    try:
        with urllib.request.urlopen(f"{address}{ROUTE}runs") as answer:
            return sum(run["episodes"] for run in json.load(answer)["runs"])
    except urllib.error.URLError:
        return -1


def until(condition: Any, start: float) -> float:
    """Seconds from `start` until something holds."""
    while not condition():
        time.sleep(0.01)
        if time.perf_counter() > start + WAIT_S:
            raise TimeoutError(f"nothing within {WAIT_S} s")
    return time.perf_counter() - start


def open_list(driver: Any, address: str) -> tuple[float, float]:
    """Load TensorBoard anew; seconds until the tab's frame is there, and until the list is."""
    driver.get("about:blank")
    start = time.perf_counter()
    driver.get(f"{address}#strategy_rl&run=first")
    frame = until(lambda: driver.find_elements("css selector", "iframe"), start)
    driver.switch_to.frame(driver.find_element("css selector", "iframe"))
    return frame, until(lambda: driver.find_elements("css selector", LIST), start)


def clicked(driver: Any, address: str, pressed: str, wanted: str) -> float:
    """Seconds from a click on the list to what it shows; nothing is kept from before."""
    open_list(driver, address)
    time.sleep(2.0)  # the tab counts warnings once it is there
    return float(driver.execute_async_script(CLICK, pressed, wanted)) / 1000
