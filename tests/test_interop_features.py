"""Our tasks in the hands of other trainers: the arrays are what our own policies read."""

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import FlattenObservation, TimeLimit
from sb3_contrib import MaskablePPO
from stable_baselines3.common.vec_env import DummyVecEnv

from strategy_rl.backbone import BackboneSettings, load_backbone
from strategy_rl.errors import InputError
from strategy_rl.features import TextTable
from strategy_rl.interop import TextFeatures
from strategy_rl.interop.text_features import load_table
from strategy_rl.policy.spaces import action_spec, observation_spec
from strategy_rl_envs.tiny_reply import TinyReply

HIDDEN = 64  # of random:tiny


@pytest.fixture(scope="module")
def table() -> TextTable:
    return load_table("random:tiny")


@pytest.fixture
def env(table: TextTable) -> Iterator[TextFeatures]:
    wrapped = TextFeatures(TinyReply(num_rows=20), table)
    yield wrapped
    wrapped.close()


class Ending(gym.Env[Any, Any]):
    """Two texts of which one is used up, after which nothing is left to choose."""

    observation_space = spaces.Dict({"candidates": spaces.Sequence(spaces.Text(8))})
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return {"candidates": ("one", "two")}, {"action_mask": np.array([1, 0], np.int8)}

    def step(self, action: Any) -> Any:
        return {"candidates": ()}, 1.0, True, False, {}


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version")
@pytest.mark.filterwarnings("ignore:.*A Box observation space m.*imum value is")
def test_the_checker_of_gymnasium_finds_no_fault(env: TextFeatures) -> None:
    check_env(env, skip_render_check=True)


def test_arrays_have_room_for_every_turn_candidate_and_number(env: TextFeatures) -> None:
    observation, _ = env.reset(seed=0)
    shapes = {name: array.shape for name, array in observation.items()}
    pairs = 6 + 3  # six lexical ones and a cosine with each of three turns
    assert shapes == {
        "context": (3, HIDDEN),
        "candidates": (5, HIDDEN),
        "pairs": (5, pairs),
        "numbers": (1,),
    }
    assert observation in env.observation_space


def test_texts_have_the_vectors_that_the_policy_reads(env: TextFeatures, table: TextTable) -> None:
    arrays, _ = env.reset(seed=3)
    texts, _ = env.env.reset(seed=3)
    for name in ("context", "candidates"):
        expected = table.embed(torch.tensor(table.ids(texts[name]))).numpy()
        filled = arrays[name][-len(expected) :] if name == "context" else arrays[name]
        np.testing.assert_array_equal(filled[: len(expected)], expected)
        assert np.count_nonzero(np.abs(arrays[name]).sum(1)) == len(expected)
    np.testing.assert_array_equal(arrays["numbers"], texts["state"])


def test_masks_are_those_of_the_task_at_every_step(env: TextFeatures) -> None:
    for seed in range(5):
        env.reset(seed=seed)
        texts, _ = env.env.reset(seed=seed)
        assert env.action_masks().dtype == bool
        np.testing.assert_array_equal(env.action_masks(), texts["action_mask"].astype(bool))
        env.step(0)
        assert env.action_masks()[5], "handing over stays legal"


def test_a_mask_in_the_info_counts_too() -> None:
    taxi = TextFeatures(gym.make("Taxi-v4").unwrapped)
    _, info = taxi.reset(seed=0)
    assert 0 < info["action_mask"].sum() < 6
    np.testing.assert_array_equal(taxi.action_masks(), info["action_mask"].astype(bool))


def test_after_the_end_nothing_need_be_legal(table: TextTable) -> None:
    env = TextFeatures(Ending(), table)
    env.reset()
    assert env.action_masks().tolist() == [True, False]
    observation, *_ = env.step(0)
    assert not observation["candidates"].any()
    assert observation in env.observation_space


def test_an_environment_without_texts_needs_no_model() -> None:
    env = TextFeatures(gym.make("Blackjack-v1").unwrapped, "no:model")
    observation, _ = env.reset(seed=0)
    assert list(observation) == ["numbers"]
    assert observation["numbers"].sum() == 3


def test_wrappers_of_one_model_share_their_texts() -> None:
    first, second = (TextFeatures(TinyReply(num_rows=2), "random:tiny") for _ in range(2))
    assert first._encoder.table is second._encoder.table


def test_a_model_that_learns_is_refused() -> None:
    learning = TextTable(load_backbone("random:tiny", BackboneSettings(train="full")))
    with pytest.raises(InputError, match="freeze it"):
        TextFeatures(TinyReply(num_rows=2), learning)


def test_pair_features_and_turns_are_the_users_choice(table: TextTable) -> None:
    env = TextFeatures(TinyReply(num_rows=2), table, context_turns=1, pair_features=False)
    assert set(env.observation_space) == {"context", "candidates", "numbers"}
    assert env.observation_space["context"].shape == (1, HIDDEN)


def test_it_stands_among_the_wrappers_of_gymnasium(table: TextTable) -> None:
    env = FlattenObservation(TextFeatures(TimeLimit(TinyReply(num_rows=2), 1), table))
    observation, _ = env.reset(seed=0)
    assert observation.shape == (3 * HIDDEN + 5 * HIDDEN + 5 * 9 + 1,)
    assert env.get_wrapper_attr("action_masks")().any()
    assert env.step(0)[3], "the limit of one step"


def test_fields_are_the_ones_of_our_own_trainer(env: TextFeatures) -> None:
    action = action_spec(env.env.action_space, TinyReply.special_actions)
    assert env._encoder.spec == observation_spec(env.env.observation_space, action, 3)


def test_maskable_ppo_learns_our_task_and_never_takes_an_illegal_action(table: TextTable) -> None:
    def make() -> gym.Env[Any, Any]:
        return TextFeatures(TinyReply(num_rows=60), table)

    torch.set_num_threads(1)
    model = MaskablePPO(
        "MultiInputPolicy",
        DummyVecEnv([make] * 8),
        n_steps=32,
        batch_size=128,
        n_epochs=6,
        learning_rate=3e-3,
        seed=0,
        device="cpu",
        policy_kwargs={"net_arch": [64]},
    )
    model.learn(2_560)
    env = TextFeatures(TinyReply("test", num_rows=60), table)
    returns = []
    for row in range(60):
        observation, _ = env.reset(options={"row": row})
        total, done = 0.0, False
        while not done:
            mask = env.action_masks()
            action, _ = model.predict(observation, action_masks=mask, deterministic=True)
            assert mask[int(action)]
            observation, reward, done, _, _ = env.step(action)
            total += float(reward)
        returns.append(total)
    assert np.mean(returns) > 0.4  # always handing over gives -0.25, a random policy about -0.9
