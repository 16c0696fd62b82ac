"""`strategy-rl check-env`: each planted fault is named, with what replays it; sound tasks pass."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from test_contract_check import Right

from strategy_rl.assembly import settings as task_settings
from strategy_rl.cli_tasks import check_env
from strategy_rl.errors import ConfigError, InputError, ModelError
from strategy_rl_envs.kit.selection import selection_mask
from strategy_rl_envs.testing import ContractError, check_env_contract

ID = "test/Checked-v0"


@pytest.fixture
def register():
    """Register an environment for one test."""

    def add(env_class: Any, **options: Any) -> str:
        gymnasium.register(ID, entry_point=env_class, **options)
        return ID

    yield add
    gymnasium.registry.pop(ID, None)


class NeverEnds(gymnasium.Env):
    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        return 1, 0.0, False, False, {}


class AllMasked(Right):
    def observe(self):
        return super().observe() | {"action_mask": np.zeros(4, np.int8)}


class LateReward(Right):
    value: Any = float("nan")

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, self.value if self.turn == 3 else reward, terminated, truncated, info


class LateInfinity(LateReward):
    value = float("-inf")


class LateText(LateReward):
    value = "1.0"


class LateObservation(Right):
    def observe(self):
        far = {"state": np.full(1, 1.5, np.float32)} if self.turn == 3 else {}
        return super().observe() | far


class Fickle(Right):
    episodes = 0

    def reset(self, **options):
        Fickle.episodes += 1
        return super().reset(**options)

    def observe(self):
        return super().observe() | {"context": (f"episode {self.episodes}",)}


class WrongMask(Right):
    def observe(self):
        return super().observe() | {"action_mask": np.ones(4, np.int8)}


class NumpyFlag(Right):
    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, np.bool_(terminated), truncated, info


class SharedArray(Right):
    table = np.ones(3)

    def info(self):
        return super().info() | {"table": self.table}


class SharedMask(Right):
    mask = selection_mask(2, 3, (True,))

    def observe(self):
        count = {"candidates": ("a", "b"), "action_mask": self.mask}
        return super().observe() | count


class OneStepTruncates(gymnasium.Env):
    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        return 0, 0.0, False, True, {}


class Unsummed(Right):
    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward + (self.turn == 3) * 1e-3, terminated, truncated, info


class AnyRow(Right):
    def reset(self, *, seed=None, options=None):
        row = {"row": min(max((options or {}).get("row", 0), 0), 3)}
        return super().reset(seed=seed, options=row)


class GoesOn(Right):
    def step(self, action):
        if self.turn == 3:
            self.turn = 0
        return super().step(action)


class Disturbed(Right):
    debt = 0

    def step(self, action):
        self.debt += self.turn >= 3
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, terminated, truncated, info | {"debt": self.debt}


class SharedBetween(Right):
    turn_of_all = 0

    def reset(self, **options):
        SharedBetween.turn_of_all = 0
        return super().reset(**options)

    def step(self, action):
        SharedBetween.turn_of_all += 1
        self.turn = SharedBetween.turn_of_all - 1
        return super().step(action)


class ChangesAction(gymnasium.Env):
    observation_space = spaces.Discrete(2)
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        action *= 2
        return 0, 0.0, True, False, {}


class NoFactorLegal(gymnasium.Env):
    observation_space = spaces.Dict({"action_mask": spaces.MultiBinary(5)})
    action_space = spaces.MultiDiscrete([2, 3])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observe(), {}

    def observe(self):
        return {"action_mask": np.array([1, 1, 0, 0, 0], np.int8)}

    def step(self, action):
        return self.observe(), 0.0, True, False, {}


class InfoIsNone(Right):
    def step(self, action):
        return (*super().step(action)[:4], None)


class NoSpace(Right):
    def __init__(self):
        super().__init__()
        self.action_space = None


class FlagIsAnArray(Right):
    def step(self, action):
        return (*super().step(action)[:2], np.array([True, False]), False, {})


class CandidatesAreANumber(Right):
    def observe(self):
        return super().observe() | {"candidates": 3}

    def info(self):
        return {"row": self.row}


class SpecialActionsAreACount(ChangesAction):
    special_actions = 1


class GroupsAreACount(Right):
    row_groups = 4


# Not even the form is right: found all the same, though there is nothing to replay.
SHAPES = {
    NoSpace: ("spaces", "action_space: expected a gymnasium.Space, got None"),
    FlagIsAnArray: ("terminated", "expected a bool"),
    CandidatesAreANumber: ("candidates", "expected texts, got int 3"),
    SpecialActionsAreACount: ("special_actions", "expected a tuple of names"),
    GroupsAreACount: ("row_groups", "expected 4 texts"),
}

FAULTS = {
    NeverEnds: ("ends", "has not ended after 10000 steps"),
    AllMasked: ("action_mask", "no action is legal"),
    LateReward: ("reward", "finite number, got nan"),
    LateInfinity: ("reward", "finite number, got -inf"),
    LateText: ("reward", "expected a number, got str '1.0'"),
    LateObservation: ("observation", "1.5"),
    Fickle: ("determinism", "played again"),
    WrongMask: ("action_mask", "allows a candidate past the 2"),
    NumpyFlag: ("terminated", "expected a bool"),
    SharedArray: ("returned data", "the same ndarray object"),
    SharedMask: ("returned data", "the same ndarray object"),
    OneStepTruncates: ("truncated", "ends by `terminated`"),
    Unsummed: ("reward_components", "do not add up"),
    AnyRow: ("row option", "outside the range is accepted"),
    GoesOn: ("step after the end", "goes on after its end"),
    Disturbed: ("step after the end", "disturbs the next episode"),
    SharedBetween: ("shared state", "in turns with another"),
    ChangesAction: ("step", "changed the caller's action"),
    NoFactorLegal: ("action_mask", "factor 1"),
    InfoIsNone: ("info", "expected a dict"),
}


@pytest.mark.parametrize("env_class", FAULTS, ids=lambda env_class: env_class.__name__)
def test_a_planted_fault_is_named_with_its_replay_and_the_exit_code_is_6(
    env_class: Any, register: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rule, seen = FAULTS[env_class]
    assert check_env(register(env_class)) == 6
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"- {rule}:")]
    assert len(lines) == 1
    assert seen in lines[0]
    assert re.search(r"replay: reset\(seed=\d+, options=.*\), actions \[", lines[0])


@pytest.mark.parametrize("env_class", SHAPES, ids=lambda env_class: env_class.__name__)
def test_what_has_not_even_the_form_is_named_too(env_class: Any, register: Any) -> None:
    rule, seen = SHAPES[env_class]
    with pytest.raises(ContractError) as caught:
        check_env_contract(register(env_class), episodes=2)
    assert seen in caught.value.faults[rule]


@pytest.mark.parametrize("env_class", [LateReward, LateText, LateObservation, Unsummed, NumpyFlag])
def test_the_replay_that_is_printed_shows_the_fault(
    env_class: Any, register: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    check_env(register(env_class))
    rule = FAULTS[env_class][0]
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith(f"- {rule}:"))
    seed, actions = re.search(
        r"reset\(seed=(\d+), options=None\), actions (\[.*?\])", line
    ).groups()
    env = env_class()
    env.reset(seed=int(seed))
    results = [env.step(action) for action in json.loads(actions)]
    sound = Right()
    sound.reset(seed=int(seed))
    expected = [sound.step(action) for action in json.loads(actions)]
    assert repr(results[-1][:3]) != repr(expected[-1][:3])
    assert rule == "terminated" or repr(results[:-1]) == repr(expected[:-1])


def test_a_sound_task_passes_with_how_much_was_played(
    register: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_env(register(Right), episodes=4) == 0
    assert "keeps the contract: 4 episodes" in capsys.readouterr().out


@pytest.mark.parametrize("env_id", ["CartPole-v1", "FrozenLake-v1", "Blackjack-v1"])
def test_environments_that_nobody_here_wrote_pass(env_id: str) -> None:
    assert check_env(env_id, episodes=2) == 0


def test_settings_reach_the_constructor_as_yaml_values(
    register: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []

    class Takes(Right):
        def __init__(self, split="train", reward=({"name": "hit"},), depth=1, names=()):
            super().__init__(split, reward)
            seen.append((depth, names))

    assert check_env(register(Takes), ["depth=3", "names=[a, b]"], episodes=1) == 0
    assert set(map(repr, seen)) == {"(3, ['a', 'b'])"}


def test_a_function_that_makes_the_environment_is_checked_for_its_settings_too(
    register: Any,
) -> None:
    def make(split="train"):
        return Right()

    with pytest.raises(ContractError, match="'no_such_split' is accepted"):
        check_env_contract(register(make), episodes=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no/Such-v0",), "no/Such-v0"),
        (("no_such_module:my/Task-v0",), "No module named 'no_such_module'"),
        (("CartPole-v1", ["depth"]), "expected key=value"),
        (("CartPole-v1", ["a b=1"]), "expected key=value"),
        (("CartPole-v1", ["a=[1"]), "--settings a"),
        (("CartPole-v1", ["depth=1"]), "the task cannot be made: .*depth"),
        (("CartPole-v1", [], 0), "--episodes: got 0"),
        (("CartPole-v1", [], 1, ["no_such.py"]), "there is no file no_such.py"),
    ],
)
def test_what_cannot_be_checked_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_env(*arguments)


TASK_FILE = """
import gymnasium
from gymnasium import spaces

class Coin(gymnasium.Env):
    observation_space = spaces.Discrete(1)
    action_space = spaces.Discrete(2)
    def __init__(self, pays="1.0"):
        self.pays = float(pays)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}
    def step(self, action):
        return 0, self.pays, True, False, {}

gymnasium.register("my/CheckedCoin-v0", entry_point=Coin)
"""


def test_an_experiment_file_gives_id_settings_and_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "checked_coin.py").write_text(TASK_FILE)
    experiment = tmp_path / "coin.yaml"
    text = "name: coin\nimports: [checked_coin.py]\ntask: {id: my/CheckedCoin-v0, settings: {%s}}\n"
    experiment.write_text(text % "pays: '2.0'")
    assert check_env(str(experiment)) == 0
    assert check_env(str(experiment), ["pays='nan'"]) == 6
    assert "made with {'pays': 'nan'}" in capsys.readouterr().out
    experiment.write_text(text % "pays: '2.0', pays: '1.0'")
    with pytest.raises(ConfigError):
        check_env(str(experiment))


def test_a_packaged_model_is_given_to_the_task_as_its_folder(
    tmp_path: Path, register: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    class Reads(Right):
        def __init__(self, model="none"):
            super().__init__()
            seen.append(model)

    monkeypatch.setattr(task_settings, "resolve_model", lambda name: Path("/models") / name[8:])
    experiment = tmp_path / "reads.yaml"
    settings = "settings: {model: package:writer}"
    experiment.write_text(f"name: reads\ntask: {{id: {register(Reads)}, {settings}}}\n")
    for arguments, folder in (
        ((str(experiment),), "/models/writer"),
        ((str(experiment), ["model=package:other"]), "/models/other"),
        ((ID, ["model=package:other"]), "/models/other"),
        ((ID, ["model=some/folder"]), "some/folder"),
    ):
        seen.clear()
        assert check_env(*arguments, episodes=1) == 0
        assert set(seen) == {folder}


def test_a_packaged_model_that_there_is_none_of_is_refused_by_name(register: Any) -> None:
    with pytest.raises(ModelError, match="package:no-such: no such packaged model"):
        check_env(register(Right), ["model=package:no-such"])
