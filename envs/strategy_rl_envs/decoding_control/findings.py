"""What a search has found: returns of fixed settings, by row. Knows files and menus, no model.

A file holds a line about how texts were written, then one line a row and policy:

    {"row": ID, "kind": .., "policy": {"action": [0, 1]}, "name": "T 0.7", "return": ..,
     "components": {..}, "tokens": .., "text": ..}

A policy is one action all along, or `{"below": [..], "above": [..], "threshold": x}`: one action
where the entropy of the next token (as observed) is up to x, and another above it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from strategy_rl_envs.decoding_control.knobs import Menu
from strategy_rl_envs.decoding_control.language import fingerprint
from strategy_rl_envs.decoding_control.rivals import Fixed, Heuristic
from strategy_rl_envs.decoding_control.task import Task
from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.kit.reader import read_records
from strategy_rl_envs.kit.record import Record
from strategy_rl_envs.kit.splits import split_file

log = logging.getLogger(__name__)

Policy = Mapping[str, Any]
INPUTS = "inputs"


@dataclass
class Findings:
    """Returns by policy and row, of one split.

    Attributes:
        inputs: How the texts were written.
        policies: By name.
        returns: By name, then by row id.
        kinds: By row id.
    """

    inputs: dict[str, Any]
    policies: dict[str, Policy] = field(default_factory=dict)
    returns: dict[str, dict[str, float]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    def add(self, line: Mapping[str, Any]) -> None:
        """Take over a line of a file."""
        name, row = line["name"], line["row"]
        self.policies[name] = line["policy"]
        self.returns.setdefault(name, {})[row] = line["return"]
        self.kinds[row] = line["kind"]

    def names(self, *, static: bool) -> list[str]:
        """Policies that are one action all along, or those that are not."""
        return [name for name, policy in self.policies.items() if ("action" in policy) == static]

    def means(self, kind: str | None = None) -> dict[str, float]:
        """Mean return of each policy, over the rows of a kind or over all."""
        found = {
            name: [r for row, r in returns.items() if kind is None or self.kinds[row] == kind]
            for name, returns in self.returns.items()
        }
        return {name: fmean(returns) for name, returns in found.items() if returns}

    def best(self, *, static: bool) -> str | None:
        """The policy with the highest mean; of equal ones the first. None where there is none."""
        means = self.means()
        return max(self.names(static=static), key=means.__getitem__, default=None)

    def experts(self, menu: Menu, rows: Sequence[str]) -> list[Any]:
        """The action with the highest return of each row; None for rows that were not searched."""
        names = self.names(static=True)
        found: list[Any] = []
        for row in rows:
            tried = [name for name in names if row in self.returns[name]]
            best = max(tried, key=lambda name: self.returns[name][row], default=None)
            found.append(None if best is None else action_of(menu, self.policies[best]["action"]))
        return found


class ByEntropy:
    """One action where the next token is sure enough, another where it is not.

    Args:
        column: Of the entropy in an observation.
        threshold: The most of it at which `below` is taken.
        below: An action.
        above: Another.
    """

    def __init__(self, column: int, threshold: float, below: Any, above: Any) -> None:
        self._column, self._threshold = column, threshold
        self._below, self._above = below, above

    def __call__(self, obs: Any, rng: np.random.Generator) -> Any:
        """The action for an observation."""
        return self._below if obs[self._column] <= self._threshold else self._above


def heuristic_of(policy: Policy, menu: Menu, feature_names: Sequence[str]) -> Heuristic:
    """A policy as a rule on observations.

    Raises:
        ValueError: An action is not on the menu.
    """
    if "action" in policy:
        return Fixed(action_of(menu, policy["action"]))
    actions = [action_of(menu, policy[side]) for side in ("below", "above")]
    return ByEntropy(feature_names.index("entropy"), policy["threshold"], *actions)


def action_of(menu: Menu, choice: Sequence[int]) -> Any:
    """An action of the menu's space, from the index of each factor.

    Raises:
        ValueError: It is not on the menu.
    """
    action = np.array(choice, np.int64).reshape(menu.space.shape or ())
    menu.choice(action)
    return action if menu.space.shape else int(action)


def read_findings(path: Path) -> Findings:
    """Read what a search has written.

    Raises:
        DataError: The file cannot be read, or holds something else.
    """
    found: Findings | None = None
    for record in read_records(path):
        if found is None:
            if not isinstance(record.values.get(INPUTS), dict):
                raise record.fault(INPUTS, "the first line must say how texts were written")
            found = Findings(record.values[INPUTS])
        else:
            found.add(_line(record))
    assert found is not None  # a file without rows is refused by the reader
    return found


def load_findings(where: str, split: str, inputs: Mapping[str, Any]) -> Findings:
    """Read the findings that belong to a task.

    Args:
        where: A folder, a pattern with `{split}`, or one file.
        split: Which.
        inputs: How the task's texts are written, and what they are worth.

    Raises:
        DataError: The file cannot be read.
        SettingError: They were found for texts that were written in another way. That they are
            for another reward is a warning.
    """
    path = split_file(where, split) or Path(where).expanduser()
    found = read_findings(path)
    for name, value in inputs.items():
        other = found.inputs.get(name)
        if other == value:
            continue
        message = (
            f"best_static: {path} was made with {name} {json.dumps(other)}, but the task has "
            f"{json.dumps(value)}; make it again by the command `search`"
        )
        if name != "reward":  # a control learns from another one on purpose
            raise SettingError(message)
        log.warning("%s, if the rivals are to be the best by this reward", message)
    return found


def inputs_of(task: Task) -> dict[str, Any]:
    """All that the returns of a task's texts depend on, but for prompts and seeds."""
    how = task.writing
    return {
        "reward": json.loads(json.dumps(task.reward.described, default=str)),
        "model": fingerprint(how.model),
        "menu": [
            [list(task.menu.choice(action)), str(task.menu.setting(action))]
            for action in task.menu.actions
        ],
        **{name: getattr(how, name) for name in ("hold", "max_new_tokens", "template", "dtype")},
    }


def _line(record: Record) -> dict[str, Any]:
    policy = record.get("policy")
    keys = {"action"}, {"below", "above", "threshold"}
    if not isinstance(policy, dict) or set(policy) not in keys:
        raise record.fault("policy", f"expected an action or a rule, got {policy!r}")
    return {
        "row": record.text("row"),
        "kind": record.text("kind"),
        "name": record.text("name"),
        "policy": policy,
        "return": record.number("return"),
    }


def table(found: Findings) -> str:
    """Mean returns by policy and kind, best policy first; each kind's best is marked."""
    kinds = [None, *sorted(set(found.kinds.values()))]
    means = [found.means(kind) for kind in kinds]
    best = [max(column.values()) for column in means]
    width = max(map(len, found.policies))
    lines = [" " * width + "".join(f"  {kind or 'all':>12}" for kind in kinds)]
    for name in sorted(means[0], key=lambda name: -means[0][name]):
        cells = [
            "-"
            if name not in column
            else f"{column[name]:.4f}{'*' if column[name] == top else ' '}"
            for column, top in zip(means, best, strict=True)
        ]
        lines.append(f"{name:<{width}}" + "".join(f"  {cell:>12}" for cell in cells))
    return "\n".join(lines)
