"""A process that has imported everything and forks a child for each command line it is told.

Importing takes seconds, a tiny run one or two: only so can hundreds of kills be afforded. It has
one thread, so forking is safe. Run as a script it serves; imported it is the client.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class Nursery:
    """The client: starts lives, one after the other or side by side."""

    def __init__(self, cache: Path) -> None:
        places = [str(HERE), os.environ.get("PYTHONPATH", "")]
        self._server = subprocess.Popen(
            [sys.executable, str(HERE / "nursery.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(filter(None, places)),
                "STRATEGY_RL_CACHE": str(cache),
            },
        )
        self._logs = cache

    def start(
        self, *argv: object, plots: bool = False, sabotage: str = "", **arguments: Any
    ) -> Life:
        """`strategy-rl ARGV`, after `sabotage(**arguments)` of the module of that name.

        Pictures are left out unless `plots`: they take half of the time.
        """
        log = self._logs / f"life-{time.monotonic_ns()}.log"
        order = {"argv": [str(word) for word in argv], "log": str(log), "plots": plots}
        pid = self._ask(**order, sabotage=sabotage, arguments=arguments)
        return Life(self, pid, log, time.monotonic())

    def run(self, *argv: object, **options: Any) -> tuple[int, str]:
        """Exit code and output of a life that is left alone; options as `start`."""
        life = self.start(*argv, **options)
        return life.wait(), life.output()

    def _ask(self, **order: Any) -> int:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(order).encode() + b"\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def close(self) -> None:
        """End the server."""
        self._server.communicate()


@dataclass(frozen=True)
class Life:
    """One process of the command line."""

    nursery: Nursery
    pid: int
    log: Path
    born: float

    def send(self, signum: int) -> None:
        """Send a signal; to a life that has ended it does nothing (it is waited for later)."""
        os.kill(self.pid, signum)

    def wait(self) -> int:
        """Its exit code, or minus the signal that ended it."""
        return self.nursery._ask(wait=self.pid)

    def output(self) -> str:
        """What it printed."""
        return self.log.read_text(errors="replace")


def serve() -> None:
    """Read orders until the input ends."""
    import matplotlib.figure  # noqa: F401
    import tensorboard.summary.writer.record_writer  # noqa: F401
    import torch

    import strategy_rl.runner  # noqa: F401 - what children would import
    from strategy_rl.backbone import load_backbone, load_language_model
    from strategy_rl.backbone.settings import BackboneSettings

    torch.set_num_threads(1)
    load_backbone("random:tiny").tokenize(["what is imported late is imported now"])
    load_language_model("random:tiny", BackboneSettings(train="lora"))
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        else:
            answer = os.fork()
            if not answer:
                _live(order)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def _live(order: dict[str, Any]) -> None:
    """The child: never returns."""
    code = 1
    try:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, target)
        # A shell that starts the tests in the background, or nohup, has them ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        import sabotage

        if not order["plots"]:
            sabotage.leave_out_plots()
        if order["sabotage"]:
            getattr(sabotage, order["sabotage"])(**order["arguments"])
        from strategy_rl.cli import main

        code = main(order["argv"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):  # it may speak into a closed pipe
            sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
