"""Plays a split with anything that acts, and keeps what it did as episodes. Trains nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Discrete, MultiDiscrete

from strategy_rl.actors import Actor, Choice, mask_of
from strategy_rl.collector import collect_episodes
from strategy_rl.env import EnvSlots, StepResult
from strategy_rl.episodes import Action, Episode, Step, facts_to_json, plain
from strategy_rl.errors import EnvironmentFault
from strategy_rl.generation import AnyPolicy
from strategy_rl.moments import one_part
from strategy_rl.policy.spaces import CANDIDATES, MASK
from strategy_rl.rollout import EpisodePlan
from strategy_rl.seeding import derive_seed

log = logging.getLogger(__name__)

MAX_NUMBERS = 64  # of an array in an episode that keeps no texts


class Label(NamedTuple):
    """What the episodes of one evaluation are called."""

    policy: str
    split: str
    seed: int
    stage: str = "evaluation"
    iteration: int = 0


@dataclass
class _Running:
    plan: EpisodePlan
    number: int
    obs: Any
    info: Mapping[str, Any]
    kind: str | None
    steps: list[Step] = field(default_factory=list)


def play(
    actor: Actor,
    slots: EnvSlots,
    plans: Sequence[EpisodePlan],
    label: Label,
    *,
    rng: np.random.Generator,
    keep_texts: bool,
) -> list[Episode]:
    """Play every planned episode and record each step.

    Args:
        actor: Who decides.
        slots: Where; their split and reward are the judge.
        plans: Which episodes, in the order of the result.
        label: What they are called.
        rng: What a sampling actor draws from.
        keep_texts: Keep the texts of observations and of what the reward functions saw.
    """
    episodes: dict[int, Episode] = {}
    waiting = list(enumerate(plans))[::-1]
    active: dict[int, _Running] = {}
    free = list(range(slots.num_slots))
    while waiting or active:
        fresh = [(slot, *waiting.pop()) for slot in free if waiting]
        results = slots.reset(
            [slot for slot, _, _ in fresh],
            [plan.seed for _, _, plan in fresh],
            [plan.options for _, _, plan in fresh],
        )
        for (slot, number, plan), result in zip(fresh, results, strict=True):
            kind = result.info.get("kind")
            named = kind if isinstance(kind, str) else None
            active[slot] = _Running(plan, number, result.obs, result.info, named)
        numbers = sorted(active)
        running = [active[slot] for slot in numbers]
        with slots.blamed(numbers):
            choices = actor.act([r.obs for r in running], [r.info for r in running], rng)
        answers = slots.step(numbers, [choice.action for choice in choices])
        free = []
        for slot, choice, answer in zip(numbers, choices, answers, strict=True):
            require_reward(answer.info)
            episode = active[slot]
            episode.steps.append(_step(slots, episode, choice, answer, keep_texts))
            episode.obs, episode.info = answer.obs, answer.info
            if answer.terminated or answer.truncated:
                row = episode.info.get("row", episode.plan.row)
                episodes[episode.number] = _episode(episode, slots, label, row, answer.terminated)
                del active[slot]
                free.append(slot)
    return [episodes[number] for number in range(len(plans))]


def greedy_return(policy: AnyPolicy, slots: EnvSlots, plans: Sequence[EpisodePlan]) -> float:
    """Mean return of the greedy policy: what training is judged by."""
    return greedy_figures(policy, slots, plans)["return"]


def greedy_figures(
    policy: AnyPolicy, slots: EnvSlots, plans: Sequence[EpisodePlan]
) -> dict[str, float]:
    """Mean return of the greedy policy, and the mean of each component's own value.

    A component of weight 0 is a guard: nobody trains on it, and what it says shows whether a
    rising return is what was meant.
    """
    rollout = collect_episodes(policy, slots, plans, None)
    if rollout.dropped:
        reason = next(iter(rollout.dropped.values()))
        log.warning("%d validation rows left out: %s", len(rollout.dropped), reason)
    values = {
        f"value/{one_part(name)}": float(np.nanmean(given))
        for name, given in rollout.reward_values.items()
        if np.isfinite(given).any()
    }
    return {"return": float(rollout.episode_returns.mean())} | values


def plan_split(
    slots: EnvSlots, seed: int, split: str, episodes: int | None, default: int = 100
) -> list[EpisodePlan]:
    """Every row of a split once; or numbered episodes where the task has no rows.

    With fewer episodes than rows, the rows are spread evenly over the split.
    """
    if slots.num_rows is None:
        count = episodes or default
        return [EpisodePlan(derive_seed(seed, "episode", split, i)) for i in range(count)]
    count = min(episodes or slots.num_rows, slots.num_rows)
    rows = np.linspace(0, slots.num_rows, count, endpoint=False).astype(int).tolist()
    return [EpisodePlan(derive_seed(seed, "episode", split, row), row) for row in rows]


def require_reward(info: Mapping[str, Any]) -> None:
    """Refuse a step that is judged and has no reward.

    Raises:
        EnvironmentFault: Its reward was dropped.
    """
    if "reward_dropped" in info:
        raise EnvironmentFault(
            f"{info['reward_dropped']}; `on_error: drop` is for training, and a row that is judged "
            "needs its reward"
        )


def _step(
    slots: EnvSlots, running: _Running, choice: Choice, answer: StepResult, keep_texts: bool
) -> Step:
    obs, info = running.obs, running.info
    legal = _legal_actions(obs, info)
    action: Action = _flat(choice.action)
    components = answer.info.get("reward_components", {})
    kinds, expert = info.get("candidate_kinds"), _flat(info.get("expert_action"))
    text = answer.info.get("text")
    return Step(
        action=action,
        action_name=_action_name(slots, obs, action),
        legal_names=None if legal is None else [_action_name(slots, obs, a) for a in legal],
        reward=answer.reward,
        components=dict(components),
        observation=_kept(obs, keep_texts),
        legal_actions=legal,
        probabilities=_of_legal(choice.probabilities, legal),
        value=choice.value,
        expert_action=expert,
        candidate_kinds=None if kinds is None else list(kinds),
        reward_inputs=facts_to_json(answer.info.get("reward_inputs")) if keep_texts else None,
        reward_values=_values(answer.info),
        log_ratio=choice.log_ratio,
        special=_special_name(slots, action) is not None,
        text=text if keep_texts and isinstance(text, str) else None,
        expert_name=None if expert is None else _action_name(slots, obs, expert),
        logprob=choice.logprob,
        entropy=choice.entropy,
        kl=choice.kl,
        reference_probabilities=_of_legal(choice.reference_probabilities, legal),
        **_named_action("greedy", choice.greedy_action, slots, obs),
        **_named_action("reference", choice.reference_action, slots, obs),
    )


def _of_legal(probabilities: list[float] | None, legal: list[int] | None) -> list[float] | None:
    if probabilities is None or legal is None:
        return probabilities
    return [probabilities[i] for i in legal]


def _named_action(who: str, action: Any, slots: EnvSlots, obs: Any) -> dict[str, Any]:
    """What somebody else would do, under the names of a step's fields."""
    flat = _flat(action)
    name = None if flat is None else _action_name(slots, obs, flat)
    return {f"{who}_action": flat, f"{who}_name": name}


def _values(info: Mapping[str, Any]) -> dict[str, float | None] | None:
    """The components' own values, where the task tells them."""
    values = info.get("reward_values")
    return None if values is None else dict(values)


def _episode(
    running: _Running, slots: EnvSlots, label: Label, row: int | None, terminated: bool
) -> Episode:
    name = running.number if row is None else row
    return Episode(
        episode_id=f"{label.split}-{label.policy}-{name}",
        stage=label.stage,
        iteration=label.iteration,
        seed=label.seed,
        split=label.split,
        row=row,
        group=slots.group(row),
        policy=label.policy,
        terminated=terminated,
        steps=tuple(running.steps),
        kind=running.kind,
    )


def _flat(action: Any) -> Any:
    """A number, or a flat list, as policies have it; None stays."""
    value = plain(action)
    return np.ravel(value).tolist() if isinstance(value, list) else value


def _legal_actions(obs: Any, info: Mapping[str, Any]) -> list[int] | None:
    mask = mask_of(obs, info)
    if mask is None or isinstance(mask, tuple):
        return None
    return np.flatnonzero(mask).tolist()


def _action_name(slots: EnvSlots, obs: Any, action: Action) -> str:
    """What an action is called; a text is its own name."""
    special = _special_name(slots, action)
    if special is not None:
        return special
    offered = obs.get(CANDIDATES) if isinstance(obs, Mapping) else None
    if offered is not None and isinstance(action, int):
        return f"candidate {action}"
    if slots.action_name is None or not isinstance(slots.action_space, Discrete | MultiDiscrete):
        return str(action)
    return _named(slots.action_name, action)


def _special_name(slots: EnvSlots, action: Action) -> str | None:
    """Of one of the last actions that the task lists as special; None for any other."""
    if not isinstance(action, int) or not isinstance(slots.action_space, Discrete):
        return None
    special = action - int(slots.action_space.n) + len(slots.special_actions)
    return str(slots.special_actions[special]) if special >= 0 and slots.special_actions else None


def _named(action_name: Callable[[Any], str], action: Action) -> str:
    """The task's name for an action.

    Raises:
        EnvironmentFault: It fails, or gives no text.
    """
    try:
        name = action_name(action)
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        raise EnvironmentFault(f"the task's action_name({action}) failed: {cause}") from error
    if not isinstance(name, str):
        raise EnvironmentFault(
            f"the task's action_name({action}) gave {type(name).__name__}, expected a text"
        )
    return name


def _kept(obs: Any, keep_texts: bool) -> dict[str, Any]:
    fields = obs if isinstance(obs, Mapping) else {"observation": obs}
    return {
        name: plain(value)
        for name, value in fields.items()
        if name != MASK and (keep_texts or _is_small(value))
    }


def _is_small(value: Any) -> bool:
    """Whether it is a few numbers: no text, no picture."""
    return not isinstance(value, str | tuple | list) and np.size(value) <= MAX_NUMBERS
