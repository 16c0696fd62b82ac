"""All runs that TensorBoard looks at, kept up to date by one thread."""

from __future__ import annotations

import json
import logging
import stat
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from heapq import nsmallest
from itertools import chain
from pathlib import Path
from typing import Any

from strategy_rl.board.faults import RequestError
from strategy_rl.board.heads import REASONS, whole_of
from strategy_rl.board.index import Entry, FileIndex
from strategy_rl.board.runs import EPISODES, find_runs

MAX_ACTIONS = 200  # names of actions that a run lists; written texts are names too

_PAUSE_S = 2.0
_SEARCH_SHARE = 0.05  # of the time may go into looking for runs
_MAX_PAUSE_S = 60.0

log = logging.getLogger(__name__)


class RunIndex:
    """The episodes of one run, and what its folder says of it."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self.version = 0
        self.status = "unknown"
        self.config: dict[str, Any] = {}
        self.files: dict[Path, FileIndex] = {}
        self._config_mark: int | None = None

    def refresh(self) -> bool:
        """Read what is new in the folder; gives whether anything changed."""
        folder = self.path / EPISODES
        paths = sorted(p for p in folder.glob("*.jsonl") if not p.name.startswith("."))
        gone = self.files.keys() - set(paths)
        new_config, scaled = self._read_config(), self.scaled_values()
        kept = {path: file for path, file in self.files.items() if file.scaled_values == scaled}
        files = {path: kept.get(path) or FileIndex(path, scaled) for path in paths}
        self.files = files  # at once: requests see the old or the new ones
        changed = [_updated(file) for file in files.values()]
        changed += [bool(gone), self._read_status(), new_config]
        self.version += any(changed)
        return any(changed)

    def entries(self) -> list[Entry]:
        """All episodes, file by file."""
        return list(chain.from_iterable(file.entries() for file in self.files.values()))

    def entry(self, key: int) -> Entry:
        """The episode with a key.

        Raises:
            RequestError: There is none.
        """
        for file in self.files.values():
            if (entry := file.entry(key)) is not None:
                return entry
        raise RequestError(f"key: run {self.name!r} has no episode {key}; reload the list", 404)

    def option(self, *path: str) -> Any:
        """An option of the run's configuration; None where it does not say."""
        value: Any = self.config
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def scaled_values(self) -> bool:
        """Whether its values are of rewards that training scaled, unlike those on file."""
        return self.option("ppo", "normalize_rewards") is True

    def task(self) -> str | None:
        """The task's id, of the configuration or of an episodes file."""
        headers = (file.header or {} for file in self.files.values())
        names = [self.option("task", "id"), *(header.get("task") for header in headers)]
        return next((name for name in names if isinstance(name, str)), None)

    def facts(self) -> dict[str, Any]:
        """What the list of runs shows: contents and values to filter by."""
        files = [file for file in self.files.values() if file.header is not None]
        named: dict[str, dict[Any, None]] = {}
        for file in files:
            for name, seen in file.named().items():
                named.setdefault(name, {}).update(seen)
        return {
            "run": self.name,
            "label": self.path.resolve().name if self.name == "." else self.name,
            "task": self.task(),
            "seed": whole_of(self.option("seed")),
            "status": self.status,
            "episodes": sum(len(file) for file in files),
            "stages": _listed(named, "stage"),
            "splits": _listed(named, "split"),
            "policies": _listed(named, "policy"),
            "iterations": sorted(_listed(named, "iteration")),
            "kinds": _listed(named, "kind"),
            "actions": nsmallest(MAX_ACTIONS, _listed(named, "actions")),
            "components": _listed(named, "components"),
            "reasons": sorted(_listed(named, "reasons"), key=REASONS.index),
        }

    def _read_status(self) -> bool:
        before, status = self.status, "unknown"
        with suppress(OSError, ValueError, AttributeError, RecursionError):
            status = str(json.loads(_content(self.path / "status.json")).get("status"))
        self.status = status
        return status != before

    def _read_config(self) -> bool:
        import yaml  # late: 20 ms

        path = self.path / "config.yaml"
        try:
            mark = path.stat().st_mtime_ns
        except OSError:  # there is none yet
            return False
        if mark == self._config_mark:
            return False
        try:
            config = yaml.safe_load(_content(path).decode("utf-8"))
        except Exception as error:  # yaml lets through what its constructors raise
            log.warning("%s cannot be read: %s: %s", path, type(error).__name__, error)
            config = {}
        self._config_mark = mark
        self.config = config if isinstance(config, dict) else {}
        return True


class Catalog:
    """The runs below some folders, by name.

    Attributes:
        version: Rises whenever anything grew or changed; differs from one start to the next.
    """

    def __init__(self, roots: Mapping[Path, str | None]) -> None:
        self.roots = dict(roots)
        self.version = int(time.time())
        self.runs: dict[str, RunIndex] = {}
        self._refreshing = threading.Lock()

    def run(self, name: str) -> RunIndex:
        """A run by its name.

        Raises:
            RequestError: There is none.
        """
        try:
            return self.runs[name]
        except KeyError:
            names = ", ".join(sorted(self.runs)[:5]) or "none yet"
            raise RequestError(f"run: no run {name!r}; known are {names}", 404) from None

    def has_episodes(self) -> bool:
        """Whether any run has one."""
        runs = self.runs.values()
        return any(len(file) for run in runs for file in list(run.files.values()))

    def refresh(self) -> None:
        """Look for runs and read what is new in them; each appears as soon as it is read."""
        with self._refreshing:
            self._find()
            self._update()

    def watch(self, then: Callable[[], Any]) -> None:
        """Refresh from now on, in a thread that ends with the process.

        Args:
            then: Called once when all is indexed, so that nobody has to wait for it later.
        """
        threading.Thread(
            target=self._watch, args=(then,), name="strategy_rl board", daemon=True
        ).start()

    def _find(self) -> None:
        found = find_runs(self.roots)
        if gone := self.runs.keys() - found.keys():
            self.version += 1
            log.info("gone: %s", ", ".join(sorted(gone)))
        kept = {n: run for n, run in self.runs.items() if found.get(n) == run.path}
        self.runs = {n: kept.get(n) or RunIndex(n, path) for n, path in sorted(found.items())}

    def _update(self) -> None:
        for run in self.runs.values():
            try:
                self.version += run.refresh()
            except Exception:  # the other runs may go well
                log.exception("run %s could not be refreshed", run.name)

    def _watch(self, then: Callable[[], Any]) -> None:
        next_search = self._refreshed(0.0)
        then()
        while True:
            time.sleep(_PAUSE_S)
            next_search = self._refreshed(next_search)

    def _refreshed(self, next_search: float) -> float:
        """Refresh; runs are looked for when it is time. Gives when that is again."""
        try:
            with self._refreshing:
                start = time.monotonic()
                if start >= next_search:
                    self._find()
                    took = time.monotonic() - start
                    next_search = start + min(_MAX_PAUSE_S, took / _SEARCH_SHARE)
                self._update()
        except Exception:  # the next round may go well, and nobody else would tell
            log.exception("the list of episodes could not be refreshed")
        return next_search


def _content(path: Path) -> bytes:
    """Of a regular file alone: a pipe would wait for somebody to write into it."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{path.name} is no regular file")
    return path.read_bytes()


def _updated(file: FileIndex) -> bool:
    try:
        return file.update()
    except OSError as error:
        log.warning("%s cannot be read: %s", file.path, error)
        return False


def _listed(named: Mapping[str, Mapping[Any, None]], facet: str) -> list[Any]:
    return [value for value in named.get(facet, {}) if value is not None]
