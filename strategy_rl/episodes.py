"""What a policy did, step by step, as JSON lines. Knows no environment and no model.

A file starts with a header line `{"schema": 1, ...}`; each further line is one episode.
Numbers are strict JSON: what is not finite is written as null.
"""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np

from strategy_rl.errors import RunError
from strategy_rl.files import disk, storage_errors, temporary_beside

SCHEMA = 1
_WORDS = {str, int, bool}
_TUPLES = "_tuples"  # JSON has lists only, and a reward function may tell them apart

Action: TypeAlias = int | str | list[int] | list[float]


@dataclass(frozen=True)
class Step:
    """One `env.step`; `probabilities` and `legal_names` run over `legal_actions`, else over all.

    `reward_values` are the components' own values, None where one abstained; `log_ratio` is the
    log-probability of a written action less that under SFT's policy; `special` tells an action
    that stands beside the plain ones; `text` is what the step wrote. `greedy_action` is the most
    probable one, `reference_action` that of SFT's policy, `kl` how far the two distributions are
    from each other, nats; `logprob` is of the action taken, a density where actions are numbers.
    Where an action has several factors, their probabilities stand in lists of their own. `tokens`
    are those of a written action, each with `text`, `logprob` and, where they are known,
    `reference_logprob`, `value` and `advantage`. Advantages are as PPO has them, not whitened.
    """

    action: Action
    action_name: str
    reward: float
    components: dict[str, float]
    observation: dict[str, Any] | None = None
    legal_actions: list[int] | None = None
    probabilities: list[float] | None = None
    value: float | None = None
    expert_action: int | str | list[int] | None = None
    candidate_kinds: list[str] | None = None
    reward_inputs: dict[str, Any] | None = None
    legal_names: list[str] | None = None
    reward_values: dict[str, float | None] | None = None
    log_ratio: float | None = None
    special: bool | None = None
    text: str | None = None
    expert_name: str | None = None
    logprob: float | None = None
    entropy: float | None = None
    greedy_action: Action | None = None
    greedy_name: str | None = None
    reference_action: Action | None = None
    reference_name: str | None = None
    reference_probabilities: list[float] | None = None
    kl: float | None = None
    factor_probabilities: list[list[float]] | None = None
    reference_factor_probabilities: list[list[float]] | None = None
    advantage: float | None = None
    tokens: list[dict[str, Any]] | None = None


@dataclass(frozen=True)
class Selection:
    """How an episode was picked out of a rollout.

    `reasons` are of "random", "best", "worst" and "surprising"; the rollout had `num_episodes`
    that ended, and their `mean_return`.
    """

    reasons: tuple[str, ...]
    num_episodes: int
    mean_return: float


@dataclass(frozen=True)
class Episode:
    """One episode of one policy; rows that share a `group` are resampled together.

    `kind` is what the task calls rows of this sort, None where it tells none apart; `selection`
    is of training alone; `final_value` is the critic's of what came after a cut; `weights` are
    those that the reward's components had then.
    """

    episode_id: str
    stage: str
    iteration: int
    seed: int
    split: str
    row: int | None
    group: str | None
    policy: str
    terminated: bool
    steps: tuple[Step, ...]
    kind: str | None = None
    selection: Selection | None = None
    final_value: float | None = None
    weights: dict[str, float] | None = None

    @property
    def return_(self) -> float:
        """Sum of the rewards, undiscounted; `return` in the file."""
        return math.fsum(step.reward for step in self.steps)


def plain(value: Any) -> Any:
    """Turns numpy values, tuples and mappings into what strict JSON can hold.

    Raises:
        TypeError: `value` is, or contains, something that is neither text, number nor a container.
    """
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case np.ndarray() | np.generic():
            return plain(value.tolist())
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            if set(map(type, value)) <= _WORDS:  # nearly always, and many
                return list(value)
            return [plain(item) for item in value]
    raise TypeError(f"cannot be written as JSON: {type(value).__name__}; give texts and numbers")


def facts_to_json(facts: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What a reward was given, as JSON; a reserved key names the facts that were tuples.

    What JSON cannot hold is left out, with a warning: an episode that cannot be judged again is
    worth more than none.
    """
    if not facts:
        return None if facts is None else {}
    written = {str(name): value for name, value in facts.items() if _is_plain(str(name), value)}
    tuples = sorted(name for name, value in written.items() if isinstance(value, tuple))
    return {**plain(written), _TUPLES: tuples}


def _is_plain(name: str, value: Any) -> bool:
    try:
        plain(value)
    except TypeError as error:
        warnings.warn(
            f"the reward's fact {name!r} {error}; episodes are written without it, and `rescore` "
            "cannot give it to a reward",
            stacklevel=2,
        )
        return False
    return True


def facts_from_json(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `facts_to_json`: tuples and lists as they were, no reserved key.

    Facts that do not say which were tuples take every list for one but `references`.
    """
    tuples = stored.get(_TUPLES, stored.keys() - {"references"})
    return {
        name: tuple(value) if isinstance(value, list) and name in tuples else value
        for name, value in stored.items()
        if name != _TUPLES
    }


def json_line(value: Any) -> bytes:
    """One line of strict UTF-8 JSON; a lone surrogate becomes its JSON escape."""
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError):  # something is not finite, or a key is no text
        text = _ENCODER.encode(plain(value))
    return text.encode("utf-8", errors="backslashreplace") + b"\n"


_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain
)


def episode_to_json(episode: Episode) -> dict[str, Any]:
    """The episode as its line in the file; `return` and `summary` are for readers of the raw file.

    The steps come last, so that lists of episodes can be made from the beginnings of lines.
    """
    head = {name: getattr(episode, name) for name in _EPISODE_FIELDS}
    if episode.selection is not None:
        head["selection"] = asdict(episode.selection)
    steps = [_step_to_json(step) for step in episode.steps]
    return {**head, "return": episode.return_, "summary": summary_of(steps), "steps": steps}


def _step_to_json(step: Step) -> dict[str, Any]:
    """What is not known is left out where a reader may do without."""
    return {n: v for n, v in vars(step).items() if v is not None or n not in _ADDED_FIELDS}


def summary_of(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What lists of episodes are sorted and filtered by.

    Args:
        steps: Of one episode, as its line holds them.

    Returns:
        `length`; `value_error`, how far the first value was from the return, and
        `least_probability` of the actions taken, None where they are not known; `actions`, how
        often each name, but for those made of real numbers; `components`, the sum of each.
    """
    total = math.fsum(step["reward"] for step in steps)
    first = steps[0].get("value") if steps else None
    chosen = [p for step in steps if (p := chosen_probability(step)) is not None]
    components: dict[str, float] = {}
    for step in steps:
        for name, value in step["components"].items():
            components[name] = components.get(name, 0.0) + value
    return {
        "length": len(steps),
        "value_error": None if first is None else abs(first - total),
        "least_probability": min(chosen, default=None),
        "actions": dict(Counter(s["action_name"] for s in steps if not _is_vector(s["action"]))),
        "components": components,
    }


def _is_vector(action: Any) -> bool:
    """Whether it is made of real numbers, which are never the same twice."""
    return isinstance(action, list) and any(isinstance(number, float) for number in action)


def chosen_probability(step: Mapping[str, Any]) -> float | None:
    """Of the action that a step took; None where it is not recorded, or a density.

    Of a written action, of its least likely token.
    """
    if tokens := step.get("tokens"):
        return math.exp(min(token["logprob"] for token in tokens))
    probabilities, action = step.get("probabilities"), step["action"]
    logprob, factors = step.get("logprob"), action if isinstance(action, list) else [action]
    if probabilities is None or not isinstance(action, int):
        if logprob is None or not all(isinstance(factor, int) for factor in factors):
            return None
        return math.exp(logprob)
    legal = step.get("legal_actions")
    place = action if legal is None else legal.index(action) if action in legal else -1
    return probabilities[place] if 0 <= place < len(probabilities) else None


def episode_from_json(fields: Mapping[str, Any]) -> Episode:
    """The inverse of `episode_to_json`; unknown keys are ignored.

    Raises:
        KeyError: a field is missing.
        TypeError: a step is no object, or `steps` no list.
    """
    steps = tuple(
        Step(**{n: step[n] for n in _STEP_FIELDS if n in step or n not in _ADDED_FIELDS})
        for step in fields["steps"]
    )
    head = {n: fields[n] for n in _EPISODE_FIELDS if n in fields or n not in _ADDED_FIELDS}
    if (picked := head.get("selection")) is not None:
        head["selection"] = Selection(**{**picked, "reasons": tuple(picked["reasons"])})
    return Episode(**head, steps=steps)


def write_episodes(path: Path, episodes: Iterable[Episode], header: Mapping[str, Any]) -> None:
    """Writes the whole file or nothing.

    Args:
        path: the file; its folder must exist.
        episodes: in the order in which they are to be read again.
        header: what the first line tells beside the schema, e.g. task, split and policy.

    Raises:
        StorageError: the disk refused.
    """
    partial = temporary_beside(path)
    with storage_errors(path):
        try:
            with disk.open(partial, "wb") as file:
                disk.write(file, json_line({**header, "schema": SCHEMA}))
                for episode in episodes:
                    disk.write(file, json_line(episode_to_json(episode)))
                disk.fsync(file)
            disk.rename(partial, path)
            disk.fsync(path.parent)
        except BaseException:
            with suppress(OSError):
                disk.remove(partial)
            raise


def read_episodes(path: Path) -> tuple[dict[str, Any], list[Episode]]:
    """The header and every episode of a file.

    Raises:
        RunError: the file is missing, or a line is not what it should be; names file and line.
    """
    lines = _objects(path)
    _, header = next(lines, (1, {}))
    if header.get("schema") != SCHEMA:
        _refuse(path, 1, f"schema is {header.get('schema')!r}, expected {SCHEMA}")
    episodes = []
    for number, fields in lines:
        try:
            episodes.append(episode_from_json(fields))
        except KeyError as error:
            _refuse(path, number, f"field {error} is missing")
        except TypeError as error:
            _refuse(path, number, f"not an episode: {error}")
    return header, episodes


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}; is it a run folder?") from error
    with file:
        for number, line in enumerate(file, start=1):
            try:
                fields = json.loads(line)
            except ValueError as error:
                _refuse(path, number, f"not JSON: {error}")
            if not isinstance(fields, dict):
                _refuse(path, number, f"expected an object, got {type(fields).__name__}")
            yield number, fields


def _refuse(path: Path, line: int, reason: str) -> NoReturn:
    raise RunError(f"{path}:{line}: {reason}; write the file again with `strategy-rl evaluate`")


_EPISODE_FIELDS = tuple(name for name in Episode.__dataclass_fields__ if name != "steps")
_STEP_FIELDS = tuple(Step.__dataclass_fields__)
# Older files lack them.
_ADDED_FIELDS = frozenset(
    {"reward_values", "log_ratio", "kind", "special", "text", "expert_name", "logprob", "entropy"}
    | {"greedy_action", "greedy_name", "reference_action", "reference_name"}
    | {"reference_probabilities", "kl", "selection", "final_value", "weights"}
    | {"advantage", "tokens"}
    | {"factor_probabilities", "reference_factor_probabilities"}
)
