"""The arguments that verbs take, as `argparse` is given them. Knows nothing of what is done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# By name; by `VERB --name` where that verb means something else by it.
ARGUMENTS: dict[str, dict[str, Any]] = {
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
