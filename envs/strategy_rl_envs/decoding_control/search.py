"""Tries fixed settings on the prompts of a split, and says which is best for what.

    python -m strategy_rl_envs.decoding_control.search experiment.yaml --model FOLDER \
        --out "data/search.{split}.jsonl" --split train --rows 200

The file is that of an experiment: its `task.settings` count and, where it is given, `reward`; it
may extend others. A model that a package carries is given by its folder, which `strategy-rl models
NAME` prints. Every action of the menu that does not stop at once is tried, on rows spread over the
split; `--rules` then tries, with the best of them, rules that go by the entropy of the next token.
`findings` tells what is written; the environment takes it as `best_static`. What stands in the file
is not done again, so that a search can be interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from strategy_rl_envs.decoding_control.episodes import Episodes
from strategy_rl_envs.decoding_control.experiment import read_experiment
from strategy_rl_envs.decoding_control.findings import (
    INPUTS,
    Findings,
    Policy,
    heuristic_of,
    inputs_of,
    read_findings,
    table,
)
from strategy_rl_envs.decoding_control.observing import NATS
from strategy_rl_envs.decoding_control.task import Task, make_task
from strategy_rl_envs.kit.errors import SettingError, TaskError

MOST_STATIC = 12
SLOTS = 64
PARTNERS = 2  # settings that the best one is mixed with, by entropy
THRESHOLDS = (0.5, 1.0, 2.0)  # nats
NOT_SEARCHED = ("dense", "replay", "best_static", "expert_reward")  # found here, or of no matter
Job = tuple[int, str, Policy]  # row, name and what is played


def static_policies(task: Task) -> dict[str, Policy]:
    """Every action that writes, by its name.

    Raises:
        SettingError: They are more than `MOST_STATIC`.
    """
    menu = task.menu
    writes = [action for action in menu.actions if not menu.setting(action).stop]
    if len(writes) > MOST_STATIC:
        raise SettingError(
            f"the menu has {len(writes)} settings, and a search tries {MOST_STATIC} at most; give "
            "knobs fewer values"
        )
    return {menu.name(action): {"action": list(menu.choice(action))} for action in writes}


def entropy_rules(found: Findings) -> dict[str, Policy]:
    """The best action where the next token is sure, one of the next best where not; or reversed."""
    means = found.means()
    best, *others = sorted(found.names(static=True), key=lambda name: -means[name])
    rules: dict[str, Policy] = {}
    for other in others[:PARTNERS]:
        for below, above in ((best, other), (other, best)):
            for nats in THRESHOLDS:
                rules[f"{below} up to {nats:g} nats, then {above}"] = {
                    "below": found.policies[below]["action"],
                    "above": found.policies[above]["action"],
                    "threshold": nats / NATS,
                }
    return rules


def spread_rows(num_rows: int, count: int | None) -> list[int]:
    """Rows spread evenly over a split."""
    wanted = min(count or num_rows, num_rows)
    rows: list[int] = np.linspace(0, num_rows, wanted, endpoint=False).astype(int).tolist()
    return rows


def search(
    task: Task, episodes: Episodes, rows: Sequence[int], policies: Mapping[str, Policy], path: Path
) -> Findings:
    """Play every policy on every row, and write each down as it ends.

    Args:
        task: What is played.
        episodes: Of the task.
        rows: Which.
        policies: By name.
        path: File that is added to; what stands in it is not played again.

    Returns:
        All that stands in the file.

    Raises:
        SettingError: The file was made with other settings.
    """
    found = _begun(path, inputs_of(task))
    ids = [row.id for row in task.split.rows]
    jobs = [
        (row, name, policy)
        for name, policy in policies.items()
        for row in rows
        if ids[row] not in found.returns.get(name, {})
    ]
    with path.open("a", encoding="utf-8") as file:
        for done, line in enumerate(_play(task, episodes, jobs), start=1):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            found.add(line)
            if done % SLOTS == 0 or done == len(jobs):
                sys.stderr.write(f"{done} of {len(jobs)} texts\n")
    return found


def _begun(path: Path, inputs: Mapping[str, Any]) -> Findings:
    """What stands in a file; a new one is begun, a line that was cut off is dropped."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({INPUTS: inputs}) + "\n", encoding="utf-8")
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])
    found = read_findings(path)
    if found.inputs != dict(inputs):
        raise SettingError(f"{path}: was made with other settings; give another file by --out")
    return found


def _play(task: Task, episodes: Episodes, jobs: Iterable[Job]) -> Iterator[dict[str, Any]]:
    """Play jobs side by side; gives a line for each as it ends."""
    waiting = iter(jobs)
    active: dict[int, tuple[Job, Any]] = {}
    seen: dict[int, Any] = {}
    free = list(range(SLOTS))
    rng = np.random.default_rng(0)  # no rule here draws from it
    while True:
        fresh = dict(zip(free, islice(waiting, len(free)), strict=False))
        if fresh:
            rngs = [np.random.default_rng(_seed(task, job)) for job in fresh.values()]
            started = episodes.begin(list(fresh), [job[0] for job in fresh.values()], rngs)
            for slot, job in fresh.items():
                rule = heuristic_of(job[2], task.menu, episodes.feature_names)
                active[slot], seen[slot] = (job, rule), started[slot].obs
        if not active:
            return
        actions = {slot: rule(seen[slot], rng) for slot, (_, rule) in active.items()}
        free = []
        for slot, outcome in episodes.play(actions).items():
            seen[slot] = outcome.obs
            if outcome.terminated:
                free.append(slot)
                yield _line(task, active.pop(slot)[0], outcome.reward, outcome.info)


def _seed(task: Task, job: Job) -> int:
    """Of a row under a policy, whatever else is played."""
    name = f"{task.split.rows[job[0]].id}\0{job[1]}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def _line(task: Task, job: Job, reward: float, info: Mapping[str, Any]) -> dict[str, Any]:
    place, name, policy = job
    row, facts = task.split.rows[place], info["reward_inputs"]
    return {
        "row": row.id,
        "kind": row.kind,
        "policy": dict(policy),
        "name": name,
        "return": reward,
        "components": info["reward_components"],
        "tokens": facts["num_tokens"],
        "text": facts["output"],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 2 where the input is refused."""
    parser = argparse.ArgumentParser(
        prog="python -m strategy_rl_envs.decoding_control.search",
        description="Try fixed settings of decoding on the prompts of a split.",
    )
    parser.add_argument("experiment", type=Path, help="YAML file with task.settings and reward")
    parser.add_argument("--out", required=True, help="JSONL file; {split} stands for the split")
    parser.add_argument("--model", help="folder of the model, instead of the file's")
    parser.add_argument("--split", default="train", help="train, validation or test")
    parser.add_argument("--rows", type=int, help="how many rows; all where it is left out")
    parser.add_argument("--rules", action="store_true", help="try rules by entropy too")
    given = parser.parse_args(arguments)
    try:
        settings, reward = read_experiment(given.experiment, given.model)
        for name in NOT_SEARCHED:
            settings.pop(name, None)
        task = make_task(given.split, reward, **settings)
        episodes = Episodes(task)
        rows = spread_rows(len(task.split.rows), given.rows)
        path = Path(given.out.replace("{split}", given.split)).expanduser()
        found = search(task, episodes, rows, static_policies(task), path)
        if given.rules:
            found = search(task, episodes, rows, entropy_rules(found), path)
    except (TaskError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(table(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
