import gymnasium
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from strategy_rl_envs.kit.text import UnicodeText


@given(st.text(max_size=50))
def test_every_text_that_utf8_can_encode_is_in_the_space(text):
    assert text in UnicodeText(50)


@pytest.mark.parametrize("value", ["12345678901", "\ud83d", "half \udc00", b"bytes", None, 3])
def test_long_texts_lone_surrogates_and_other_types_are_not_in_the_space(value):
    assert value not in UnicodeText(10)


def test_min_length_keeps_the_empty_text_out():
    assert "" in UnicodeText(5)
    assert "" not in UnicodeText(5, min_length=1)


def test_samples_are_in_the_space_and_repeat_with_the_seed():
    space = UnicodeText(20, seed=3)
    drawn = [space.sample() for _ in range(50)]
    space.seed(3)
    assert drawn == [space.sample() for _ in range(50)]
    assert all(text in space for text in drawn)
    assert not "".join(drawn).isascii()


def test_spaces_are_equal_when_their_bounds_are():
    assert UnicodeText(5) == UnicodeText(5)
    assert UnicodeText(5) != UnicodeText(6)
    assert UnicodeText(5) != spaces.Text(5, min_length=0)


def test_it_survives_json_inside_sequence_and_dict():
    space = spaces.Dict({"texts": spaces.Sequence(UnicodeText(9)), "one": UnicodeText(9)})
    space.seed(0)
    drawn = [space.sample() for _ in range(5)]
    assert space.from_jsonable(space.to_jsonable(drawn)) == drawn
    assert all(sample in space for sample in drawn)


def test_gymnasium_check_env_accepts_texts_of_any_script():
    class Greeter(gymnasium.Env):
        observation_space = spaces.Dict({"texts": spaces.Sequence(UnicodeText(20))})
        action_space = spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            return {"texts": ("你好, 世界", "Hello, wörld \U0001f600")}, {}

        def step(self, action):
            return {"texts": ("",)}, 0.0, True, False, {}

    with pytest.warns(UserWarning, match="spec"):
        check_env(Greeter())
