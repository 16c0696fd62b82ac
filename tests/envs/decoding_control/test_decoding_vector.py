"""The same episodes, many at once."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from tiny_models import PROMPTS, comparable

from strategy_rl_envs.decoding_control.env import DecodingControl
from strategy_rl_envs.decoding_control.vector import DecodingControlVector
from strategy_rl_envs.kit.errors import SettingError

ID = "strategy_rl_envs:strategy_rl/DecodingControl-v0"
PLAIN, WARM, STOP = [0, 0, 0], [1, 0, 0], [0, 0, 1]


def random_action(seed: int, step: int) -> np.ndarray:
    """An action that depends on the episode and its step alone; one in eight stops."""
    rng = np.random.default_rng([seed, step])
    return np.array([rng.integers(2), rng.integers(2), rng.random() < 1 / 8], dtype=np.int64)


def play_single(env: DecodingControl, seed: int, row: int | None = None):
    """Observations, rewards and infos of one episode."""
    obs, info = env.reset(seed=seed, options=None if row is None else {"row": row})
    record, over, step = [(obs, 0.0, info)], False, 0
    while not over:
        obs, reward, over, truncated, info = env.step(random_action(seed, step))
        assert not truncated
        record.append((obs, reward, info))
        step += 1
    return record


def info_of(infos, slot):
    return {k: v[slot] for k, v in infos.items() if not k.startswith("_") and infos[f"_{k}"][slot]}


def play_vector(env: DecodingControlVector, seeds: list[int]) -> dict[int, list]:
    """The episodes of many seeds; a slot that ends is refilled at once."""
    waiting, playing, records = list(seeds), [None] * env.num_envs, {}

    def refill():
        mask = np.array([seed is None and bool(waiting) for seed in playing])
        for slot in np.flatnonzero(mask):
            if waiting:
                playing[slot] = waiting.pop(0)
            else:
                mask[slot] = False
        if mask.any():
            obs, infos = env.reset(seed=list(playing), options={"reset_mask": mask})
            for slot in np.flatnonzero(mask):
                records[playing[slot]] = [(obs[slot], 0.0, info_of(infos, slot))]

    refill()
    while any(seed is not None for seed in playing):
        actions = np.array(
            [
                random_action(seed, len(records[seed]) - 1) if seed is not None else [9, 9, 9]
                for seed in playing
            ]
        )
        obs, rewards, terminated, truncated, infos = env.step(actions)
        assert not truncated.any()
        for slot, seed in enumerate(playing):
            if seed is None:
                assert terminated[slot]
                assert rewards[slot] == 0
                assert not obs[slot].any()
                assert info_of(infos, slot) == {}
                continue
            records[seed].append((obs[slot], rewards[slot], info_of(infos, slot)))
            if terminated[slot]:
                playing[slot] = None
        refill()
    return records


def assert_same(one, other):
    assert len(one) == len(other)
    for (obs, reward, info), (obs_2, reward_2, info_2) in zip(one, other, strict=True):
        np.testing.assert_allclose(obs, obs_2, rtol=1e-3, atol=1e-3)
        assert reward == pytest.approx(reward_2)
        assert info == comparable(info_2)


@pytest.mark.parametrize("num_envs", [1, 2, 5])
def test_a_slot_plays_the_episode_that_a_single_environment_plays(single, vector, num_envs):
    """Fixed seeds: the number of rows in a forward pass moves the last bits of logits."""
    seeds = list(range(14))
    together = play_vector(vector(num_envs, cache_mb=0), seeds)
    env = single()
    lengths = set()
    for seed in seeds:
        alone = play_single(env, seed)
        assert_same(alone, together[seed])
        lengths.add(len(alone))
    assert len(lengths) >= 3  # some ended while others went on


def test_a_new_episode_in_mid_episode_leaves_the_other_slots_alone(single, vector):
    env = vector(3)
    env.reset(seed=5)
    env.step(np.array([PLAIN] * 3))
    mask = np.array([False, True, False])
    obs, infos = env.reset(seed=[None, 40, None], options={"reset_mask": mask})
    assert infos["_row"].tolist() == mask.tolist()
    actions = np.array([WARM] * 3)
    stepped, *_ = env.step(actions)
    other = single()
    other.reset(seed=5)
    other.step(PLAIN)
    np.testing.assert_allclose(other.step(WARM)[0], stepped[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(other.reset(seed=40)[0], obs[1], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(other.step(WARM)[0], stepped[1], rtol=1e-3, atol=1e-3)


def test_seeds_count_on_from_one_number_and_rows_are_taken_as_told(vector):
    env = vector(3)
    counted, _ = env.reset(seed=7)
    listed, _ = env.reset(seed=[7, 8, 9])
    np.testing.assert_array_equal(counted, listed)
    _, infos = env.reset(seed=7, options={"row": np.array([4, 0, 2])})
    assert infos["row"].tolist() == [4, 0, 2]
    assert infos["kind"].tolist() == ["even", "even", "even"]


def test_without_a_seed_a_slot_goes_on_with_its_own_generator(single, vector):
    env, alone = vector(1), single()
    env.reset(seed=11)
    alone.reset(seed=11)
    for _ in range(3):
        assert env.reset()[1]["row"].tolist() == [alone.reset()[1]["row"]]


def test_slots_that_never_began_are_over(vector):
    env = vector(2)
    env.reset(seed=[0, None], options={"reset_mask": np.array([True, False])})
    _, rewards, terminated, _, infos = env.step(np.array([PLAIN, [9, 9, 9]]))
    assert terminated.tolist() == [False, True]
    assert rewards.tolist() == [0, 0]
    assert infos["_text"].tolist() == [True, False]


def test_observations_that_were_given_out_do_not_change(vector):
    env = vector(2)
    first, _ = env.reset(seed=0)
    kept = first.copy()
    env.step(np.array([PLAIN, STOP]))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("seed", "options", "message"),
    [
        ([1, 2], {}, "seed: expected 3 of them, got 2"),
        (0, {"rows": np.zeros(3)}, "reset option 'rows': did you mean 'row'"),
        (0, {"row": 1}, "reset option 'row': expected 3 entries"),
        (0, {"reset_mask": np.array([True])}, "reset option 'reset_mask': expected 3 entries"),
    ],
)
def test_options_that_cannot_be_used_are_refused(vector, seed, options, message):
    with pytest.raises(SettingError, match=message):
        vector(3).reset(seed=seed, options=options)


def test_a_row_that_does_not_exist_is_refused(vector):
    with pytest.raises(IndexError, match="rows are 0 to 4"):
        vector(2).reset(options={"row": np.array([0, 5])})


def test_it_is_made_by_gymnasium_as_a_native_vector(settings):
    env = gymnasium.make_vec(ID, 3, vectorization_mode="vector_entry_point", **settings)
    assert isinstance(env, DecodingControlVector)
    obs, _ = env.reset(seed=0)
    assert obs in env.observation_space
    env.action_space.seed(0)
    obs, *_ = env.step(env.action_space.sample())
    assert obs in env.observation_space
    env.close()


def test_both_environments_tell_the_same_of_the_task(single, vector):
    one, many = single(), vector(2)
    for name in ("num_rows", "row_groups", "data_counts", "data_fingerprint", "feature_names"):
        assert getattr(one, name) == getattr(many, name)
    assert one.num_rows == len(PROMPTS)
    assert one.special_actions == many.special_actions == ()
    assert many.single_observation_space == one.observation_space
    assert many.single_action_space == one.action_space
    assert one.heuristics.keys() == many.heuristics.keys()
    assert one.action_name([1, 1, 0]) == many.action_name([1, 1, 0]) == "T 1, r 1.3"
    assert one.action_name([1, 1, 1]) == "stop"
