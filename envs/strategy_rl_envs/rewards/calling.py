"""How one reward function is called: with copies, under a deadline, guarded, counted and timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

from strategy_rl_envs.kit.errors import RewardError
from strategy_rl_envs.rewards.deadline import Clock, DeadlinePassed
from strategy_rl_envs.rewards.facts import columns, copied, given
from strategy_rl_envs.rewards.guard import (
    Guard,
    input_named,
    restore_folder,
    same,
    warn_once,
    working_folder,
)
from strategy_rl_envs.rewards.numbers import (
    IsolationError,
    NotANumber,
    Raw,
    read_entry,
    read_many,
    read_raw,
)
from strategy_rl_envs.rewards.specs import Spec

if TYPE_CHECKING:
    from strategy_rl_envs.rewards.isolation import Hold

Result = TypeVar("Result")
Outcome = Raw | RewardError

_FIRST_CHECKS = 2  # calls that are guarded at first; later every `_EVERY`-th one
_EVERY = 1024


class Caller:
    """Calls the function of one spec.

    Attributes:
        name: The component's name.
        deadline: Seconds that a call may take.
        calls: Steps scored.
        seconds: Time that they took together.
        failures: Steps on which it failed.
        changed: What the guard saw it change, by name.
        probed: Whether every call is guarded, as in a probe.
    """

    def __init__(self, spec: Spec, clock: Clock) -> None:
        self.name, self.deadline, self.function = spec.name, spec.deadline, spec.function
        self.facts = spec.facts
        self.changed: set[str] = set()
        self.probed = False
        self._meddles = False
        self._settings = {name: copied(value) for name, value in spec.settings.items()}
        self._call = partial(spec.function.function, **self._settings)
        self._spec, self._clock = spec, clock
        self._hold: Hold | None = None
        self._is_plain = not (spec.isolate or spec.function.batched or spec.function.is_async)
        self.on_clock = not (spec.isolate or spec.function.is_async)
        self.reset_counts()

    def reset_counts(self) -> None:
        """Forget the counts and times so far."""
        self.calls, self.seconds, self.failures, self._runs = 0, 0.0, 0, 0

    def one(self, step: Mapping[str, Any]) -> Outcome:
        """Score one step; an error names the function, the row and what happened."""
        return self._plain(step) if self._is_plain else self.many([step])[0]

    def many(self, steps: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        """Score many steps, in one call where the function is batched and at once where async."""
        if self._spec.isolate and not self.function.batched:
            return [self._apart(step) for step in steps]
        if self._is_plain:
            return [self._plain(step) for step in steps]
        raws = (self._batch if self.function.batched else self._together)(steps)
        return [
            self.failure(raw, step) if isinstance(raw, BaseException) else raw
            for raw, step in zip(raws, steps, strict=True)
        ]

    def failure(self, error: BaseException, step: Mapping[str, Any]) -> RewardError:
        """Count what went wrong on a step, and say where and what."""
        self.failures += 1
        where = f"reward {self.name!r} ({self.function.place}) on row {step.get('row')}"
        failed = RewardError(f"{where} {self._happened(error)}")
        failed.__cause__ = error
        return failed

    def close(self) -> None:
        """Let go of the child process, if there is one; it ends with its last user."""
        if self._hold is not None:
            self._hold.release()
            self._hold = None

    def _plain(self, step: Mapping[str, Any]) -> Outcome:
        arguments = given(step, self.facts)
        try:
            return self._run(lambda: read_raw(self._call(**arguments)), [step], arguments)
        except (Exception, SystemExit, DeadlinePassed) as error:
            return self.failure(error, step)

    def _apart(self, step: Mapping[str, Any]) -> Outcome:
        facts = given(step, self.facts)
        try:
            return self._run(lambda: cast(Raw, self._ask(facts)), [step])
        except IsolationError as error:
            return self.failure(error, step)

    def _batch(self, steps: Sequence[Mapping[str, Any]]) -> list[Any]:
        """One call for all steps; where it fails as a whole, every step has failed."""
        arguments, count = columns(steps, self.facts), len(steps)
        try:
            if self._spec.isolate:
                return self._run(lambda: list(self._ask(arguments)), steps)
            if self.function.is_async:
                value = self._gather([partial(self._call, **arguments)], steps)[0]
                if isinstance(value, BaseException):
                    raise value
                return read_many(value, count)
            return self._run(lambda: read_many(self._call(**arguments), count), steps, arguments)
        except (Exception, SystemExit, DeadlinePassed) as error:
            return [error] * count

    def _together(self, steps: Sequence[Mapping[str, Any]]) -> list[Any]:
        """One call for each step, all of them at once."""
        calls = [partial(self._call, **given(step, self.facts)) for step in steps]
        return [
            value if isinstance(value, BaseException) else read_entry(value)
            for value in self._gather(calls, steps)
        ]

    def _gather(self, calls: Sequence[Any], steps: Sequence[Mapping[str, Any]]) -> list[Any]:
        from strategy_rl_envs.rewards.asynchronous import gather  # asyncio takes 50 ms to import

        return self._run(lambda: gather(calls, self.deadline, self.name), steps)

    def _ask(self, facts: Mapping[str, Any]) -> Any:
        if self._hold is None:
            from strategy_rl_envs.rewards.isolation import hold

            self._hold = hold(self.function, self)
        return self._hold.worker.ask(facts, self._settings, self.deadline)

    def _run(
        self,
        call: Callable[[], Result],
        steps: Sequence[Mapping[str, Any]],
        arguments: Mapping[str, Any] | None = None,
    ) -> Result:
        """Call under the clock and, now and then, the guard; `arguments` are watched for change."""
        runs = self._runs = self._runs + 1
        guarded = runs <= _FIRST_CHECKS or self.probed or self._meddles or not runs % _EVERY
        guard = Guard() if guarded and not self._spec.isolate else None
        folder = None if self._spec.isolate else working_folder()
        clock = self._clock
        clock.rung = False
        clock.started = started = perf_counter()
        if self.on_clock:
            clock.running = self
        try:
            result = call()
            if clock.rung:  # and the function caught it
                raise DeadlinePassed
            return result
        finally:
            clock.running = None
            self.seconds += perf_counter() - started
            self.calls += len(steps)
            if guard is not None:
                self._look(guard, steps, arguments)
            elif not self._spec.isolate:
                self._tell(restore_folder(folder))

    def _look(
        self,
        guard: Guard,
        steps: Sequence[Mapping[str, Any]],
        arguments: Mapping[str, Any] | None,
    ) -> None:
        """Put back what the call changed; a function that does so is guarded from now on."""
        found = guard.restore()
        self._meddles = self._meddles or bool(found)
        for name in arguments or ():
            before = [step[name] for step in steps] if self.function.batched else steps[0][name]
            if not same(arguments[name], before):  # type: ignore[index]
                found.append(input_named(name))
        self._tell(found)

    def _tell(self, found: Sequence[str]) -> None:
        for changed in found:
            self.changed.add(changed)
            warn_once(self.name, changed, told=self.probed)

    def _happened(self, error: BaseException) -> str:
        if isinstance(error, NotANumber | IsolationError):
            return str(error)
        if isinstance(error, DeadlinePassed):
            return f"ran longer than {self.deadline:g} s and was stopped"
        return f"raised {type(error).__name__}: {error}"
