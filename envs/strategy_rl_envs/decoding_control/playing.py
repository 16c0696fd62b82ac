"""What a single and a vector environment of decoding control have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from strategy_rl_envs.decoding_control.rivals import ByTarget, Fixed, Heuristic, closest
from strategy_rl_envs.decoding_control.task import Task, make_task
from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.kit.splits import split_file

if TYPE_CHECKING:
    from strategy_rl_envs.decoding_control.episodes import Episodes
    from strategy_rl_envs.decoding_control.replay import Replay

# Settings of a task that say what is played, and not how a text is written.
PLAYED_SETTINGS = frozenset(
    {"split", "reward", "data", "max_prompt", "dense", "replay", "best_static", "expert_reward"}
)


class Playing:
    """Slots of one task, and what the environments tell of it.

    Attributes:
        menu: What can be chosen.
        feature_names: Of an observation's entries.
        num_rows: Rows of the split.
        row_groups: A label a row.
        data_counts: Rows used and skipped, by reason.
        data_fingerprint: SHA-256 of the data file.
        reward: What a finished text is worth.
        heuristics: Rules that a policy must beat, by name.
    """

    special_actions = ()

    def _open(
        self,
        split: str,
        reward: Sequence[Mapping[str, Any]] | None,
        replay: bool = False,
        best_static: str | None = None,
        **settings: Any,
    ) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
        """Make the slots; gives the spaces of one environment."""
        if not isinstance(replay, bool):
            raise SettingError(f"replay: expected true or false, got {replay!r}")
        if replay and settings.get("dense"):
            raise SettingError("dense: is not known with replay; leave it out")
        if replay and best_static is not None:
            raise SettingError("best_static: is of no use with replay, which tries every stop")
        if not replay and settings.get("expert_reward") is not None:
            raise SettingError(
                "expert_reward: is known with replay alone, whose expert goes by it; leave it out"
            )
        task = make_task(split, reward, **settings)
        self.episodes: Episodes | Replay
        self.heuristics: Mapping[str, Heuristic]
        if replay:
            self.episodes, self.heuristics = _replayed(
                task, lambda: make_task("train", reward, **settings)
            )
        else:
            self.episodes, self.heuristics = _written(task, split, best_static)
        self.menu, self.reward = task.menu, task.reward
        self.feature_names = self.episodes.feature_names
        self.num_rows = len(task.split.rows)
        self.row_groups = tuple(row.group for row in task.split.rows)
        self.data_counts, self.data_fingerprint = task.split.counts, task.split.fingerprint
        size = (len(self.feature_names),)
        return spaces.Box(-np.inf, np.inf, size, np.float32), task.menu.space

    def action_name(self, action: Any) -> str:
        """What an action chooses, for people."""
        return self.menu.name(action)


# What needs a model is imported here, so that to import the environments does not take torch.


def _replayed(task: Task, make_train: Any) -> tuple[Replay, Mapping[str, Heuristic]]:
    from strategy_rl_envs.decoding_control.replay import Replay

    replay = Replay(task, make_train)
    return replay, replay.heuristics


def _written(
    task: Task, split: str, best_static: str | None
) -> tuple[Episodes, Mapping[str, Heuristic]]:
    """Slots that write, with the experts and rivals that a search has found."""
    from strategy_rl_envs.decoding_control.episodes import Episodes

    if best_static is None:
        episodes = Episodes(task)
        return episodes, _untuned(task, episodes)
    from strategy_rl_envs.decoding_control.findings import heuristic_of, inputs_of, load_findings

    inputs = inputs_of(task)
    own = split_file(best_static, split)
    if split == "train" or own is None or own.exists():  # other splits need not be searched
        found = load_findings(best_static, split, inputs)
        task = replace(task, experts=found.experts(task.menu, [row.id for row in task.split.rows]))
    episodes, train = Episodes(task), load_findings(best_static, "train", inputs)
    rivals = _untuned(task, episodes)
    for name, static in (("static_best", True), ("entropy", False)):
        best = train.best(static=static)
        if best is not None:
            rule = heuristic_of(train.policies[best], task.menu, episodes.feature_names)
            rivals[name] = rule
    return episodes, rivals


def _untuned(task: Task, episodes: Episodes) -> dict[str, Heuristic]:
    """Rules that need no training rows."""
    rivals: dict[str, Heuristic] = {"greedy": Fixed(closest(task.menu))}
    if task.writing.targets:
        rivals["by_target"] = ByTarget(task.menu, episodes.feature_names)
    return rivals
