"""A small task of texts, one sound reward for it, and rewards with one planted fault each."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import gymnasium
import numpy as np

from strategy_rl_envs.kit.selection import (
    random_legal_action,
    row_to_play,
    selection_mask,
    selection_spaces,
)
from strategy_rl_envs.rewards import WeightedReward, reward

PEOPLE = ["mayor", "teacher", "farmer", "doctor", "singer", "baker", "pilot", "judge"]
DEEDS = ["opened", "sold", "praised", "closed", "painted", "visited", "bought", "repaired"]
THINGS = ["bridge", "school", "market", "museum", "harbour", "garden", "station", "library"]
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday"]
FACTS = ("output", "reference", "source", "action", "row", "ended", "right")
TURNS = 2
CANDIDATES = 4


class Headlines(gymnasium.Env[dict[str, Any], np.int64]):
    """Pick the headline of a short report, twice; or say nothing."""

    special_actions = ("say_nothing",)
    heuristics: Mapping[str, Callable[[Mapping[str, Any], np.random.Generator], int]] = {
        "random": random_legal_action,
        "longest": lambda obs, rng: int(np.argmax([len(text) for text in obs["candidates"]])),
    }

    def __init__(self, specs: Sequence[Any] = ("overlap",), num_rows: int = 40) -> None:
        self.num_rows = num_rows
        self._rows = [[_report(Random(f"{row}-{turn}")) for turn in range(TURNS)]
                      for row in range(num_rows)]  # fmt: skip
        self.reward = WeightedReward(REWARDS, specs, FACTS)
        self.observation_space, self.action_space = selection_spaces(CANDIDATES, 1, 1, 400)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self._row = row_to_play(options, self.num_rows, self.np_random)
        self._turn = 0
        return self._observe()

    def step(self, action: np.int64) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        source, candidates, label = self._rows[self._row][self._turn]
        facts = {
            "output": candidates[action] if action < len(candidates) else "",
            "reference": candidates[label],
            "source": source,
            "action": int(action),
            "row": self._row,
            "ended": self._turn + 1 == TURNS,
            "right": int(action) == label,
        }
        score = self.reward.score(facts)
        self._turn = min(self._turn + 1, TURNS - 1)
        obs, info = self._observe()
        info |= {**score.info(), "reward_inputs": facts}
        return obs, score.reward, bool(facts["ended"]), False, info

    def _observe(self) -> tuple[dict[str, Any], dict[str, Any]]:
        source, candidates, label = self._rows[self._row][self._turn]
        obs = {
            "context": (source,),
            "candidates": candidates,
            "state": np.zeros(1, np.float32),
            "action_mask": selection_mask(CANDIDATES, CANDIDATES, (True,)),
        }
        return obs, {"row": self._row, "expert_action": label}


class Dial(gymnasium.Env[Any, Any]):
    """Turn to 0, 1 or 2, three times: no text, no rows, no expert, no mask."""

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space: gymnasium.Space[Any] = gymnasium.spaces.Discrete(3)

    def __init__(self, specs: Sequence[Any]) -> None:
        pays = {
            "turned": lambda action: float(action),
            "dropping": lambda action: 1 / action,
            "output": lambda output: float(len(output)),
        }
        self.reward = WeightedReward(pays, specs, ("action", "ended", "output"))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._turns = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self._turns += 1
        facts = {"action": int(action), "ended": self._turns == 3, "output": "x" * int(action)}
        score = self.reward.score(facts)
        info = {**score.info(), "reward_inputs": facts}
        return np.zeros(1, np.float32), score.reward, self._turns == 3, False, info


def _report(rng: Random) -> tuple[str, tuple[str, ...], int]:
    """A report of three sentences, four headlines, and which of them is its own."""

    def pick(words: Sequence[str]) -> str:
        return words[int(rng.random() * len(words))]

    def news() -> str:
        return f"{pick(PEOPLE)} {pick(DEEDS)} the {pick(THINGS)} on {pick(DAYS)}"

    gold = news()
    texts = [gold, news(), gold.rpartition(" on ")[0], f"{news()} and then {news()}"]
    source = f"Hear what is new. It was the {gold}, we were told. Many people came to see it."
    order = sorted(range(CANDIDATES), key=lambda _: rng.random())
    return source, tuple(texts[place] for place in order), order.index(0)


def overlap(output: str, reference: str) -> float:
    """F1 of the longest common subsequence of words: the sound one."""
    said, wanted = output.split(), reference.split()
    row = [0] * (len(wanted) + 1)
    for word in said:
        before = row[:]
        for place, other in enumerate(wanted):
            row[place + 1] = (
                before[place] + 1 if word == other else max(row[place], before[place + 1])
            )
    return 2 * row[-1] / max(1, len(said) + len(wanted))


def brevity(output: str) -> float:
    return 1 - min(1.0, len(output.split()) / 20)


def copying(output: str, source: str) -> float:
    """Share of the source that the output holds: no price for what the headline leaves out."""
    shared = Counter(output.split()) & Counter(source.split())
    return shared.total() / len(source.split())


def length(output: str) -> float:
    return len(output.split()) / 20


def repetition(output: str, reference: str) -> float:
    """Words of the reference are counted as often as they are said."""
    return sum(word in reference.split() for word in output.split()) / len(reference.split())


def constant(output: str) -> float:
    return 1.0


_noise = random.Random(0)


def noisy(output: str, reference: str) -> float:
    return overlap(output, reference) + _noise.gauss(0, 0.1)


def nan_on_empty(output: str, reference: str) -> float:
    return overlap(output, reference) if output else math.nan


def huge(output: str, reference: str) -> float:
    return 1e6 * overlap(output, reference)


def exact(output: str, reference: str) -> float:
    return float(output == reference)


def right_only(right: bool) -> float:
    return float(right)


def seeding(output: str, reference: str) -> float:
    random.seed(0)
    return overlap(output, reference)


class _Memory:
    last = ""


def grudging(output: str, reference: str) -> float:
    """Keeps a state: the same output twice in a row is worth nothing."""
    again, _Memory.last = output == _Memory.last, output
    return 0.0 if again else overlap(output, reference)


@reward(name="boastful", bounds=(0.0, 1.0))
def boastful(output: str, reference: str) -> float:
    return 1.2 * overlap(output, reference)


def choosy(output: str, reference: str) -> float:
    """Knows the outputs of the task alone."""
    if output not in _KNOWN:
        raise KeyError(output)
    return float(output == reference)


@reward(name="alone_only", batched=True)
def alone_only(output: Sequence[str], reference: Sequence[str]) -> list[float]:
    if len(output) > 1:
        raise ValueError("one at a time")
    return [overlap(*pair) for pair in zip(output, reference, strict=True)]


@reward(name="holes", batched=True)
def holes(output: Sequence[str], reference: Sequence[str]) -> list[float]:
    """Has no number for the last of several steps."""
    values = [overlap(*pair) for pair in zip(output, reference, strict=True)]
    return values if len(values) == 1 else [*values[:-1], math.nan]


def broken(output: str) -> float:
    raise ValueError("no idea")


REWARDS: dict[str, Callable[..., float]] = {
    function.__name__: function
    for function in (
        *(overlap, brevity, copying, length, repetition, constant, noisy, nan_on_empty, huge),
        *(exact, right_only, seeding, grudging, broken, choosy),
    )
}

_KNOWN = {"", *(text for row in Headlines(num_rows=40)._rows for turn in row for text in turn[1])}
