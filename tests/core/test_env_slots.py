"""Environments side by side, each answering for itself."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import register, registry
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from toys import Counter, counters, numbers_policy, stir

from strategy_rl.collector import collect_episodes
from strategy_rl.env import EnvSlots, VectorSlots, find_spec, make_slots
from strategy_rl.env import slots as slots_module
from strategy_rl.env.answers import detached
from strategy_rl.errors import EnvironmentFault, InputError
from strategy_rl.rollout import EpisodePlan


def count(result):
    return round(100 * float(result.obs[0]))


def test_a_reset_and_a_step_touch_only_the_slots_named():
    slots = counters(3)
    slots.reset([0, 1, 2], [1, 2, 3], [None] * 3)
    assert [count(r) for r in slots.step([0, 2], [0, 0])] == [11, 31]
    assert [count(r) for r in slots.reset([2], [7], [None])] == [70]
    assert [count(r) for r in slots.step([2, 1, 0], [1, 0, 1])] == [71, 21, 12]


def test_each_slot_gets_its_own_options():
    envs = []

    def make():
        envs.append(Counter())
        return envs[-1]

    slots = EnvSlots(make, 2)
    slots.reset([0, 1], [0, 0], [{"row": 4}, None])
    assert [env.options for env in envs] == [{"row": 4}, None]


class Frugal(Counter):
    """Writes every observation and every mask into the same arrays."""

    def __init__(self):
        super().__init__()
        self.shown, self.mask = np.zeros(1, np.float32), np.zeros(2, np.int8)

    def observe(self):
        obs, info = super().observe()
        self.shown[:], self.mask[:] = obs, info["action_mask"]
        return self.shown, {"action_mask": self.mask}


def test_what_an_environment_gave_stays_when_it_writes_into_the_same_arrays():
    slots = EnvSlots(Frugal, 1)
    given = [*slots.reset([0], [2], [None]), *slots.step([0], [0]), *slots.step([0], [1])]
    slots.reset([0], [4], [None])
    assert [count(result) for result in given] == [20, 21, 22]
    assert [result.info["action_mask"].tolist() for result in given] == [[1, 0], [0, 1], [1, 0]]


def test_containers_are_detached_to_the_bottom_and_keep_their_kinds():
    class Pair(NamedTuple):
        left: Any
        right: Any

    array, turns = np.zeros(1), ["a"]
    given = {"pair": Pair(array, turns), "nested": (array, [turns]), "texts": ("x", "y")}
    kept = detached(given)
    array[0] = 1
    turns.append("b")
    assert kept["pair"] == Pair(np.zeros(1), ["a"])
    assert type(kept["pair"]) is Pair
    assert kept["nested"] == (np.zeros(1), [["a"]])
    assert kept["texts"] is given["texts"]


class Loose(Counter):
    """Answers with NumPy's types, and with infos that are not alike."""

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        info["kind"] = "even" if self.seed % 2 == 0 else 1
        if self.seed == 1:
            info["only_here"] = 0.5
        return obs, np.float32(reward), np.bool_(terminated), np.bool_(truncated), info


def test_infos_are_not_merged_and_figures_become_plain():
    slots = EnvSlots(Loose, 2)
    slots.reset([0, 1], [0, 1], [None, None])
    even, odd = slots.step([0, 1], [0, 0])
    assert even.info["kind"] == "even"
    assert odd.info["kind"] == 1
    assert "only_here" not in even.info
    assert type(even.reward) is float
    assert type(even.terminated) is bool


class Breaking(Counter):
    """Fails in the way it is told to, at its second step."""

    def __init__(self, way):
        super().__init__(length=10)
        self.way = way

    def reset(self, *, seed=None, options=None):
        if self.way == "reset":
            raise RuntimeError("no such row")
        return super().reset(seed=seed, options=options)

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if self.steps == 2:
            if self.way == "step":
                raise ZeroDivisionError("in a reward function")
            reward = float(self.way)
        return obs, reward, terminated, truncated, info


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("step", "step.. failed: ZeroDivisionError: in a reward function"),
        ("nan", "the reward is nan"),
        ("inf", "the reward is inf"),
    ],
)
def test_a_fault_of_an_environment_says_how_to_replay_it(way, message):
    slots = EnvSlots(lambda: Breaking(way), 2)
    slots.reset([0, 1], [5, 6], [None, {"row": 3}])
    slots.step([0, 1], [0, 1])
    with pytest.raises(EnvironmentFault, match=message) as caught:
        slots.step([1], [0])
    assert "reset(seed=6, options={'row': 3}), then actions [1, 0]" in str(caught.value)


def test_a_reset_that_fails_is_the_environments_fault():
    with pytest.raises(EnvironmentFault, match=r"reset.. failed: RuntimeError: no such row"):
        EnvSlots(lambda: Breaking("reset"), 1).reset([0], [5], [None])


def test_an_episode_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(slots_module, "STEP_LIMIT", 5)
    slots = counters(1, length=100)
    slots.reset([0], [0], [None])
    for _ in range(4):
        slots.step([0], [0])
    with pytest.raises(EnvironmentFault, match="no end after 5 steps"):
        slots.step([0], [0])


def test_what_a_task_refuses_is_refused_as_input():
    task = "strategy_rl_envs:strategy_rl/TinyReply-v0"
    with pytest.raises(InputError, match=r"the task cannot be made.*num_rows"):
        make_slots(task, {"num_rows": 0}, 1)
    with pytest.raises(InputError, match="the task cannot be made"):
        make_slots(task, {"no_such_setting": 1}, 1)


@pytest.mark.parametrize("name", ["NoSuchTask-v0", "no_such_module:Task-v0", "CartPole-v99"])
def test_an_unknown_task_is_refused(name):
    with pytest.raises(InputError, match="strategy-rl tasks"):
        find_spec(name)


def test_array_actions_reach_the_environment_in_its_own_type_and_shape():
    seen = []

    class Boxed(Counter):
        action_space = spaces.Box(-1, 1, (2, 2), np.float32)

        def step(self, action):
            seen.append(action)
            return super().step(0)

    slots = EnvSlots(Boxed, 1)
    slots.reset([0], [0], [None])
    slots.step([0], [np.arange(4, dtype=np.float64)])
    assert seen[0].dtype == np.float32
    assert seen[0].shape == (2, 2)


def test_rows_share_the_label_that_the_task_gives_them():
    slots = make_slots("strategy_rl_envs:strategy_rl/TinyReply-v0", {"num_rows": 3}, 1)
    assert (slots.num_rows, slots.group(2), slots.group(None)) == (3, "train-2", None)
    assert slots.special_actions == ("hand_over",)
    assert "random" in slots.heuristics
    slots.row_groups = None
    assert slots.group(2) == "2"


# Native vector environments.


class CounterVector(VectorEnv):
    """`Counter` vectorised, as the contract asks: reset by mask, finished slots hold still."""

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012  # as Gymnasium has it

    def __init__(self, num_envs=1, length=3):
        self.num_envs = num_envs
        self.single_observation_space = Counter.observation_space
        self.single_action_space = Counter.action_space
        self.observation_space = batch_space(Counter.observation_space, num_envs)
        self.action_space = batch_space(Counter.action_space, num_envs)
        self.envs = [Counter(length) for _ in range(num_envs)]
        self.calls = 0

    def reset(self, *, seed=None, options=None):
        infos = {}
        assert np.any(options["reset_mask"])
        for i, env in enumerate(self.envs):
            if options["reset_mask"][i]:
                infos = self._add_info(infos, env.reset(seed=seed[i], options={})[1], i)
        return self._obs(), infos

    def step(self, actions):
        self.calls += 1
        infos, rewards, ends = {}, np.zeros(self.num_envs), np.zeros((2, self.num_envs), bool)
        for i, env in enumerate(self.envs):
            if not hasattr(env, "steps") or env.steps >= env.length:
                continue
            _, rewards[i], ends[0, i], ends[1, i], info = env.step(actions[i])
            infos = self._add_info(infos, info, i)
        return self._obs(), rewards, ends[0], ends[1], infos

    def _obs(self):
        none = np.zeros(1, np.float32)
        return np.stack([e.observe()[0] if hasattr(e, "steps") else none for e in self.envs])


@pytest.fixture
def vector_task():
    register("ToyCounter-v0", entry_point=Counter, vector_entry_point=CounterVector)
    yield "ToyCounter-v0"
    del registry["ToyCounter-v0"]


def test_a_native_vector_environment_plays_the_same_episodes_as_one_by_one(vector_task):
    policy = stir(numbers_policy())
    plans = [EpisodePlan(seed) for seed in (4, 1, 2, 5, 7)]
    vector = make_slots(vector_task, {}, 3)
    assert isinstance(vector, VectorSlots)
    found = collect_episodes(policy, vector, plans, np.random.default_rng(0))
    expected = collect_episodes(policy, counters(3), plans, np.random.default_rng(0))
    for name in ("actions", "rewards", "next_values", "terminations", "truncations", "columns"):
        assert getattr(found, name).equal(getattr(expected, name)), name
    assert found.batch.mask.equal(expected.batch.mask)
    assert found.components == expected.components
    assert vector._vector.calls == 6  # five episodes of three steps, three at once
    vector.close()


def test_a_vector_environment_that_resets_by_itself_is_not_used():
    assert find_spec("CartPole-v1").vector_entry_point is not None
    slots = make_slots("CartPole-v1", {}, 2)
    assert type(slots) is EnvSlots
    slots.reset([0, 1], [0, 0], [None, None])
    steps = 0
    while not slots.step([0], [0])[0].terminated:
        steps += 1
    assert slots.step([1], [0])[0].reward == 1.0
    assert 5 < steps < 20  # pushed one way, the pole falls
    slots.close()


def test_a_reward_of_a_vector_environment_that_is_not_finite_is_refused(vector_task):
    slots = make_slots(vector_task, {}, 2)
    slots.reset([0, 1], [8, 9], [None, None])
    slots._vector.envs[1].step = lambda action: (None, float("nan"), False, False, {})
    with pytest.raises(EnvironmentFault, match=r"the reward is nan.*seed=9"):
        slots.step([0, 1], [0, 0])


def test_a_step_that_would_move_an_unfinished_slot_it_does_not_name_is_refused(vector_task):
    slots = make_slots(vector_task, {}, 2)
    slots.reset([0, 1], [2, 4], [None, None])
    with pytest.raises(EnvironmentFault, match=r"slots \[1\] are in mid-episode"):
        slots.step([0], [0])
    assert slots._vector.calls == 0
    for _ in range(3):
        slots.step([0, 1], [0, 0])
    slots.reset([0], [2], [None])  # slot 1 has finished and ignores its action
    assert count(slots.step([0], [0])[0]) == 21
    assert slots.step([], []) == []


def test_a_vector_episode_without_end_is_refused(vector_task, monkeypatch):
    monkeypatch.setattr(slots_module, "STEP_LIMIT", 2)
    slots = make_slots(vector_task, {}, 1)
    slots.reset([0], [2], [None])
    slots.step([0], [0])
    with pytest.raises(EnvironmentFault, match="no end after 2 steps"):
        slots.step([0], [0])


@pytest.mark.parametrize("method", ["reset", "step"])
def test_an_info_that_cannot_be_taken_apart_is_the_vector_environments_fault(vector_task, method):
    slots = make_slots(vector_task, {}, 2)
    real = getattr(slots._vector, method)
    slots.reset([0, 1], [2, 4], [None, None])
    setattr(slots._vector, method, lambda *a, **k: (*real(*a, **k)[:-1], {"odd": 3}))
    more = {"reset": ([2, 4], [None, None]), "step": ([0, 0],)}[method]
    with pytest.raises(EnvironmentFault, match=rf"{method}\(\) failed: TypeError.*seed=2"):
        getattr(slots, method)([0, 1], *more)


class BoxVector(CounterVector):
    """Rows, heuristics and an action with a shape, all told by the vector environment."""

    num_rows = 4
    special_actions = ("stop",)
    row_groups = ("a", "a", "b", "b")
    heuristics = {"still": lambda obs, rng: 0}  # noqa: RUF012  # as the contract has it

    def __init__(self, num_envs=1):
        super().__init__(num_envs)
        self.single_action_space = spaces.Box(-1, 1, (2, 2), np.float32)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def step(self, actions):
        self.actions = actions
        return super().step(np.zeros(self.num_envs, int))


@pytest.fixture
def vector_only_task():
    register("ToyBox-v0", vector_entry_point=BoxVector)
    yield "ToyBox-v0"
    del registry["ToyBox-v0"]


def test_a_task_that_is_only_vectorised_needs_no_single_environment(vector_only_task):
    slots = make_slots(vector_only_task, {}, 2)
    assert slots.action_space.shape == (2, 2)
    assert (slots.num_rows, slots.special_actions, slots.group(2)) == (4, ("stop",), "b")
    assert list(slots.heuristics) == ["still"]
    slots.reset([0, 1], [2, 4], [{"row": 1}, {"row": 2}])
    slots.step([0, 1], [np.arange(4.0), np.ones(4)])  # as a policy gives them: flat
    assert slots._vector.actions.tolist() == [[[0, 1], [2, 3]], [[1, 1], [1, 1]]]
    with pytest.raises(EnvironmentFault, match=r"step\(\) failed: ValueError"):
        slots.step([0, 1], [np.arange(3.0), np.ones(4)])


def test_a_task_with_both_is_not_made_singly_too(vector_task, monkeypatch):
    monkeypatch.setattr("gymnasium.make", lambda *_, **__: pytest.fail("made singly"))
    assert isinstance(make_slots(vector_task, {}, 2), VectorSlots)


def test_a_task_that_is_only_vectorised_and_resets_by_itself_is_refused(
    vector_only_task, monkeypatch
):
    monkeypatch.setattr(BoxVector, "metadata", {"autoreset_mode": AutoresetMode.NEXT_STEP})
    with pytest.raises(InputError, match=r"resets by itself.*DISABLED"):
        make_slots(vector_only_task, {}, 2)
