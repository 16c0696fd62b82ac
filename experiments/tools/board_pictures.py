"""Pictures of the Policy tab, as a browser shows it.

    python experiments/tools/board_pictures.py RUN --out docs/images [--views episodes episode ...]

Needs selenium (`make setup`), chromium and chromedriver (`make browser`). Writes `board-VIEW.png`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorboard import default, program

from strategy_rl.board.plugin import PolicyLoader

WIDTH, HEIGHT = 1200, 760
ROUTE = "data/plugin/strategy_rl/"
# View -> its place, as in the address bar.
VIEWS: dict[str, dict[str, Any]] = {
    "episodes": {"policy": "ppo", "sort": "-value_error"},
    "episode": {"view": "episode"},
    "compare": {"view": "compare"},
    "probes": {"view": "probes", "pair": 0},
    "rewards": {"view": "rewards"},
    "map": {"view": "map"},
    "warnings": {"view": "warnings"},
}


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    with tempfile.TemporaryDirectory() as profile:
        flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
        for flag in (*flags, f"--window-size={WIDTH},{HEIGHT}", f"--user-data-dir={profile}"):
            options.add_argument(flag)
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        driver = webdriver.Chrome(options=options, service=service)
        try:
            yield driver
        finally:
            driver.quit()


def serve(runs: Path) -> str:
    """Start TensorBoard with the tab first; gives its address."""
    others = [plugin for plugin in default.get_plugins() if plugin is not PolicyLoader]
    board = program.TensorBoard(plugins=[PolicyLoader, *others])
    board.configure(["tensorboard", "--logdir", str(runs), "--port", "0", "--host", "127.0.0.1"])
    return str(board.launch())


def some_key(address: str, **filters: Any) -> int:
    """The key of the longest episode of PPO's test rows."""
    query = urllib.parse.urlencode({**filters, "policy": "ppo", "split": "test", "sort": "-length"})
    with urllib.request.urlopen(f"{address}{ROUTE}episodes?{query}") as answer:
        return int(json.load(answer)["episodes"][0]["key"])


def shoot(driver: Any, address: str, place: dict[str, Any], path: Path) -> None:
    """Open a place and write what stands there."""
    pairs = urllib.parse.urlencode(place)
    driver.get("about:blank")
    driver.get(f"{address}#strategy_rl&{pairs}")
    time.sleep(3.0)  # what it asks the server for
    driver.save_screenshot(str(path))


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a finished run")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=list(VIEWS))
    given = parser.parse_args()
    address = serve(given.run.resolve())
    with urllib.request.urlopen(f"{address}{ROUTE}runs") as answer:
        run = json.load(answer)["runs"][0]["run"]
    with browser() as driver:
        for view in given.views:
            place = {"run": run, **VIEWS[view]}
            if view == "episode":
                place["key"] = some_key(address, run=run)
            shoot(driver, address, place, given.out / f"board-{view}.png")


if __name__ == "__main__":
    main()
