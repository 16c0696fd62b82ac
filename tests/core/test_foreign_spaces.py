"""Observation spaces of environments that nobody here wrote: nested, no Dict, own texts."""

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from toys import policy_of

from strategy_rl.errors import EnvironmentFault, InputError
from strategy_rl.policy.spaces import action_spec, observation_spec, part_of

TWO = action_spec(spaces.Discrete(2))


def numbers_of(space: gym.Space[Any], observation: Any) -> list[float]:
    return policy_of(space, spaces.Discrete(2)).encode([observation]).numbers[0].tolist()


class Mission(gym.Space[str]):
    """A text space that is no Text: some packages bring their own."""

    def __init__(self) -> None:
        super().__init__(dtype=str)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        return "go to the red ball"

    def contains(self, x: Any) -> bool:
        return isinstance(x, str)


def test_a_tuple_is_read_item_by_item() -> None:
    blackjack = spaces.Tuple([spaces.Discrete(4), spaces.Discrete(3), spaces.Discrete(2)])
    assert numbers_of(blackjack, (2, 0, 1)) == [0, 0, 1, 0, 1, 0, 0, 0, 1]


def test_each_number_of_a_multi_discrete_becomes_a_one_hot_of_its_own() -> None:
    assert numbers_of(spaces.MultiDiscrete([2, 3]), np.array([1, 0])) == [0, 1, 1, 0, 0]
    square = spaces.MultiDiscrete(np.full((2, 2), 2))
    assert numbers_of(square, np.array([[0, 1], [1, 0]])) == [1, 0, 0, 1, 0, 1, 1, 0]


def test_what_is_nested_in_a_dict_is_found_by_its_path() -> None:
    inner = spaces.Dict({"x": spaces.Box(-1, 1, (2,)), "kind": spaces.Discrete(2)})
    space = spaces.Dict({"a": spaces.Tuple([inner, spaces.Discrete(2)])})
    observation = {"a": ({"x": np.array([0.5, -0.5]), "kind": 1}, 0)}
    assert observation_spec(space, TWO, 2).number_fields == (
        ("a/0/kind", 2, 2),
        ("a/0/x", 2, 0),
        ("a/1", 2, 2),
    )
    assert numbers_of(space, observation) == [0, 1, 0.5, -0.5, 1, 0]


def test_a_key_with_the_separator_in_it_is_found_as_it_is() -> None:
    assert part_of({"a/b": 1, "a": {"b": 2}}, "a/b") == 1
    assert part_of({"a": {"b": 2}}, "a/b") == 2


def test_texts_are_found_wherever_they_stand_and_whatever_their_class() -> None:
    space = spaces.Tuple([spaces.Text(16), spaces.Dict({"mission": Mission()})])
    assert observation_spec(space, TWO, 2).text_fields == (("/0", 1), ("/1/mission", 1))
    policy = policy_of(space, spaces.Discrete(2), train="frozen")
    ids = policy.encode([("hello, world!", {"mission": "go"})]).context[0].tolist()
    assert [policy.table.text(i) for i in ids] == ["hello, world!", "go"]


def test_a_mask_of_several_parts_is_no_number() -> None:
    space = spaces.Dict({"action_mask": spaces.MultiDiscrete([2, 2]), "x": spaces.Discrete(2)})
    assert observation_spec(space, TWO, 2).number_fields == (("x", 2, 2),)


def test_an_item_that_is_missing_is_the_fault_of_the_environment() -> None:
    policy = policy_of(spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)]), spaces.Discrete(2))
    with pytest.raises(EnvironmentFault, match="does not fit its space: IndexError"):
        policy.encode([(1,)])


def test_a_hand_made_observation_may_leave_nested_numbers_out() -> None:
    space = spaces.Dict({"a": spaces.Dict({"x": spaces.Discrete(2), "y": spaces.Discrete(2)})})
    policy = policy_of(space, spaces.Discrete(2))
    assert policy.act({"a": {"y": 1}}, greedy=True) == policy.act(
        {"a": {"x": 0, "y": 1}}, greedy=True
    )


def test_a_space_without_an_encoding_is_refused_by_the_name_of_its_field() -> None:
    graph = spaces.Graph(node_space=spaces.Discrete(2), edge_space=None)
    with pytest.raises(InputError, match="'a/0': no encoding for Graph"):
        observation_spec(spaces.Dict({"a": spaces.Tuple([graph])}), TWO, 2)


LEAVES = st.one_of(
    st.integers(1, 4).map(spaces.Discrete),
    st.integers(1, 3).map(lambda n: spaces.Box(-1, 1, (n,), np.float32)),
    st.integers(1, 3).map(spaces.MultiBinary),
    st.lists(st.integers(1, 3), min_size=1, max_size=3).map(spaces.MultiDiscrete),
)


def nested(children: st.SearchStrategy[gym.Space[Any]]) -> st.SearchStrategy[gym.Space[Any]]:
    some: Iterable[st.SearchStrategy[gym.Space[Any]]] = (
        st.lists(children, min_size=1, max_size=3).map(spaces.Tuple),
        st.dictionaries(st.sampled_from("abc"), children, min_size=1).map(spaces.Dict),
    )
    return st.one_of(*some)


@given(space=st.recursive(LEAVES, nested, max_leaves=6), seed=st.integers(0, 99))
def test_numbers_are_those_of_the_flattening_of_gymnasium(space: gym.Space[Any], seed: int) -> None:
    space.seed(seed)
    observation = space.sample()
    expected = spaces.flatten(space, observation)
    np.testing.assert_array_equal(numbers_of(space, observation), expected.astype(np.float32))
