"""How long the Policy tab takes over two runs with many episodes, and how much memory.

    python experiments/benchmarks/board.py [--episodes 50000] [--iterations 1000] [--browser]

Requests go through TensorBoard's WSGI application: routing, JSON and gzip count, the network does
not. Each turn is a process of its own; `first` is a request's first answer, `again` the median of
its next four, `worst` the longest of all turns. `--browser` adds how long a headless Chromium takes
to show things (`make browser`).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

RUN, OTHER = "first", "second"
SIDES = {"run_a": RUN, "run_b": RUN, "policy_b": "ppo"}  # of comparisons
QUERIES: dict[str, tuple[str, dict[str, Any]]] = {
    "runs": ("runs", {}),
    "list, first page": ("episodes", {}),
    "list, sorted by return": ("episodes", {"sort": "return"}),
    "list, sorted by a component": ("episodes", {"sort": "-component:bleu"}),
    "list, one iteration": ("episodes", {"iteration": 500, "split": "train"}),
    "list, by action, sorted by row": ("episodes", {"action": "hand_over", "sort": "row"}),
    "list, last page": ("episodes", {"sort": "-value_error", "page": 249}),
    "list, searched for a text": ("episodes", {"text": "question 4999 "}),
    "probes": ("probes", {}),
    "curve": ("curve", {}),
    "histogram": ("histogram", {"component": "bleu"}),
    "map": ("map", {"by": "iteration"}),
    "warnings": ("warnings", {}),
    "PPO beside SFT": ("compare", {"policy_a": "sft"}),
    "PPO of two runs": ("compare", {"policy_a": "ppo", "run_b": OTHER}),
}
REPEATS = 5  # of a request
APPENDED = 100_000  # bytes

START = """
import sys
from tensorboard import default, program
plugins = default.get_static_plugins()
if sys.argv[2] == "with":
    from strategy_rl.board.plugin import PolicyLoader
    plugins = [PolicyLoader, *plugins]
board = program.TensorBoard(plugins=plugins)
board.configure(["tensorboard", "--logdir", sys.argv[1], "--host", "127.0.0.1", "--port", "0"])
print(board.launch(), flush=True)
"""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=50_000, help="of both runs together")
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5, help="turns; medians are printed")
    parser.add_argument("--browser", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    with tempfile.TemporaryDirectory() as name:
        runs = Path(name)
        write_runs(runs, options.episodes, options.iterations)
        take_turns(runs, options.repeats)
        if options.browser:
            from board_browser import look

            for label, seconds in look(runs, options.episodes, options.repeats).items():
                print(f"{label:32}{1000 * seconds:10.1f}")


def write_runs(runs: Path, episodes: int, iterations: int) -> None:
    """Two runs, half of the episodes each."""
    from board_runs import TURNS, write_run

    for seed, name in enumerate((RUN, OTHER)):
        write_run(runs / name, seed, episodes // 2, iterations)
    size = sum(path.stat().st_size for path in runs.glob("*/episodes/*"))
    print(f"{episodes} episodes of {TURNS} steps, {iterations} iterations, {size / 1e6:.0f} MB")


def take_turns(runs: Path, repeats: int) -> None:
    """Each turn in fresh processes, which take nothing from the one before."""
    turns: list[dict[str, list[float]]] = []
    for turn in range(repeats):
        print(f"turn {turn + 1} of {repeats}", file=sys.stderr)
        command = [sys.executable, __file__, "--measure", str(runs)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        figures: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
        for plugin in ("without", "with"):
            figures[f"start {plugin} the tab"] = [1000 * started(runs, plugin)]
        turns.append(figures)
    print(f"{'milliseconds':32}{'first':>10}{'again':>10}{'worst':>10}")
    for label in turns[0]:
        given = [figures[label] for figures in turns]
        cells = [median(times[0] for times in given)]
        if len(given[0]) > 1:
            cells += [median(median(times[1:]) for times in given), max(map(max, given))]
        print(f"{label:32}" + "".join(f"{cell:10.1f}" for cell in cells))


def started(runs: Path, plugin: str) -> float:
    """Seconds until TensorBoard serves, with our plugin or without."""
    start = time.perf_counter()
    command = [sys.executable, "-c", START, str(runs), plugin]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        address = process.stdout.readline()
        seconds = time.perf_counter() - start
        process.terminate()
    assert address.startswith(b"http"), "TensorBoard did not start"
    return seconds


def measure(runs: Path) -> dict[str, list[float]]:
    """What each thing takes: milliseconds, first and again; memory in MB."""
    from tensorboard.backend.application import TensorBoardWSGI
    from tensorboard.plugins.base_plugin import TBContext
    from werkzeug.test import Client

    from strategy_rl.board.app import PolicyPlugin

    plugin = PolicyPlugin(TBContext(logdir=str(runs)))
    client = Client(TensorBoardWSGI([plugin]))
    figures = {"memory before, MB": [peak_mb()], "first index": [took(plugin.catalog.refresh)]}
    figures["memory with the index, MB"] = [peak_mb()]
    figures["nothing new"] = [took(plugin.catalog.refresh) for _ in range(REPEATS)]
    key = plugin.catalog.run(RUN).entries()[0].head["key"]
    for label, (route, params) in {**QUERIES, "one episode": ("episode", {"key": key})}.items():
        request = partial(ask, client, route, {"run": RUN, **SIDES, **params})
        figures[label] = [took(request) for _ in range(REPEATS)]
    figures["memory at most, MB"] = [peak_mb()]
    with grown(runs / RUN / "episodes" / "train.jsonl"):
        figures["100 kB appended"] = [took(plugin.catalog.refresh)]
    return figures


def ask(client: Any, route: str, params: dict[str, Any]) -> None:
    """A request as browsers send it, who take packed answers."""
    response = client.get(
        f"/data/plugin/strategy_rl/{route}",
        query_string=params,
        headers={"Accept-Encoding": "gzip"},
    )
    assert response.status_code == 200, response.status


def took(function: Callable[[], Any]) -> float:
    """Milliseconds that a call took."""
    start = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - start)


def peak_mb() -> float:
    """Of this program alone: `resource` counts the process that started it, too."""
    status = Path("/proc/self/status").read_text("ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


@contextmanager
def grown(path: Path) -> Iterator[None]:
    """The file with 100 kB more of its own lines."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(-APPENDED, os.SEEK_END)
        file.write(file.read().partition(b"\n")[2])
    try:
        yield
    finally:
        os.truncate(path, size)


if __name__ == "__main__":
    main()
