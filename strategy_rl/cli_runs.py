"""Verbs about experiments and their runs: from parsed arguments to what is printed.

Knows which module does the work, and loads it when its verb is called; computes nothing.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from strategy_rl.errors import InputError, RunError

if TYPE_CHECKING:
    from strategy_rl.runner import Run

_BROKEN_INVARIANT = 3


def start_run(args: argparse.Namespace) -> int:
    """Train and judge an experiment, and print its report."""
    from strategy_rl.config import load_experiment

    seeds = _seeds(args.seeds) if args.seeds else None
    experiment = load_experiment(args.experiment, args.overrides)
    from strategy_rl.runner import run  # heavy: a wrong file is refused before it loads

    _print_end(run(experiment, seeds=seeds, out=args.out))
    return 0


def _seeds(words: Sequence[str]) -> list[int]:
    seeds = [int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 11]
    if len(seeds) < len(words) or len(set(seeds)) < len(seeds) or max(seeds) >= 2**32:
        given = " ".join(words)
        raise InputError(f"--seeds: got {given!r}, expected different whole numbers below 2**32")
    return seeds


def resume_run(args: argparse.Namespace) -> int:
    """Continue a run, and print its report."""
    from strategy_rl.runner import resume

    _print_end(resume(args.run, trust_imports=args.trust_imports))
    return 0


def _print_end(run: Run) -> None:
    print(run.table())
    print(f"TensorBoard: {_program()} board {shlex.quote(str(run.path))}")


def _program() -> str:
    """What the user typed to start this, so that a command which is shown works as it is."""
    started = Path(sys.argv[0])
    if started.name != "strategy-rl":
        return f"{shlex.quote(sys.executable)} -m strategy_rl.cli"
    short = shutil.which(started.name) == str(started)
    return started.name if short else shlex.quote(str(started))


def evaluate_run(args: argparse.Namespace) -> int:
    """Print what one policy of a run earns on a split."""
    from strategy_rl.runner import evaluate

    options = {"split": args.split, "policy": args.policy}
    print(evaluate(args.run, **options, trust_imports=args.trust_imports))
    return 0


def print_report(args: argparse.Namespace) -> int:
    """Print the report of runs."""
    from strategy_rl.report import combine

    print(combine(args.runs))
    return 0


def check_experiment(args: argparse.Namespace) -> int:
    """Print the verdict of each check of an experiment; 3 where one fails."""
    from strategy_rl.config import load_experiment

    experiment = load_experiment(args.experiment, args.overrides)
    from strategy_rl.self_check import self_check  # heavy, as in `start_run`

    results = self_check(experiment)
    for result in results:
        print(f"{'ok    ' if result.passed else 'FAILED'}  {result.name}: {result.detail}")
    return 0 if all(result.passed for result in results) else _BROKEN_INVARIANT


def open_board(args: argparse.Namespace) -> int:
    """Show runs in TensorBoard until it ends, or write the Policy tab as files."""
    if not args.folder.is_dir():
        raise RunError(f"{args.folder}: no such folder; expected a run or a folder of runs")
    if args.export is not None:
        from strategy_rl.board.export import export_board

        count = export_board(args.folder, args.export)
        print(f"{count} episodes in {args.export}; show them with")
        print(f"  {shlex.quote(sys.executable)} -m http.server -b 127.0.0.1 -d {args.export}")
        return 0
    # Loopback only: the events hold texts, and TensorBoard asks for no password.
    options = ["--logdir", str(args.folder), "--host", "127.0.0.1", "--port", str(args.port)]
    command = [sys.executable, "-m", "strategy_rl.board.serve", *options]
    with subprocess.Popen(command) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            return process.wait()  # TensorBoard got the same Ctrl-C


def list_episodes(args: argparse.Namespace) -> int:
    """Print a run's episodes as they are asked for."""
    from strategy_rl.board.terminal import episodes_text

    wanted = {"policy": args.policy, "split": args.split, "row": args.row, "sort": args.sort}
    print(episodes_text(args.run, **wanted, limit=args.limit))
    return 0
