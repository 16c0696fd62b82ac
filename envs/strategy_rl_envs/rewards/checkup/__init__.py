"""The check-up of a reward: can it be trusted before a policy is trained on it?

    import gymnasium
    from strategy_rl_envs.rewards.checkup import check_up
    print(check_up(gymnasium.make("strategy_rl_envs:strategy_rl/TinyReply-v0")).table())

Simple policies play some rows; scripted outputs take the place of what they said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.rewards.checkup.board import Board, make_board, own_gains, reads_output
from strategy_rl_envs.rewards.checkup.contract import contract_findings
from strategy_rl_envs.rewards.checkup.finding import Finding, not_applicable
from strategy_rl_envs.rewards.checkup.material import (
    EXPERT,
    RANDOM,
    Facts,
    Played,
    play_rows,
    spread_out,
)
from strategy_rl_envs.rewards.checkup.ordering import (
    CHECKS,
    Outputs,
    ordering_findings,
    policy_findings,
)
from strategy_rl_envs.rewards.checkup.report import CheckUp
from strategy_rl_envs.rewards.checkup.scoring import Composition, replayed, score_all
from strategy_rl_envs.rewards.checkup.statistics import statistics_findings
from strategy_rl_envs.rewards.checkup.strategies import followers, item_of

__all__ = ["CheckUp", "Finding", "Played", "check_up", "replayed"]

STEPS = 500
OUTPUTS = 40  # steps whose output the strategies replace
SECONDS_FOR_OUTPUTS = 12.0
CALLS_A_STEP = 32  # strategies and their variants
GREEDY = "greedy"


def check_up(
    env: gymnasium.Env[Any, Any],
    *,
    samples: Sequence[Played] = (),
    steps: int = STEPS,
    seed: int = 0,
) -> CheckUp:
    """Check the reward of an environment.

    Args:
        env: A task whose `reward` is a `WeightedReward`; it is played and left open.
        samples: Episodes of a trained policy, scored by this reward; those named "greedy" are its
            best guess, the others are samples. None: simple policies stand in.
        steps: About so many steps are played.
        seed: Of all choices.

    Raises:
        SettingError: The task has no reward that can be asked.
    """
    reward: Any = getattr(env.unwrapped, "reward", None)
    if not hasattr(reward, "score_many"):
        raise SettingError(
            f"{env.unwrapped} has no attribute `reward` with score_many(); expected a "
            "WeightedReward: see the guide to tasks"
        )
    played = play_rows(env, steps=steps, seed=seed)
    golds = _golds(played)
    reads = reads_output(reward, golds)
    contract = contract_findings(reward, played, reads_output=reads)
    board, ordering = Board(), _nothing_to_order("the reward reads no output")
    if reads:
        board, ordering = _order(reward, played, samples, _affordable(contract), seed)
    sampled = _several_a_row(samples) or [e for e in played if e.policy == RANDOM]
    statistics = statistics_findings(played, sampled, reads_output=reads)
    return CheckUp(
        (*contract, *ordering, *policy_findings(played), *statistics),
        board.entries,
        _mean_returns([*played, *samples]),
        _notes(reward, played, samples),
    )


def _order(
    reward: Composition,
    played: Sequence[Played],
    samples: Sequence[Played],
    count: int,
    seed: int,
) -> tuple[Board, list[Finding]]:
    golds = [facts for facts in _golds(played) if item_of(facts) is not None]
    if not golds:
        return Board(), _nothing_to_order("the task gives no reference")
    following = followers([facts for episode in played for facts in episode.facts])
    board = make_board(reward, spread_out(golds, count), following, seed)
    if not board.entries:
        return board, _nothing_to_order("the reward fails on the references: see check 1")
    return board, ordering_findings(board, _outputs(reward, played, samples, following, count))


def _nothing_to_order(reason: str) -> list[Finding]:
    return [not_applicable(check, name, reason) for check, name in CHECKS.items()]


def _outputs(
    reward: Composition,
    played: Sequence[Played],
    samples: Sequence[Played],
    following: Sequence[str],
    count: int,
) -> Outputs:
    """The scores of what a policy says itself; the expert and fixed actions are no policy."""
    stand_ins = [e for e in played if e.policy != EXPERT and not e.policy.startswith("always ")]
    spoken = spread_out([f for e in samples or stand_ins for f in e.facts], count)
    greedy = [f for e in samples if e.policy == GREEDY for f in e.facts]
    others = [f for e in samples or stand_ins if e.policy != GREEDY for f in e.facts]
    return Outputs(
        _mean_score(reward, spread_out(greedy, count)),
        _mean_score(reward, spread_out(others, count)),
        own_gains(reward, spoken, following),
        stand_in=not samples,
    )


def _mean_score(reward: Composition, steps: Sequence[Facts]) -> float | None:
    rewards = [score.reward for score in score_all(reward, steps) if score.fault is None]
    return float(np.mean(rewards)) if rewards else None


def _golds(played: Sequence[Played]) -> list[Facts]:
    """Steps in which the output may be replaced: the expert's, where there is one.

    Where the reward of a step depends on earlier outputs, first steps alone have a plain meaning.
    """
    experts = [e for e in played if e.policy == EXPERT and e.facts] or played
    steps = [facts for episode in experts for facts in episode.facts if "output" in facts]
    first = [facts for facts in steps if not facts.get("history")]
    return first or steps


def _affordable(contract: Sequence[Finding]) -> int:
    """How many steps get scripted outputs, so that slow rewards end in time too."""
    p95 = next((f.value for f in contract if f.check == "6"), None) or 0.0
    return int(min(OUTPUTS, max(4.0, 1000 * SECONDS_FOR_OUTPUTS / (CALLS_A_STEP * max(p95, 1e-3)))))


def _several_a_row(samples: Sequence[Played]) -> list[Played]:
    """Samples that show how the return of one row varies; none where each row has but one."""
    drawn = [episode for episode in samples if episode.policy != GREEDY]
    return drawn if len({e.row for e in drawn}) < len(drawn) else []


def _mean_returns(episodes: Sequence[Played]) -> Mapping[str, float]:
    by_policy: dict[str, list[float]] = {}
    for episode in episodes:
        if episode.fault is None:
            by_policy.setdefault(episode.policy, []).append(episode.return_)
    return {name: math.fsum(values) / len(values) for name, values in by_policy.items()}


def _notes(reward: Any, played: Sequence[Played], samples: Sequence[Played]) -> tuple[str, ...]:
    steps = sum(len(episode.steps) for episode in played)
    rows = len({episode.row for episode in played})
    notes = [f"{steps} steps in {len(played)} episodes on {rows} rows"]
    if not samples:
        notes.append("no run given (--run): heuristics and random stand in for the SFT policy")
    elif not _several_a_row(samples):
        notes.append("the run kept one episode a row: random stands in where several are needed")
    if names := getattr(reward, "normalised", ()):
        notes.append(
            f"scale: running is left out here, as no training has begun: {', '.join(names)}"
        )
    return tuple(notes)
