"""The other end of `isolation`: the child process that calls one reward function."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import IO, Any

from strategy_rl_envs.rewards.function import RewardFunction, described
from strategy_rl_envs.rewards.numbers import NotANumber, read_many, read_raw

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def serve() -> None:
    """Answer one call a line until the parent closes the pipe; what is printed goes to stderr."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    order = json.loads(requests.readline())
    if order["die_with_thread"]:
        _be_killed_with_parent()
    answer, function = _attempt(lambda: load(order["module"], order["file"], order["function"]))
    _send(answers, {"value": None} if function else answer)
    if function is None:
        return
    with asyncio.Runner() as runner:
        for line in requests:
            request = json.loads(line)
            facts = _with_tuples(request["facts"], request["tuples"], function.batched)

            call = partial(_call, function, facts, request["settings"], runner)
            _send(answers, _attempt(call)[0])


def load(module: str, file: str | None, function: str) -> RewardFunction:
    """Find a function by its module and name; a module that cannot be imported, by its file."""
    try:
        if module == "__main__":
            raise ImportError("the main script has another name here")
        found = importlib.import_module(module)
        if file and getattr(found, "__file__", None) != file:
            raise ImportError(f"{module} is another module here")
    except ImportError:
        if file is None:
            raise
        name = "strategy_rl_reward_file" if module == "__main__" else module
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None:
            raise
        found = importlib.util.module_from_spec(spec)
        sys.modules[name] = found
        spec.loader.exec_module(found)
    return described(getattr(found, function))


def _call(
    function: RewardFunction,
    facts: dict[str, Any],
    settings: dict[str, Any],
    runner: asyncio.Runner,
) -> Any:
    value = function(**facts, **settings)
    if inspect.iscoroutine(value):
        value = runner.run(value)
    if not function.batched:
        return read_raw(value)
    entries = read_many(value, len(next(iter(facts.values()))))
    return [{"bad": str(e)} if isinstance(e, NotANumber) else {"raw": e} for e in entries]


def _attempt(call: Callable[[], Any]) -> tuple[dict[str, Any], Any]:
    """Call; give the answer for the parent and the value, None where it failed."""
    try:
        value = call()
    except NotANumber as error:
        return {"error": str(error)}, None
    except (Exception, SystemExit) as error:
        return {"error": f"raised {type(error).__name__}: {error}"}, None
    return {"value": value}, value


def _send(answers: IO[bytes], answer: dict[str, Any]) -> None:
    """Send an answer; a loaded function itself stays here."""
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


def _with_tuples(facts: dict[str, Any], names: list[str], batched: bool) -> dict[str, Any]:
    """Make tuples again of the facts that were tuples."""
    for name in names:
        facts[name] = [tuple(x) for x in facts[name]] if batched else tuple(facts[name])
    return facts


def _be_killed_with_parent() -> None:
    """Let Linux kill this process with the thread that started it, even in the midst of C code."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _leave_with(parent: int) -> None:
    """End with the parent, even in the midst of a call, unless that holds the interpreter."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
