"""The command line: how it is read, how it fails, exit codes. Only `cli` and `cli_*` print.

Knows no verb: `cli_verbs` has them, `cli_arguments` what they take.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import strategy_rl
from strategy_rl.cli_arguments import ARGUMENTS
from strategy_rl.cli_verbs import VERBS
from strategy_rl.errors import ConfigError, MemoryFault, StrategyRLError

_LIBRARIES = "torch transformers gymnasium numpy pydantic peft safetensors tensorboard"


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
    args, rest = parser.parse_known_args(_with_values(argv))
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


def _with_values(argv: Sequence[str]) -> list[str]:
    """`--sort -return` as one word: argparse takes the second for an option."""
    words: list[str] = []
    for word in argv:
        if words and words[-1] == "--sort" and re.match("-[a-z]", word):
            words[-1] += f"={word}"
        else:
            words.append(word)
    return words


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="strategy-rl",
        description="Train a language model as the policy of a Gymnasium environment.",
        epilog="`strategy-rl VERB --help` shows a verb's options and an example.",
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument("--verbose", action="store_true", help="with --version: libraries too")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", title="verbs")
    for name, verb in VERBS.items():
        example = f"example: strategy-rl {verb.example}"
        sub = verbs.add_parser(name, help=verb.summary, description=verb.summary, epilog=example)
        for argument in verb.arguments:
            required: dict[str, Any] = {"required": True} if argument in verb.required else {}
            said = ARGUMENTS.get(f"{name} {argument}") or ARGUMENTS[argument]
            sub.add_argument(argument, **said, **required)
    return parser


def _dispatch(args: argparse.Namespace) -> int:
    if args.version:
        _print_version(verbose=args.verbose)
        return 0
    return VERBS[args.verb].function(args)


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


if __name__ == "__main__":
    sys.exit(main())
