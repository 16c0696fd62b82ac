"""Runs a reward function in a process of its own, which can be killed whatever it does.

Facts go in and values come out as JSON lines over pipes. A plain subprocess, not a
`multiprocessing` one: it works inside the daemonic workers of a vector environment, and does not
run the main script a second time.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping
from threading import Event, Lock, RLock, Thread, current_thread, main_thread
from typing import Any

from strategy_rl_envs.rewards.deadline import PATIENCE, tell_waiting
from strategy_rl_envs.rewards.function import RewardFunction
from strategy_rl_envs.rewards.numbers import IsolationError, NotANumber

_START_SECONDS = 120.0  # for importing what the function needs
_CHILD = "from strategy_rl_envs.rewards.child import serve; serve()"


class Worker:
    """One function in a child process, started at the first call; calls follow one another.

    Attributes:
        users: How many hold it.
    """

    def __init__(self, function: RewardFunction) -> None:
        self.users = 0
        self._name, self._batched = function.name, function.batched
        self._module, self._file, self._function = _place(function)
        self._owner = os.getpid()
        self._lock = Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._finalizer: weakref.finalize[Any, Any] | None = None

    def ask(self, facts: Mapping[str, Any], settings: Mapping[str, Any], deadline: float) -> Any:
        """Call the function; give what `read_raw` or `read_many` made of its answer.

        Raises:
            IsolationError: it raised, gave no number, ran too long, or its process ended.
        """
        try:
            tuples = self._tuples(facts)
            line = _line({"facts": facts, "tuples": tuples, "settings": settings})
        except (TypeError, ValueError) as error:
            raise IsolationError(
                f"was to get facts or settings that are no JSON: {error}"
            ) from error
        with self._lock:
            answer = self._talk(line, deadline)
        if "error" in answer:
            raise IsolationError(answer["error"])
        if not self._batched:
            return answer["value"]
        return [NotANumber(raw["bad"]) if "bad" in raw else raw["raw"] for raw in answer["value"]]

    def close(self) -> None:
        """End the child process; the next call starts another."""
        if self._finalizer is not None:
            self._finalizer()
        self._child = self._finalizer = None

    def _tuples(self, facts: Mapping[str, Any]) -> list[str]:
        """Names of facts that are tuples (in a batch: of every step), which JSON makes lists."""
        if not self._batched:
            return [name for name, value in facts.items() if isinstance(value, tuple)]
        return [n for n, column in facts.items() if all(isinstance(x, tuple) for x in column)]

    def _talk(self, line: bytes, deadline: float) -> dict[str, Any]:
        child = self._child
        if child is None or self._owner != os.getpid() or child.poll() is not None:
            self.close()
            child = self._start()
        return self._exchange(child, line, deadline)

    def _start(self) -> subprocess.Popen[bytes]:
        self._owner = os.getpid()  # another one after a fork
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # so that what it starts is killed with it
        )
        self._child, self._finalizer = child, weakref.finalize(self, _end, child, self._owner)
        order = {
            "module": self._module,
            "file": self._file,
            "function": self._function,
            # Linux kills with the starting thread, and other threads may end long before us
            "die_with_thread": current_thread() is main_thread(),
        }
        answer = self._exchange(child, _line(order), _START_SECONDS)
        if "error" in answer:
            self.close()
            raise IsolationError(f"cannot be loaded in a child process: {answer['error']}")
        return child

    def _exchange(
        self, child: subprocess.Popen[bytes], line: bytes, deadline: float
    ) -> dict[str, Any]:
        """Send a line and wait for one; a killed child ends the wait."""
        assert child.stdin is not None
        assert child.stdout is not None
        answered, late, name = Event(), Event(), self._name  # the thread must not keep `self`

        def watch() -> None:
            patience = min(PATIENCE, deadline)
            if not answered.wait(patience) and patience < deadline:
                tell_waiting(name, patience)
            if not answered.wait(deadline - patience):
                late.set()
                _kill(child)

        Thread(target=watch, daemon=True).start()
        try:
            with contextlib.suppress(BrokenPipeError):  # seen as an empty answer
                child.stdin.write(line)
                child.stdin.flush()
            answer = child.stdout.readline()
        except BaseException:  # a late answer must not be taken for the next one
            self.close()
            raise
        finally:
            answered.set()
        if late.is_set():
            self.close()
            raise IsolationError(f"ran longer than {deadline:g} s; its process was killed")
        if not answer.endswith(b"\n"):
            self.close()
            raise IsolationError(f"ended its process with exit status {child.returncode}")
        return dict(json.loads(answer))


class Hold:
    """A user's share in a worker, which ends with the last one's `release` or disappearance."""

    def __init__(self, key: _Key, worker: Worker, user: object) -> None:
        self.worker = worker
        self.release = weakref.finalize(user, _leave, key, worker)


_Key = tuple[str, bool, tuple[str, str | None, str]]
_workers: dict[_Key, Worker] = {}
_workers_lock = RLock()  # a user may disappear while another one comes, in the same thread


def hold(function: RewardFunction, user: object) -> Hold:
    """Share in the one worker that this process has for a function; starts nothing."""
    key = function.name, function.batched, _place(function)
    with _workers_lock:
        worker = _workers.get(key) or _workers.setdefault(key, Worker(function))
        worker.users += 1
        return Hold(key, worker, user)


def _leave(key: _Key, worker: Worker) -> None:
    with _workers_lock:
        worker.users -= 1
        if not worker.users:
            _workers.pop(key)
            worker.close()


def _place(function: RewardFunction) -> tuple[str, str | None, str]:
    """Module, file and name by which a child process finds a function."""
    made = function.function
    return made.__module__, getattr(made, "__globals__", {}).get("__file__"), made.__qualname__


def _line(message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _kill(child: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    child.kill()


def _end(child: subprocess.Popen[bytes], owner: int) -> None:
    """Close the pipes and leave no process behind; after a fork, that is for the owner to do."""
    if owner != os.getpid():
        return
    _kill(child)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    child.wait()
