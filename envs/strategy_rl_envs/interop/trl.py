"""A reward function in the form that TRL's trainers call. Knows rewards alone: TRL is not imported.

trainer = GRPOTrainer(model, reward_funcs=[trl_reward("rouge_l"), trl_reward(mine, weight=0.5)],
                      train_dataset=rows, args=arguments)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from strategy_rl_envs.kit.errors import RewardError, SettingError, choices
from strategy_rl_envs.rewards.calling import Caller, Outcome
from strategy_rl_envs.rewards.deadline import Clock
from strategy_rl_envs.rewards.function import RewardFunction, described
from strategy_rl_envs.rewards.numbers import Raw
from strategy_rl_envs.rewards.specs import Spec, find_function, read_specs

# What TRL hands over beside the columns of the data set.
NO_COLUMNS = ("completion_ids", "environments", "log_extra", "trainer_state")


def trl_reward(
    function: str | Callable[..., Any], *, weight: float = 1.0, **settings: Any
) -> TRLReward:
    """Make one of our reward functions a reward function of TRL.

    It is given, by the names of its parameters: `output`, the text of the completion (in a chat, of
    its last message); `source`, the text of the prompt (of its last message); `context`, the texts
    of all messages of the prompt; and the columns of the data set, which count before the prompt.
    None, for a completion that it abstains from, stays None. Sub-scores are added up, and their
    means are logged.

    Args:
        function: A name as experiment files have it, or the function itself.
        weight: What its value is multiplied by.
        **settings: Its keyword-only parameters.

    Raises:
        SettingError: There is no such function or setting.
    """
    return TRLReward(function, weight, settings)


class TRLReward:
    """Called as TRL calls reward functions; made by `trl_reward`.

    Attributes:
        __name__: What TRL's logs call it.
    """

    def __init__(
        self, function: str | Callable[..., Any], weight: float, settings: Mapping[str, Any]
    ) -> None:
        self._components: dict[str, RewardFunction] = {}
        if not isinstance(function, str):
            made = described(function)
            function = made.name
            self._components[function] = made
        self.__name__ = function
        self._entry = {"name": function, "weight": weight, "settings": dict(settings)}
        self._weight = weight
        self._clock = Clock()
        self._caller: Caller | None = None
        found = find_function(self._components, function)
        self._needs = found.needs if found else ()
        self._read(self._needs)  # the rest is refused now, not in the midst of training

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: Any,
    ) -> list[float | None]:
        """Score completions.

        Args:
            prompts: Texts, or lists of chat messages.
            completions: Likewise, one for each prompt.
            log_metric: Takes the means of sub-scores.
            **columns: The data set's columns: lists with a value for each completion.

        Raises:
            RewardError: The function failed on a completion.
            SettingError: It wants a fact that is not there.
        """
        steps = _facts(prompts, completions, columns)
        if not steps:
            return []
        if self._caller is None:
            self._require(steps[0])
            self._caller = Caller(self._read(steps[0]), self._clock)
        with self._clock.armed(self._caller.deadline if self._caller.on_clock else None):
            outcomes = self._caller.many(steps)
        raws = [_usable(outcome) for outcome in outcomes]
        if log_metric is not None:
            for name, mean in _means(raws).items():
                log_metric(f"{self.__name__}/{name}", mean)
        return [None if (value := _sum(raw)) is None else self._weight * value for raw in raws]

    def _read(self, facts: Collection[str]) -> Spec:
        return read_specs(self._components, [self._entry], facts)[0]

    def _require(self, facts: Mapping[str, Any]) -> None:
        for name in self._needs:
            if name not in facts:
                raise SettingError(
                    f"reward {self.__name__!r} wants {name!r}, which the data set does not give; "
                    f"{choices(name, facts)}"
                )


def _facts(
    prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The facts of each completion."""
    given = {name: column for name, column in columns.items() if name not in NO_COLUMNS}
    return [
        {
            "row": place,
            "source": texts[-1] if (texts := _texts(prompt)) else "",
            "context": texts,
            "history": (),
            "ended": True,
            **{name: column[place] for name, column in given.items()},
            "output": spoken[-1] if (spoken := _texts(completion)) else "",
        }
        for place, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
    ]


def _texts(said: Any) -> tuple[str, ...]:
    """The texts of a prompt or completion: itself, or the contents of its messages."""
    return (said,) if isinstance(said, str) else tuple(_content(message) for message in said)


def _content(message: Mapping[str, Any]) -> str:
    """The text of a chat message; of one with several parts, that of its text parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content)


def _usable(outcome: Outcome) -> Raw:
    if isinstance(outcome, RewardError):
        raise outcome
    return outcome


def _sum(raw: Raw) -> float | None:
    """A number; of sub-scores their sum, without those that abstained."""
    if not isinstance(raw, dict):
        return raw
    numbers = [value for value in raw.values() if value is not None]
    return sum(numbers) if numbers else None


def _means(raws: Sequence[Raw]) -> dict[str, float]:
    """Mean of each sub-score over the completions that have it."""
    found: dict[str, list[float]] = {}
    for raw in raws:
        for name, value in raw.items() if isinstance(raw, dict) else ():
            if value is not None:
                found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}
