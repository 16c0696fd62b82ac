"""A task's reward: a weighted sum of plain functions. Knows no environment.

    reward = WeightedReward(COMPONENTS, [{"name": "brevity", "weight": 0.5}, "rouge_l"], FACTS)
    score = reward.score(facts)
    info |= score.info()

A component's value is scaled, clipped, gated and weighted, in this order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from strategy_rl_envs.kit.errors import RewardError, SettingError, choices
from strategy_rl_envs.rewards.calling import Caller, Outcome
from strategy_rl_envs.rewards.deadline import PATIENCE, Clock
from strategy_rl_envs.rewards.numbers import NotANumber
from strategy_rl_envs.rewards.parts import Parts
from strategy_rl_envs.rewards.probing import LARGE, Finding, probe_component
from strategy_rl_envs.rewards.shaping import Running
from strategy_rl_envs.rewards.specs import Spec, read_specs

_LARGEST = 3.4e38  # what a trainer can hold in 32 bits


class Score(NamedTuple):
    """What a step was worth.

    Attributes:
        reward: The sum of `components`.
        components: Share of each in the reward, by name; the same names at every step.
        values: What the functions gave, by the same names; None where one abstained.
        dropped: Why the step cannot be scored, so that its episode must be thrown away; or None.
    """

    reward: float
    components: dict[str, float]
    values: dict[str, float | None]
    dropped: str | None = None

    def info(self) -> dict[str, Any]:
        """The entries of a step's `info`."""
        entries: dict[str, Any] = {
            "reward_components": self.components,
            "reward_values": self.values,
        }
        if self.dropped is not None:
            entries["reward_dropped"] = self.dropped
        return entries


class _Term:
    """One component: how it is called, its names, and what its value is worth now."""

    def __init__(self, spec: Spec, clock: Clock) -> None:
        self.name, self.drops, self.shape = spec.name, spec.drops, spec.shape
        self.settings = spec.settings
        self.caller = Caller(spec, clock)
        self.parts = Parts(spec.name, spec.function.parts)
        self.weight = spec.shape.weight.at(0.0)

    def entries(
        self, outcome: Outcome, facts: Mapping[str, Any]
    ) -> dict[str, float | None] | RewardError:
        """What the function gave, by name; or why not."""
        if isinstance(outcome, RewardError):
            return outcome
        try:
            return self.parts.entries(outcome)
        except NotANumber as error:
            return self.caller.failure(error, facts)


class WeightedReward:
    """Score a step as the sum of `weight * component(facts, settings)`.

    Args:
        components: What the task offers, by name; other names are looked up among the functions
            that `@reward` has met and in the library.
        specs: What is wanted: bare names, or mappings with `name` and, each if wanted, `weight` (1,
            or `{from, to, over}`: a straight line over the first share `over` of training),
            `settings`, `scale` (`{shift, divide}` or `running`), `clip` (`[low, high]`), `gate`
            (`{name, at_least}`: counts only where that component's own value is as large),
            `on_error` (`stop` or `drop`), `deadline` (seconds, 60) and `isolate` (in a process of
            its own, which is killed at the deadline).
        facts: Names of the facts that the task gives at every step.

    Attributes:
        names: Names in the order of `specs`. A function that gives sub-scores is one name here,
            and `name/sub` for each of them in a score.

    Raises:
        SettingError: all faults of `specs`, one line each.
    """

    def __init__(
        self,
        components: Mapping[str, Callable[..., Any]],
        specs: Sequence[Mapping[str, Any] | str],
        facts: Collection[str],
    ) -> None:
        self._clock = Clock()
        self._terms = tuple(_Term(s, self._clock) for s in read_specs(components, specs, facts))
        self.names = tuple(term.name for term in self._terms)
        on_clock = [term.caller.deadline for term in self._terms if term.caller.on_clock]
        self._patience = min([PATIENCE, *on_clock]) if on_clock else None

    @property
    def bounds(self) -> dict[str, tuple[float, float] | None]:
        """Least and greatest value by component; None where its author declares none."""
        return {term.name: term.caller.function.bounds for term in self._terms}

    @property
    def entries(self) -> tuple[str, ...]:
        """Names of the values in a score: one a component, or one for each of its sub-scores."""
        return tuple(name for term in self._terms for name in term.parts.names)

    @property
    def weights(self) -> dict[str, float]:
        """What each value of a score counts for at this point of the training."""
        return {name: term.weight for term in self._terms for name in term.parts.names}

    @property
    def described(self) -> list[dict[str, Any]]:
        """What was asked for, in full: two of them that agree give the same scores."""
        return [
            {"name": term.name, "settings": term.settings, **term.shape.described()}
            for term in self._terms
        ]

    @property
    def normalised(self) -> tuple[str, ...]:
        """Names of the components with `scale: running`, whose moments the trainer gives."""
        return tuple(t.name for t in self._terms if isinstance(t.shape.scale, Running))

    def score(self, facts: Mapping[str, Any]) -> Score:
        """Score one step.

        Raises:
            RewardError: a component failed that is not to be dropped, all of them abstained, or
                the sum is no number of 32 bits.
        """
        with self._clock.armed(self._patience):
            outcomes = [term.caller.one(facts) for term in self._terms]
        return self._combine(outcomes, facts)

    def score_many(self, facts: Sequence[Mapping[str, Any]]) -> list[Score]:
        """Score many steps; batched functions are called once, `async` ones run together.

        Raises:
            RewardError: as `score`.
        """
        if not facts:
            return []
        with self._clock.armed(self._patience):
            columns = [term.caller.many(facts) for term in self._terms]
        rows = zip(*columns, strict=True)
        return [self._combine(row, step) for row, step in zip(rows, facts, strict=True)]

    def probe(self, facts: Sequence[Mapping[str, Any]]) -> list[Finding]:
        """Try every component on a few real steps, twice, before training.

        Args:
            facts: Facts of at least one step. The calls do not count in `timings` and `failures`.

        Raises:
            RewardError: a component failed (with `on_error: drop`: on every step), or as `score`.
        """
        if not facts:
            raise SettingError("reward: a probe needs the facts of one step or more, got none")
        findings: list[Finding] = []
        for term in self._terms:
            with self._clock.armed(self._patience):
                findings += probe_component(term.caller, facts, term.drops)
        findings += self._large(self.score_many(facts))
        for term in self._terms:
            term.caller.reset_counts()
        return findings

    def set_progress(self, progress: float) -> None:
        """Move the weights along their schedules; `progress` is the share of training done, 0..1.

        Raises:
            ValueError: it is outside 0..1.
        """
        if not 0.0 <= progress <= 1.0:
            raise ValueError(f"progress: expected a share from 0 to 1, got {progress!r}")
        for term in self._terms:
            term.weight = term.shape.weight.at(progress)

    def set_moments(self, moments: Mapping[str, tuple[float, float]]) -> None:
        """Take over mean and standard deviation of values, by component, for `scale: running`.

        Raises:
            SettingError: a name is no component, or a number is not finite or std is below 0.
        """
        terms = {term.name: term for term in self._terms}
        for name, (mean, std) in moments.items():
            term = terms.get(name.partition("/")[0])
            if term is None:
                raise SettingError(f"moments of {name!r}: {choices(name, self.names)}")
            if not (math.isfinite(mean) and math.isfinite(std) and std >= 0):
                raise SettingError(f"moments of {name!r}: got mean {mean}, std {std}")
            if isinstance(term.shape.scale, Running):
                term.shape.scale.set(name, mean, std)

    def timings(self) -> dict[str, tuple[int, float]]:
        """Steps scored and seconds that they took, by component."""
        return {t.name: (t.caller.calls, t.caller.seconds) for t in self._terms}

    def failures(self) -> dict[str, int]:
        """Steps on which a component failed, by component."""
        return {term.name: term.caller.failures for term in self._terms}

    def close(self) -> None:
        """End the child processes of isolated components."""
        for term in self._terms:
            term.caller.close()

    def _combine(self, outcomes: Sequence[Outcome], facts: Mapping[str, Any]) -> Score:
        """Add up what the functions gave for one step."""
        values: dict[str, float | None] = {}
        dropped = None
        for term, outcome in zip(self._terms, outcomes, strict=True):
            entries = term.entries(outcome, facts)
            if not isinstance(entries, RewardError):
                values.update(entries)
            elif not term.drops:
                raise entries
            else:
                dropped = dropped or str(entries)
        if dropped is None and None in values.values():
            dropped = self._all_abstain(values, facts)
        if dropped is not None:
            names = self.entries
            return Score(0.0, dict.fromkeys(names, 0.0), dict.fromkeys(names), dropped)
        components = self._components(values)
        reward = sum(components.values())
        if not abs(reward) <= _LARGEST:
            raise RewardError(
                f"the reward's sum is {reward} on row {facts.get('row')}, beyond 32 bits: "
                f"{components}; scale or clip its components"
            )
        return Score(reward, components, values)

    def _components(self, values: Mapping[str, float | None]) -> dict[str, float]:
        """Scale, clip, gate and weight."""
        components = {}
        for term in self._terms:
            shape, gate = term.shape, term.shape.gate
            shut = gate is not None and not gate.open(_gating(gate.name, values))
            for name in term.parts.names:
                value = values[name]
                if shut or value is None:
                    components[name] = 0.0
                else:
                    components[name] = term.weight * shape.scaled(name, value)
        return components

    def _all_abstain(
        self, values: Mapping[str, float | None], facts: Mapping[str, Any]
    ) -> str | None:
        """Why there is no reward where every component that has a weight abstains."""
        counting = [t for t in self._terms if t.weight != 0.0] or self._terms
        if any(values[name] is not None for term in counting for name in term.parts.names):
            return None
        names = ", ".join(term.name for term in counting)
        reason = f"the reward has no value on row {facts.get('row')}: {names} abstained"
        if not all(term.drops for term in counting):
            raise RewardError(f"{reason}; let one of them give a number at every step")
        for term in counting:
            term.caller.failures += 1
        return reason

    def _large(self, scores: Iterable[Score]) -> list[Finding]:
        """Components that are far beyond what training takes, at their largest weight."""
        largest: dict[str, float] = {}
        for score in scores:
            for term in self._terms:
                weight = max(abs(term.shape.weight.first), abs(term.shape.weight.last))
                for name in term.parts.names:
                    value = score.values[name]
                    size = 0.0 if value is None else abs(weight * term.shape.scaled(name, value))
                    largest[name] = max(size, largest.get(name, 0.0))
        return [
            Finding(name, "warning", f"is as large as {size:.3g}; scale it to about 1")
            for name, size in largest.items()
            if size > LARGE
        ]


def _gating(name: str, values: Mapping[str, float | None]) -> float | None:
    if name not in values:
        raise RewardError(f"gate: there is no value {name!r}; {choices(name, values)}")
    return values[name]
