"""Each test plants one fault in an environment that is otherwise right and sees it named."""

import json
import random
from types import MappingProxyType

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from strategy_rl_envs.kit.selection import selection_mask, selection_spaces
from strategy_rl_envs.testing import ContractError, check_env_contract

ID = "test/Planted-v0"


class Right(gymnasium.Env):
    """Three turns of 2 or 3 candidates and one special action; four rows."""

    special_actions = ("pass",)
    num_rows = 4
    row_groups = ("a", "a", "b", "b")
    heuristics = MappingProxyType({"last": lambda obs, rng: len(obs["action_mask"]) - 1})

    def __init__(self, split="train", reward=({"name": "hit"}, {"name": "cost"})):
        if split not in ("train", "validation", "test"):
            raise ValueError(split)
        self.weights = {spec["name"]: spec.get("weight", 1.0) for spec in reward}
        if not set(self.weights) <= {"hit", "cost"}:
            raise ValueError(reward)
        self.observation_space, self.action_space = selection_spaces(3, 1, 1, 20)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.row = (options or {}).get("row", int(self.np_random.integers(4)))
        if not 0 <= self.row < 4:
            raise IndexError("rows are 0 to 3")
        self.turn = 0
        return self.observe(), self.info()

    def step(self, action):
        values = {"hit": float(action == self.turn % 2), "cost": -0.5}
        components = {name: weight * values[name] for name, weight in self.weights.items()}
        self.turn += 1
        info = self.info() | {"reward_components": components, "reward_inputs": {"turn": self.turn}}
        return self.observe(), sum(components.values()), self.turn >= 3, False, info

    def observe(self):
        count = 2 + self.turn % 2
        return {
            "context": (f"turn {self.turn}",),
            "candidates": tuple(f"candidate {i}" for i in range(count)),
            "state": np.full(1, self.turn / 3, np.float32),
            "action_mask": selection_mask(count, 3, (True,)),
        }

    def info(self):
        kinds = ("gold",) * len(self.observe()["candidates"])
        return {"row": self.row, "expert_action": self.turn % 2, "candidate_kinds": kinds}


@pytest.fixture
def faults_of():
    """Register an environment class, check it, and give the faults that were named."""

    def check(env_class, **kwargs):
        gymnasium.register(ID, entry_point=env_class)
        try:
            check_env_contract(ID, max_steps=50, **kwargs)
        except ContractError as error:
            return error.faults
        finally:
            del gymnasium.registry[ID]
        return {}

    return check


def test_a_right_environment_passes(faults_of):
    assert faults_of(Right) == {}


def planted(**parts):
    """Make a subclass of `Right`; a value may be a function of (self, what `Right` gives)."""

    def wrap(name, change):
        right = getattr(Right, name)
        if not callable(right):
            return change
        return lambda self, *args, **kwargs: change(self, right(self, *args, **kwargs))

    return type("Planted", (Right,), {name: wrap(name, change) for name, change in parts.items()})


def in_step(position, value):
    """Replace one item of what `step` gives, from the second step on."""

    def change(self, result):
        changed = list(result)
        if self.turn >= 2:
            changed[position] = value(result) if callable(value) else value
        return tuple(changed)

    return planted(step=change)


def with_obs(**changed):
    return planted(observe=lambda self, obs: obs | changed if self.turn == 2 else obs)


def with_info(**changed):
    return planted(info=lambda self, info: info | changed if self.turn == 2 else info)


def zero_mask(self, obs):
    return obs | {"action_mask": np.zeros(4, np.int8)} if self.turn == 2 else obs


def phantom_candidate(self, obs):
    return obs | {"action_mask": np.ones(4, np.int8)}


def without_mask(self, obs):
    return {key: value for key, value in obs.items() if key != "action_mask"}


def changing_row(self, info):
    return info | {"row": self.turn}


def late_component(self, result):
    components = result[4]["reward_components"]
    if self.turn == 3:
        components["bonus"] = 0.0
    return result


def fickle_reward(self, result):
    type(self).calls = getattr(type(self), "calls", 0) + 1
    extra = float(type(self).calls)
    result[4]["reward_components"]["chance"] = extra
    return (result[0], result[1] + extra, *result[2:])


def global_random(self, result):
    random.random()
    return result


def reseeding(self, result):
    np.random.seed(0)
    return result


FAULTS = {
    "never ends": (planted(step=lambda self, r: (*r[:2], False, *r[3:])), "ends", "50 steps"),
    "all actions masked": (planted(observe=zero_mask), "action_mask", "no action is legal"),
    "phantom candidate": (planted(observe=phantom_candidate), "action_mask", "past the 2"),
    "mask of another type": (
        with_obs(action_mask=np.ones(4, np.int64)),
        "action_mask",
        "expected int8",
    ),
    "mask too short": (with_obs(action_mask=np.ones(3, np.int8)), "action_mask", "shape (4,)"),
    "two masks": (with_info(action_mask=np.zeros(4, np.int8)), "action_mask", "different masks"),
    "NaN reward": (in_step(1, float("nan")), "reward", "finite number, got nan"),
    "infinite reward": (in_step(1, float("inf")), "reward", "got inf"),
    "text reward": (in_step(1, "1.0"), "reward", "expected a number, got str"),
    "no reward": (in_step(1, None), "reward", "got None"),
    "bool reward": (in_step(1, True), "reward", "got bool"),
    "numpy flag": (in_step(3, np.bool_(False)), "truncated", "expected a bool"),
    "integer flag": (in_step(2, 1), "terminated", "expected a bool"),
    "info is no dict": (in_step(4, []), "info", "expected a dict"),
    "observation outside": (with_obs(state=np.full(1, 2, np.float32)), "observation", "not in"),
    "NaN observation": (with_obs(state=np.full(1, np.nan, np.float32)), "observation", "not in"),
    "too many candidates": (with_obs(candidates=("a",) * 5), "candidates", "5 candidates"),
    "expert is None": (with_info(expert_action=None), "expert_action", "leave the key out"),
    "illegal expert": (with_info(expert_action=2), "expert_action", "not legal"),
    "components differ": (in_step(1, lambda r: r[1] + 0.1), "reward_components", "do not add up"),
    "component appears late": (planted(step=late_component), "reward_components", "keys change"),
    "component is no float": (
        in_step(4, lambda r: r[4] | {"reward_components": {"hit": 1}}),
        "reward_components",
        "Python float",
    ),
    "inputs not JSON-able": (
        in_step(4, lambda r: r[4] | {"reward_inputs": {"a": {1}}}),
        "reward_inputs",
        "not JSON-able",
    ),
    "kinds of another length": (with_info(candidate_kinds=("gold",)), "candidate_kinds", "2 texts"),
    "row changes": (planted(info=changing_row), "row", "changes within an episode"),
    "row is numpy": (with_info(row=np.int64(1)), "row", "expected an int"),
    "row option ignored": (
        planted(info=lambda self, i: i | {"row": 1}),
        "row option",
        "row 1 inst",
    ),
    "no number of rows": (planted(num_rows=None), "num_rows", "missing"),
    "groups too few": (planted(row_groups=("a",)), "row_groups", "4 texts"),
    "special actions a list": (planted(special_actions=["pass"]), "special_actions", "a tuple"),
    "chance without seed": (planted(step=fickle_reward), "determinism", "played again"),
    "global random draws": (planted(step=global_random), "global random state", "np_random"),
    "global reseeding": (planted(reset=reseeding), "global random state", "np_random"),
    "illegal heuristic": (planted(heuristics={"h": lambda obs, rng: 9}), "policy", "chose 9"),
    "heuristic without action": (
        planted(heuristics={"h": lambda obs, rng: None}),
        "heuristics",
        "gave None",
    ),
    "heuristics a list": (planted(heuristics=[1]), "heuristics", "expected a mapping"),
    "heuristic raises": (
        planted(heuristics={"h": lambda obs, rng: 1 / 0}),
        "policy",
        "ZeroDivisionError",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(faults_of, fault):
    env_class, rule, seen = FAULTS[fault]
    faults = faults_of(env_class)
    assert rule in faults, faults
    assert seen in faults[rule]


def test_a_fault_in_a_step_tells_seed_and_actions_that_replay_it(faults_of):
    seen = faults_of(in_step(1, float("nan")), episodes=1, seed=7)["reward"]
    seed, actions = seen.split("reset(seed=")[1].split(", options=None), actions ")
    env = in_step(1, float("nan"))()
    env.reset(seed=int(seed))
    rewards = [env.step(action)[1] for action in json.loads(actions.rstrip(")"))]
    assert int(seed) == 7
    assert len(rewards) >= 2
    assert np.isnan(rewards[-1])


def test_an_exception_in_a_step_is_named(faults_of):
    class Raises(Right):
        def step(self, action):
            if self.turn == 1:
                raise RuntimeError("lost the thread")
            return super().step(action)

    assert "RuntimeError: lost the thread" in faults_of(Raises)["step"]


def test_a_buffer_that_is_used_again_is_named(faults_of):
    class Reuses(Right):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.buffer = np.zeros(1, np.float32)

        def observe(self):
            self.buffer[:] = self.turn / 3
            return super().observe() | {"state": self.buffer}

    assert "changed by a later call" in faults_of(Reuses)["returned data"]


def test_options_that_are_changed_are_named(faults_of):
    class Pops(Right):
        def reset(self, *, seed=None, options=None):
            obs, info = super().reset(seed=seed, options=options)
            (options or {}).pop("row", None)
            return obs, info

    assert "changed the caller's options" in faults_of(Pops)["reset"]


def test_a_row_outside_the_range_must_be_refused(faults_of):
    class Wraps(Right):
        def reset(self, *, seed=None, options=None):
            options = {"row": options["row"] % 4} if options and "row" in options else None
            return super().reset(seed=seed, options=options)

    assert "outside the range is accepted" in faults_of(Wraps)["row option"]


def test_unknown_splits_and_reward_components_must_be_refused(faults_of):
    class Lax(Right):
        def __init__(self, split="train", reward=None):
            super().__init__()

    faults = faults_of(Lax)
    assert "is accepted" in faults["split"]
    assert "is accepted" in faults["reward"]


def test_a_weight_that_is_ignored_is_named(faults_of):
    class Weightless(Right):
        def __init__(self, split="train", reward=({"name": "hit"}, {"name": "cost"})):
            super().__init__(split, reward)
            self.weights = dict.fromkeys(self.weights, 1.0)

    assert "at weight 2" in faults_of(Weightless)["reward"]


def test_one_step_that_ends_by_truncation_is_named_by_gymnasiums_own_check(faults_of):
    class Truncates(gymnasium.Env):
        observation_space = spaces.Discrete(2)
        action_space = spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return 0, {}

        def step(self, action):
            return 0, 0.0, False, True, {}

    assert "truncates after 1 step" in faults_of(Truncates)["gymnasium check_env"]


def test_several_faults_are_named_at_once_with_what_the_environment_was_made_with(faults_of):
    class Twice(Right):
        def step(self, action):
            obs, _, terminated, _, info = super().step(action)
            return obs, float("nan"), terminated, 0, info

    faults = faults_of(Twice, split="test")
    assert {"reward", "truncated"} <= set(faults)
    assert "made with {'split': 'test'}" in faults["reward"]


def test_an_exception_in_reset_is_named_and_the_rest_still_checked(faults_of):
    class Raises(Right):
        def reset(self, *, seed=None, options=None):
            if options:
                raise RuntimeError("no rows today")
            return super().reset(seed=seed)

    faults = faults_of(Raises)
    assert "RuntimeError: no rows today" in faults["reset"]
    assert "expected IndexError, got RuntimeError" in faults["row option"]


def test_a_split_that_cannot_be_made_is_named(faults_of):
    class TrainAlone(Right):
        def __init__(self, split="train", reward=({"name": "hit"}, {"name": "cost"})):
            if split == "test":
                raise OSError("no such file")
            super().__init__(split, reward)

    assert "split='test' raised OSError: no such file" in faults_of(TrainAlone)["split"]


def test_a_component_that_cannot_stand_alone_is_named(faults_of):
    class Joint(Right):
        def __init__(self, split="train", reward=({"name": "hit"}, {"name": "cost"})):
            super().__init__(split, reward)
            if len(self.weights) == 1:
                raise KeyError("cost")

    assert "alone raised KeyError" in faults_of(Joint)["reward"]


@pytest.mark.parametrize(
    ("message", "error"), [("out of range", IndexError), ("rows are 0 to 3", KeyError)]
)
def test_a_refused_row_must_raise_an_index_error_with_the_range(faults_of, message, error):
    class Terse(Right):
        def reset(self, *, seed=None, options=None):
            if not 0 <= (options or {}).get("row", 0) < 4:
                raise error(message)
            return super().reset(seed=seed, options=options)

    assert "IndexError" in faults_of(Terse)["row option"]
