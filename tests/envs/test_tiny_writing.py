from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.error import ResetNeeded

import strategy_rl
from strategy_rl.config import load_experiment
from strategy_rl_envs.tiny_writing import TinyWriting

ID = "strategy_rl_envs:strategy_rl/TinyWriting-v0"
SMOKE = Path(__file__).parents[2] / "experiments" / "smoke_text.yaml"


def letter_of(obs: str) -> str:
    return obs.removesuffix(".")[-1]


def mean_return(write: Callable[[str, dict[str, Any]], str], num_rows: int = 400) -> float:
    env = gymnasium.make(ID, num_rows=num_rows)
    total = 0.0
    for row in range(num_rows):
        obs, info = env.reset(options={"row": row})
        ended = False
        while not ended:
            obs, reward, ended, _, info = env.step(write(obs, info))
            total += float(reward)
    return total / num_rows


def test_four_of_the_named_letter_have_two_the_expert_one_and_nothing_none() -> None:
    assert mean_return(lambda obs, info: letter_of(obs) * 4) == 2.0
    assert mean_return(lambda obs, info: info["expert_action"]) == pytest.approx(1.0, abs=0.05)
    assert mean_return(lambda obs, info: "") == 0.0


@pytest.mark.parametrize(
    ("text", "paid"), [("dd", 0.5), ("dddddd", 1.0), ("ddda", 0.5), ("ad", 0.0), ("abcefgh", -1.0)]
)
def test_a_turn_pays_a_quarter_for_each_right_letter_and_takes_it_for_each_wrong(
    text: str, paid: float
) -> None:
    env = TinyWriting()
    rows = (row for row in range(env.num_rows))
    while letter_of(env.reset(options={"row": next(rows)})[0]) != "d":
        pass
    _, reward, _, _, info = env.step(text)
    assert reward == paid
    assert sum(info["reward_components"].values()) == paid


def test_the_second_turn_shows_what_was_written_in_the_first() -> None:
    env = TinyWriting()
    first, _ = env.reset(options={"row": 0})
    assert first == f"Write {letter_of(first)}."
    second, _, ended, _, _ = env.step("xyz")
    assert second == f"You wrote xyz. Write {letter_of(second)}."
    assert not ended
    assert env.step("")[2]
    with pytest.raises(ResetNeeded, match="the episode ended after 2 turns"):
        env.step("")


def test_splits_hold_different_rows_and_a_row_is_always_the_same() -> None:
    def texts(split: str) -> list[str]:
        env = TinyWriting(split)
        return [env.reset(options={"row": row})[1]["expert_action"] for row in range(40)]

    assert texts("train") == texts("train")
    assert texts("train") != texts("validation") != texts("test") != texts("train")


@pytest.mark.slow
def test_the_shipped_smoke_run_writes_better_than_its_expert(tmp_path: Path) -> None:
    run = strategy_rl.run(load_experiment(SMOKE), out=tmp_path / "run")
    returns = {name: policy["mean_return"] for name, policy in run.report["policies"].items()}
    assert returns["sft"] > returns["zero_shot"] + 2
    assert returns["ppo"] > returns["sft"] + 0.3
    assert returns["ppo"] > 1.4
