"""Plays a split with anything that acts, and keeps what it did as episodes. Trains nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from gymnasium.spaces import Discrete, MultiDiscrete
from torch import Tensor

from strategy_rl.collector import collect_episodes, env_actions
from strategy_rl.env import EnvSlots, StepResult, fault_at
from strategy_rl.episodes import Action, Episode, Step, facts_to_json, plain
from strategy_rl.errors import EnvironmentFault
from strategy_rl.generation import AnyPolicy, Response, TextPolicy
from strategy_rl.moments import one_part
from strategy_rl.policy.policy import Policy
from strategy_rl.policy.spaces import CANDIDATES, MASK
from strategy_rl.rollout import EpisodePlan
from strategy_rl.seeding import derive_seed

log = logging.getLogger(__name__)

MAX_NUMBERS = 64  # of an array in an episode that keeps no texts


class Choice(NamedTuple):
    """An action as the environment takes it, and what stood behind it where that is known."""

    action: Any
    probabilities: list[float] | None = None  # of every action
    value: float | None = None
    log_ratio: float | None = None  # of a written action, to SFT's policy


class Actor(Protocol):
    """Anything that acts on several observations at once."""

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """One choice for each observation."""


@dataclass(frozen=True)
class PolicyActor:
    """A policy, greedy or sampled."""

    policy: Policy
    greedy: bool = True

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """One forward pass for all."""
        batch = self.policy.encode(observations, [info.get(MASK) for info in infos])
        distribution, values = self.policy.evaluate(batch)
        uniforms = rng.random((len(observations), self.policy.spec.action.num_draws))
        actions = (
            distribution.mode()
            if self.greedy
            else distribution.sample(torch.from_numpy(uniforms).to(self.policy.device))
        )
        if self.policy.spec.action.kind == "categorical":
            probabilities: list[Any] = distribution.stored.exp().tolist()
        else:
            probabilities = [None] * len(observations)
        chosen = env_actions(actions)
        return [Choice(*c) for c in zip(chosen, probabilities, values.tolist(), strict=True)]


@dataclass(frozen=True)
class TextActor:
    """A policy that writes, greedy or sampled."""

    policy: TextPolicy
    greedy: bool = True
    reference: Mapping[str, Tensor] | None = None  # weights to measure the KL to

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """One batch of responses for all."""
        policy = self.policy
        uniforms = rng.random((len(observations), policy.spec.max_new_tokens))
        prompts = policy.encode(observations)
        responses = policy.generate(prompts, None if self.greedy else uniforms)
        first = np.cumsum([0, *(len(r.response) for r in responses[:-1])])
        values = policy.values_of(responses)[torch.from_numpy(first)].tolist()
        ratios = [None] * len(responses) if self.reference is None else self._ratios(responses)
        return [
            Choice(policy.text_of(response), None, value, ratio)
            for response, value, ratio in zip(responses, values, ratios, strict=True)
        ]

    def _ratios(self, responses: Sequence[Response]) -> list[float]:
        """Log-probability of each response less that under the reference."""
        assert self.reference is not None
        ours = self.policy.evaluate(responses).logprobs
        with self.policy.lent_to(self.reference):
            theirs = self.policy.evaluate(responses).logprobs
        lengths = [len(response.response) for response in responses]
        parts = torch.split(ours - theirs, lengths)
        return [float(part.sum()) for part in parts]


def actor_of(
    policy: AnyPolicy, *, greedy: bool = True, reference: Mapping[str, Tensor] | None = None
) -> Actor:
    """A policy as an actor; of one that writes the KL to `reference` is measured."""
    if isinstance(policy, TextPolicy):
        return TextActor(policy, greedy, reference)
    return PolicyActor(policy, greedy)


@dataclass(frozen=True)
class RuleActor:
    """A heuristic of the task: one observation and a generator to one action."""

    rule: Callable[[Any, np.random.Generator], Any]

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """The rule on each observation."""
        choices = []
        for place, obs in enumerate(observations):
            try:
                choices.append(Choice(self.rule(obs, rng)))
            except Exception as error:
                message = f"a heuristic failed: {type(error).__name__}: {error}"
                raise fault_at(place, message) from error
        return choices


@dataclass(frozen=True)
class RandomActor:
    """Uniform over legal actions; without a mask, over what is offered and special actions."""

    space: Any
    num_special: int = 0

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """One draw for each observation."""
        choices = []
        for obs, info in zip(observations, infos, strict=True):
            given = _mask_of(obs, info)
            if given is None and isinstance(obs, Mapping) and CANDIDATES in obs:
                given = np.arange(self.space.n) >= self.space.n - self.num_special
                given[: len(obs[CANDIDATES])] = True
            mask = _sampling_mask(self.space, given)
            self.space.seed(int(rng.integers(2**31)))
            choices.append(Choice(self.space.sample(mask)))
        return choices


class ExpertActor:
    """The environment's own expert."""

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """What `info` says."""
        choices = []
        for place, info in enumerate(infos):
            if "expert_action" not in info:
                raise fault_at(place, "the info holds no `expert_action`")
            choices.append(Choice(info["expert_action"]))
        return choices


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
            active[slot] = _Running(plan, number, result.obs, result.info)
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
    probabilities = choice.probabilities
    if probabilities is not None and legal is not None:
        probabilities = [probabilities[i] for i in legal]
    action: Action = _flat(choice.action)
    components = answer.info.get("reward_components", {})
    kinds = info.get("candidate_kinds")
    return Step(
        action=action,
        action_name=_action_name(slots, obs, action),
        legal_names=None if legal is None else [_action_name(slots, obs, a) for a in legal],
        reward=answer.reward,
        components=dict(components),
        observation=_kept(obs, keep_texts),
        legal_actions=legal,
        probabilities=probabilities,
        value=choice.value,
        expert_action=_flat(info.get("expert_action")),
        candidate_kinds=None if kinds is None else list(kinds),
        reward_inputs=facts_to_json(answer.info.get("reward_inputs")) if keep_texts else None,
        reward_values=_values(answer.info),
        log_ratio=choice.log_ratio,
    )


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
    )


def _mask_of(obs: Any, info: Mapping[str, Any]) -> Any:
    mask = obs.get(MASK) if isinstance(obs, Mapping) else None
    return info.get(MASK) if mask is None else mask


def _sampling_mask(space: Any, mask: Any) -> Any:
    """A mask as Gymnasium samples by it: int8, for a MultiDiscrete space an array a factor."""
    if mask is None or isinstance(mask, tuple):
        return mask
    mask = np.asarray(mask, dtype=np.int8)
    if not isinstance(space, MultiDiscrete):
        return mask
    return _like(space.nvec, iter(np.split(mask.ravel(), np.cumsum(space.nvec)[:-1])))


def _like(nvec: np.ndarray, factors: Iterator[np.ndarray]) -> Any:
    """The masks of factors in tuples that nest as `nvec` does."""
    return tuple(_like(n, factors) if n.ndim else next(factors) for n in np.asarray(nvec))


def _flat(action: Any) -> Any:
    """A number, or a flat list, as policies have it; None stays."""
    value = plain(action)
    return np.ravel(value).tolist() if isinstance(value, list) else value


def _legal_actions(obs: Any, info: Mapping[str, Any]) -> list[int] | None:
    mask = _mask_of(obs, info)
    if mask is None or isinstance(mask, tuple):
        return None
    return np.flatnonzero(mask).tolist()


def _action_name(slots: EnvSlots, obs: Any, action: Action) -> str:
    if not isinstance(action, int) or not isinstance(slots.action_space, Discrete):
        return str(action)
    offered = obs.get(CANDIDATES) if isinstance(obs, Mapping) else None
    special = action - int(slots.action_space.n) + len(slots.special_actions)
    if slots.special_actions and special >= 0:
        return str(slots.special_actions[special])
    return f"candidate {action}" if offered is not None else str(action)


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
