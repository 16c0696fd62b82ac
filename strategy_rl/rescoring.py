"""Stored episodes under another reward: what each policy would have earned, without a new rollout.

Knows no task: a reward is anything that scores what reward functions were given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from strategy_rl.episodes import Episode, Step, facts_from_json
from strategy_rl.errors import EnvironmentFault, RunError
from strategy_rl.report.bootstrap import bootstrap_interval
from strategy_rl.report.returns import Returns, mean_over_seeds, returns_of

Facts = dict[str, Any]
ScoreMany = Callable[[Sequence[Facts]], Sequence[Any]]

SHOWN_ROWS = 5
_AT_ONCE = 256  # steps that a batched reward function is given


@dataclass(frozen=True)
class Rescored:
    """One policy under both rewards, on the rows that could be scored again.

    Attributes:
        policy: Its name.
        before: Returns as they were.
        after: Returns under the other reward.
        episodes: Episodes scored again.
        unscored: Episodes whose steps do not say what the reward was given.
        dropped: Episodes that the other reward drops.
    """

    policy: str
    before: Returns
    after: Returns
    episodes: int
    unscored: int
    dropped: int

    def to_json(self, samples: int) -> dict[str, Any]:
        """Means, paired difference with its 95 % interval, and the rows that change most."""
        difference = self.after.values - self.before.values
        interval = bootstrap_interval(difference, self.before.groups, samples=samples)
        changes = [
            {"row": row, "before": float(old), "after": float(new)}
            for row, old, new in zip(
                self.before.rows, self.before.values, self.after.values, strict=True
            )
            if old != new
        ]
        changes.sort(key=lambda change: (-abs(change["after"] - change["before"]), change["row"]))
        return {
            "before": self.before.mean,
            "after": self.after.mean,
            "mean_difference": float(difference.mean()),
            "ci95": list(interval),
            "rows": len(difference),
            "episodes": self.episodes,
            "unscored_episodes": self.unscored,
            "dropped_episodes": self.dropped,
            "most_changed_rows": changes[:SHOWN_ROWS],
        }


def rescore(
    runs: Sequence[Mapping[str, Sequence[Episode]]], score_many: ScoreMany
) -> tuple[dict[str, Rescored], dict[str, int]]:
    """Score every policy's episodes again; over several seeds, rows are averaged.

    Args:
        runs: Episodes by policy, one mapping a seed.
        score_many: Scores steps; gives `reward`, `components` and `dropped` for each.

    Returns:
        The policies that could be scored, and the number of episodes of those that could not.

    Raises:
        RunError: No episode says what its reward was given, or the seeds' rows differ.
        EnvironmentFault: The reward fails.
    """
    found: dict[str, Rescored] = {}
    silent: dict[str, int] = {}
    for policy in dict.fromkeys(name for run in runs for name in run):
        episodes = [list(run.get(policy, ())) for run in runs]
        pairs = [_scored_again(given, score_many) for given in episodes]
        total = sum(map(len, episodes))
        usable = [sum(map(_can_be_scored, given)) for given in episodes]
        if not all(pairs):
            silent[policy] = total
            continue
        found[policy] = Rescored(
            policy,
            mean_over_seeds([returns_of(policy, [old for old, _ in pair]) for pair in pairs]),
            mean_over_seeds([returns_of(policy, [new for _, new in pair]) for pair in pairs]),
            episodes=sum(map(len, pairs)),
            unscored=total - sum(usable),
            dropped=sum(usable) - sum(map(len, pairs)),
        )
    if not found:
        raise RunError(
            "no stored episode says what its reward was given (reward_inputs), or the reward drops "
            "them all; name the policies in logging.full_episodes and run again"
        )
    return found, silent


def facts_of(step: Step) -> Facts:
    """What the reward was given, as it was before it was written as JSON."""
    return facts_from_json(step.reward_inputs or {})


def _can_be_scored(episode: Episode) -> bool:
    return bool(episode.steps) and all(step.reward_inputs for step in episode.steps)


def _scored_again(
    episodes: Sequence[Episode], score_many: ScoreMany
) -> list[tuple[Episode, Episode]]:
    """Each usable episode as it was and as it would have been."""
    usable = [episode for episode in episodes if _can_be_scored(episode)]
    scores = iter(_scores([facts_of(s) for e in usable for s in e.steps], score_many))
    pairs = []
    for episode in usable:
        mine = list(islice(scores, len(episode.steps)))
        if any(score.dropped is not None for score in mine):
            continue
        steps = tuple(
            replace(step, reward=float(score.reward), components=dict(score.components))
            for step, score in zip(episode.steps, mine, strict=True)
        )
        pairs.append((episode, replace(episode, steps=steps)))
    return pairs


def _scores(facts: Sequence[Facts], score_many: ScoreMany) -> Iterator[Any]:
    for start in range(0, len(facts), _AT_ONCE):
        try:
            yield from score_many(facts[start : start + _AT_ONCE])
        except Exception as error:
            raise EnvironmentFault(f"the reward fails on stored episodes: {error}") from error


def ranks(means: Mapping[str, float]) -> dict[str, int]:
    """1 for the policy with the highest mean; level ones share a rank."""
    return {name: 1 + sum(other > mean for other in means.values()) for name, mean in means.items()}
