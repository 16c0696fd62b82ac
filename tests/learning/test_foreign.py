"""Environments that nobody here wrote, trained as their experiment files say."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium
import pytest
from ladder import EXPERIMENTS

import strategy_rl
from strategy_rl.config import load_experiment
from strategy_rl.files import read_json

FOREIGN = EXPERIMENTS / "foreign"
QUICK = ["evaluation.bootstrap_samples=100", "logging.tensorboard=false"]


def judged(name: str, tmp_path: Path, *changes: str, seeds: tuple[int, ...] = (0,)) -> list[float]:
    """Mean test return of PPO, one a seed."""
    experiment = load_experiment(FOREIGN / f"{name}.yaml", [*QUICK, *changes])
    strategy_rl.run(experiment, seeds=list(seeds), out=tmp_path / name)
    folders = (
        [tmp_path / name / f"seed-{s}" for s in seeds] if len(seeds) > 1 else [tmp_path / name]
    )
    return [read_json(f / "report.json")["policies"]["ppo"]["mean_return"] for f in folders]


def test_frozen_lake_is_crossed_every_time(tmp_path: Path) -> None:
    assert judged("frozen_lake", tmp_path, "ppo.iterations=20") == [1.0]


@pytest.mark.slow
def test_taxi_is_driven_almost_as_well_as_can_be_for_each_of_three_seeds(tmp_path: Path) -> None:
    assert min(judged("taxi", tmp_path, seeds=(0, 1, 2))) > 7.5  # the best policy: 7.93


@pytest.mark.slow
def test_blackjack_loses_no_more_than_the_house_takes(tmp_path: Path) -> None:
    assert min(judged("blackjack", tmp_path, seeds=(0, 1, 2))) > -0.075  # the best policy: -0.043


class Game:
    """A game in the manner of TextWorld: open, take, unlock, in this order, a point for each."""

    COMMANDS = (
        ("open box", "look", "examine door"),
        ("take key", "look", "close box", "examine door"),
        ("look", "drop key", "unlock door", "examine box"),
        ("look",),
    )

    WAY = ("open box", "take key", "unlock door")

    def reset(self) -> Any:
        self._done = 0
        return self._state()

    def step(self, command: str) -> Any:
        before = self._done
        if (command,) == self.WAY[before : before + 1]:
            self._done += 1
        elif command in ("close box", "drop key"):
            self._done -= 1
        return self._state(), self._done, self._done == 3

    def _state(self) -> Any:
        return SimpleNamespace(
            objective="Open the box. Then take the key. Then unlock the door.",
            inventory="You are carrying " + ("a key." if self._done == 2 else "nothing."),
            description="A box is " + ("open." if self._done else "closed.") + " There is a door.",
            admissible_commands=list(self.COMMANDS[self._done]),
            policy_commands=list(self.WAY[self._done :]),
            score=self._done,
        )


@pytest.fixture
def textworld(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A package of that name that makes and starts the game above; what it was asked to start."""
    started: list[str] = []

    def start(path: str, infos: Any) -> Game:
        started.append(path)
        return Game()

    package, challenges = ModuleType("textworld"), ModuleType("textworld.challenges")
    vars(package).update(
        EnvInfos=lambda **wanted: wanted,
        GameOptions=SimpleNamespace,
        generator=SimpleNamespace(compile_game=lambda game, options: options.path),
        start=start,
        challenges=challenges,
    )
    vars(challenges)["simple"] = SimpleNamespace(make=lambda settings, options: object())
    monkeypatch.setitem(sys.modules, "textworld", package)
    monkeypatch.setitem(sys.modules, "textworld.challenges", challenges)
    yield started
    sys.modules.pop("textworld_game").GAMES.cleanup()
    gymnasium.registry.pop("foreign/TextWorldSimple-v0", None)


def test_a_text_game_of_another_package_is_won(
    tmp_path: Path, textworld: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path / "cache"))
    changes = (
        "backbone.model=random:tiny",
        "task.settings={max_episode_steps: 12}",
        "sft.epochs=0",
        "ppo.iterations=30",
        "ppo.target_kl=null",
    )
    assert judged("textworld", tmp_path, *changes) == [3.0]
    assert len(set(textworld)) == 1, "one game, made once"
