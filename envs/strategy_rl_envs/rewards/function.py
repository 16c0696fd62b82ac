"""What a reward function is: a plain function that names the facts it needs and its settings.

Knows no environment, no file and no composition.
"""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin

from strategy_rl_envs.kit.errors import SettingError, choices

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Setting:
    """A keyword-only parameter: its default and the type that it is checked against."""

    default: Any
    annotation: Any

    def accepts(self, value: Any) -> bool:
        """Whether a value from an experiment file may stand here."""
        return _matches(value, self.annotation)


@dataclass(frozen=True)
class RewardFunction:
    """A reward function with what it asks for; called, it is the function itself.

    Attributes:
        function: As its author wrote it.
        name: How experiment files name it.
        needs: Facts that it must be given.
        wants: Facts with a default, given where a task offers them.
        settings: Keyword-only parameters by name.
        batched: Whether it takes lists, one entry a step, and gives a list.
        bounds: Least and greatest value where the author declares them.
        parts: Names of its sub-scores where the author declares them.
    """

    function: Callable[..., Any]
    name: str
    needs: tuple[str, ...]
    wants: tuple[str, ...]
    settings: Mapping[str, Setting]
    batched: bool = False
    bounds: tuple[float, float] | None = None
    parts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for attribute in functools.WRAPPER_ASSIGNMENTS:
            if hasattr(self.function, attribute):
                object.__setattr__(self, attribute, getattr(self.function, attribute))
        object.__setattr__(self, "__wrapped__", self.function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as it was written."""
        return self.function(*args, **kwargs)

    @property
    def place(self) -> str:
        """`module.name` of the function, for messages."""
        function = self.function
        made_by_a_call = not hasattr(function, "__qualname__")  # a partial, an object with a state
        named = type(function) if made_by_a_call else function
        return f"{named.__module__}.{named.__qualname__}"

    @property
    def is_async(self) -> bool:
        """Whether it was written with `async def`."""
        call = getattr(self.function, "__call__", None)  # noqa: B004 - an object with async __call__
        return inspect.iscoroutinefunction(self.function) or inspect.iscoroutinefunction(call)

    def read_settings(self, place: str, given: Any) -> dict[str, Any]:
        """Check settings from an experiment file.

        Raises:
            SettingError: some are unknown or of another type; one line each, begun with `place`.
        """
        faults = list(self.setting_faults(place, given))
        if faults:
            raise SettingError("\n".join(faults))
        return dict(given)

    def setting_faults(self, place: str, given: Any) -> Iterator[str]:
        """What is wrong with settings from an experiment file."""
        if not isinstance(given, Mapping):
            yield f"{place}: expected a mapping of settings, got {given!r}"
            return
        for name, value in given.items():
            setting = self.settings.get(name)
            if setting is None:
                known = choices(name, self.settings)
                yield f"{place}.{name}: no such setting of {self.name!r}; {known}"
            elif not setting.accepts(value):
                yield f"{place}.{name}: expected {_shown(setting.annotation)}, got {value!r}"


_registered: dict[str, RewardFunction] = {}


def registered() -> Mapping[str, RewardFunction]:
    """Every function that `@reward` has met in this process, by name."""
    return types.MappingProxyType(_registered)


@typing.overload
def reward(function: Callable[..., Any], /) -> RewardFunction: ...
@typing.overload
def reward(
    *,
    name: str | None = None,
    batched: bool = False,
    bounds: tuple[float, float] | None = None,
    parts: Sequence[str] = (),
) -> Callable[[Callable[..., Any]], RewardFunction]: ...
def reward(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    batched: bool = False,
    bounds: tuple[float, float] | None = None,
    parts: Sequence[str] = (),
) -> Any:
    """Make a plain function a reward that experiment files can name.

        @reward
        def brevity(output: str, *, target_words: int = 30) -> float:
            return min(1.0, target_words / max(1, len(output.split())))

    Positional parameters are facts of a step, by the names that a task offers; one with a default
    is left out where the task does not offer it. Keyword-only parameters are settings and need a
    default. It gives a number, None (it abstains) or a dict of named sub-scores.

    Args:
        function: What to decorate.
        name: Under which name; None: the function's own.
        batched: It takes lists and gives a list of the same length.
        bounds: Least and greatest value; the check-up holds the function to them.
        parts: Names of its sub-scores; needed where its first step may abstain or fail.

    Raises:
        SettingError: A parameter is neither, or another function has the name.
    """
    if function is None:
        return functools.partial(_register, name=name, batched=batched, bounds=bounds, parts=parts)
    return _register(function, name=name, batched=batched, bounds=bounds, parts=parts)


def described(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    batched: bool = False,
    bounds: tuple[float, float] | None = None,
    parts: Sequence[str] = (),
) -> RewardFunction:
    """Read a function's signature without registering it; a `RewardFunction` stays what it is.

    Raises:
        SettingError: A parameter is neither a fact nor a setting.
    """
    if isinstance(function, RewardFunction):
        return function
    called = name or str(getattr(function, "__name__", type(function).__name__))
    needs: list[str] = []
    wants: list[str] = []
    settings: dict[str, Setting] = {}
    hints = _hints(function)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            if parameter.default is parameter.empty:
                raise SettingError(
                    f"reward {called!r}: the setting {parameter.name!r} has no default; give it one"
                )
            settings[parameter.name] = Setting(
                parameter.default, hints.get(parameter.name, _type_of(parameter.default))
            )
        elif parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            raise SettingError(f"reward {called!r} takes {parameter}; name each parameter")
        else:
            (needs if parameter.default is parameter.empty else wants).append(parameter.name)
    if batched and not needs:
        raise SettingError(f"reward {called!r} is batched and needs no fact; name one, as `row`")
    return RewardFunction(
        function,
        called,
        tuple(needs),
        tuple(wants),
        types.MappingProxyType(settings),
        batched,
        bounds,
        tuple(parts),
    )


def _register(function: Callable[..., Any], **options: Any) -> RewardFunction:
    made = described(function, **options)
    known = _registered.get(made.name)
    if known is not None and known.place != made.place:
        raise SettingError(
            f"reward {made.name!r}: {made.place} and {known.place} have the same name; "
            "rename one, or give it @reward(name=...)"
        )
    _registered[made.name] = made
    return made


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Types by parameter; none where an annotation cannot be resolved at run time."""
    function = function.func if isinstance(function, functools.partial) else function
    if not hasattr(function, "__name__"):
        function = type(function).__call__
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        return {}


def _type_of(default: Any) -> Any:
    """What a setting without an annotation must be: what its default is."""
    return Any if default is None else type(default)


def _matches(value: Any, annotation: Any) -> bool:
    """Whether a JSON value fits a type; an int may stand for a float, a list for a tuple."""
    if annotation is Any:
        return True
    if annotation is None or annotation is type(None):
        return value is None
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_matches(value, option) for option in inner)
    if origin is Literal:
        return value in inner
    if origin in (list, tuple, Sequence) or annotation in (list, tuple):
        item = inner[0] if inner else Any
        return isinstance(value, list | tuple) and all(_matches(x, item) for x in value)
    if origin in (dict, Mapping) or annotation is dict:
        item = inner[1] if inner else Any
        return isinstance(value, Mapping) and all(_matches(x, item) for x in value.values())
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if not isinstance(annotation, type):
        return True  # no rule for such a type: the function has to bear what comes
    return isinstance(value, annotation)


def _shown(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
