"""Episodes, one at a time."""

from __future__ import annotations

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from tiny_models import CHAT, PROMPTS, save_model, save_rows, tiny_llama

from strategy_rl_envs.decoding_control.env import DecodingControl
from strategy_rl_envs.decoding_control.reading import Reader
from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.testing import check_env_contract

ID = "strategy_rl_envs:strategy_rl/DecodingControl-v0"
PLAIN, STOP = [0, 0, 0], [0, 0, 1]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_uniform_number_is_drawn_for_each_token(single, seed):
    """The text by hand: the generator's first number picks the row, each next one a token."""
    env = single(knobs={"temperature": [1.0], "stop": True})
    env.reset(seed=seed)
    over = False
    while not over:
        _, _, over, _, info = env.step([0])
    tokens = env.episodes.tokens(0)
    rng = gymnasium.utils.seeding.np_random(seed)[0]
    row = int(rng.integers(len(PROMPTS)))
    assert info["row"] == row
    network, tokenizer = tiny_llama(), env.episodes.language.tokenizer
    ids = list(Reader(tokenizer).prompt(PROMPTS[row]))
    expected = []
    while len(expected) < 11:
        with torch.no_grad():
            probs = network(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1).double()
        token = int((probs.cumsum(-1) <= rng.random() * probs.sum()).sum())
        if token == 2:
            break
        ids.append(token)
        expected.append(token)
    assert list(tokens) == expected
    assert info["reward_inputs"]["output"] == tokenizer.decode(expected, skip_special_tokens=True)
    assert info["reward_inputs"]["num_tokens"] == len(expected)


def test_the_reward_comes_with_the_last_step_and_every_step_has_the_same_components(single):
    reward = [{"name": "tokens_written", "weight": -0.5}, {"name": "constant", "weight": 2.0}]
    env = single(reward=reward)
    env.reset(seed=0)
    _, value, over, _, info = env.step(PLAIN)
    assert (value, over) == (0.0, False)
    assert info["reward_components"] == {"tokens_written": 0.0, "constant": 0.0}
    assert "reward_inputs" not in info
    _, value, over, _, info = env.step(STOP)
    assert (value, over) == (2.0 - 0.5 * 3, True)
    assert info["reward_components"] == {"tokens_written": -1.5, "constant": 2.0}


def test_dense_rewards_are_what_each_step_adds_to_the_text_so_far(single, vector):
    reward = [{"name": "tokens_written", "weight": -0.5}, {"name": "distinct_n"}, "surprisal"]
    at_end, dense = single(reward=reward), single(reward=reward, dense=True)
    many = vector(2, reward=reward, dense=True)
    for env in (at_end, dense):
        env.reset(seed=3)
    many.reset(seed=[9, 3])
    total, paid, over, tokens = 0.0, dict.fromkeys(dense.reward.entries, 0.0), False, 0
    while not over:
        _, last, over, _, told = at_end.step([1, 0, 0])
        _, reward, over_too, _, info = dense.step([1, 0, 0])
        _, rewards, *_ = many.step(np.array([[0, 0, 0], [1, 0, 0]]))
        assert (over_too, info["text"]) == (over, told["text"])
        assert rewards[1] == pytest.approx(reward, abs=1e-4)
        new = len(dense.episodes.tokens(0)) - tokens
        assert info["reward_components"]["tokens_written"] == pytest.approx(-0.5 * new)
        assert ("reward_values" in info) == over
        tokens, total = tokens + new, total + reward
        paid = {name: paid[name] + value for name, value in info["reward_components"].items()}
    assert total == pytest.approx(last)
    assert paid == pytest.approx(told["reward_components"])


def test_the_texts_of_the_steps_add_up_to_the_whole(single):
    env = single(hold=1, knobs={"temperature": [2.0], "stop": True})
    for seed in range(4):
        _, info = env.reset(seed=seed)
        pieces, over = [], False
        while not over:
            _, _, over, _, info = env.step([0])
            pieces.append(info["text"])
        assert "".join(pieces) == info["reward_inputs"]["output"]


def test_half_a_character_waits_for_its_other_half(single, monkeypatch):
    env = single(hold=1)
    env.reset(seed=0)
    whole = "ab\u4e16".encode()
    monkeypatch.setattr(
        env.episodes.reader, "text", lambda ids: whole[: len(ids)].decode(errors="replace")
    )
    assert [env.step(PLAIN)[4]["text"] for _ in range(5)] == ["a", "b", "", "", "\u4e16"]


def test_to_stop_at_once_leaves_an_empty_text(single):
    env = single()
    env.reset(seed=0)
    obs, reward, over, _, info = env.step(STOP)
    assert over
    assert not obs.any()
    assert info["reward_inputs"]["output"] == info["text"] == ""
    assert info["reward_inputs"]["num_tokens"] == 0
    assert reward == 0.0


def test_an_end_token_at_once_ends_the_episode_with_an_empty_text(tmp_path, data):
    network = tiny_llama()
    network.generation_config.eos_token_id = list(range(259))
    env = DecodingControl(model=save_model(tmp_path, network), data=data)
    env.reset(seed=0)
    _, _, over, _, info = env.step(PLAIN)
    assert over
    assert info["reward_inputs"]["output"] == ""
    assert info["reward_inputs"]["num_tokens"] == 0


def test_a_hold_longer_than_the_text_makes_one_decision_of_it(single):
    env = single(hold=50, max_new_tokens=4, knobs={"temperature": [1.0], "stop": True})
    for seed in range(5):
        env.reset(seed=seed)
        assert env.step([0])[2]
        assert len(env.episodes.tokens(0)) <= 4


def test_an_observation_tells_what_was_written_and_chosen(single):
    env = single(hold=4, max_new_tokens=10)
    obs, _ = env.reset(seed=0)
    named = dict(zip(env.feature_names, obs.tolist(), strict=True))
    assert (named["written"], named["left"]) == (0.0, 1.0)
    assert named["entropy_before"] == named["entropy"]
    assert [named[f"start_{k}"] for k in range(12)] == [named[f"state_{k}"] for k in range(12)]
    assert not any(obs[-6:])
    obs = env.step([0, 1, 0])[0]
    later = dict(zip(env.feature_names, obs.tolist(), strict=True))
    assert (later["written"], later["left"]) == pytest.approx((0.4, 0.6))
    assert [later[f"start_{k}"] for k in range(12)] == [named[f"start_{k}"] for k in range(12)]
    assert obs[-6:].tolist() == [1, 0, 0, 1, 1, 0]


def test_the_numbers_of_an_observation_are_those_of_the_last_two_logits(single):
    env = single(hold=3)
    _, info = env.reset(seed=2)
    obs = env.step(PLAIN)[0]
    named = dict(zip(env.feature_names, obs.tolist(), strict=True))
    ids = Reader(env.episodes.language.tokenizer).prompt(PROMPTS[info["row"]])
    with torch.no_grad():
        whole = torch.tensor([[*ids, *env.episodes.tokens(0)]])
        probs = tiny_llama()(input_ids=whole).logits[0, -2:].softmax(-1)
    for name, row in (("", 1), ("_before", 0)):
        top = probs[row].topk(2).values
        assert named[f"top_1{name}"] == pytest.approx(float(top[0]), rel=1e-3)
        assert named[f"margin{name}"] == pytest.approx(float(top[0] - top[1]), rel=1e-3)
        assert named[f"end{name}"] == pytest.approx(float(probs[row, 2]), rel=1e-3)
        entropy = float(torch.distributions.Categorical(probs[row]).entropy())
        assert named[f"entropy{name}"] == pytest.approx(entropy / 5, rel=1e-3)


def test_a_chat_model_is_asked_by_its_template(tmp_path, data):
    chat = save_model(tmp_path, chat_template=CHAT)
    starts = [
        DecodingControl(model=chat, data=data, template=template).reset(options={"row": 1})[0]
        for template in ("auto", "chat", "plain")
    ]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert np.abs(starts[0] - starts[2]).max() > 0.1


def test_a_prompt_that_leaves_no_room_for_a_text_is_refused_by_name(model, tmp_path):
    rows = save_rows(tmp_path, ["short", "w" * 250])
    with pytest.raises(
        SettingError, match=r"row 'r1': its prompt takes 250 tokens, .* room for 245 \(256 less"
    ):
        DecodingControl(model=model, data=rows, max_new_tokens=11)
    env = DecodingControl(model=model, data=rows, max_new_tokens=11, max_prompt=249)
    assert env.num_rows == 1
    full = save_rows(tmp_path / "full", ["w" * 245])
    env = DecodingControl(model=model, data=full, max_new_tokens=11, hold=11)
    env.reset(seed=0)
    assert env.step(PLAIN)[2]


@pytest.mark.parametrize(
    ("settings_changed", "message"),
    [
        ({"model": ""}, "model: got ''; name the folder"),
        ({"hold": 0}, "hold: expected a whole number 1 or more, got 0"),
        ({"max_new_tokens": 5000}, "max_new_tokens: expected a whole number from 1 to 1024"),
        ({"template": "none"}, "template: got 'none'; known: auto, chat, plain"),
        ({"dtype": "float16"}, "dtype: got 'float16'.*known: float32, bfloat16"),
        ({"cache_mb": -1}, "cache_mb: expected a whole number 0 or more"),
        ({"max_prompt": 0}, "max_prompt: expected a whole number 1 or more"),
        ({"holds": 3}, "unexpected keyword argument 'holds'"),
        ({"split": "dev"}, "split: got 'dev'"),
        ({"presets": [{}, {"stop": True}]}, "knobs and presets: got both"),
    ],
)
def test_settings_out_of_their_range_are_refused(single, settings_changed, message):
    with pytest.raises(SettingError, match=message):
        single(**settings_changed)


def test_a_model_must_be_named(data):
    with pytest.raises(SettingError, match="model"):
        DecodingControl(data=data)


def test_presets_are_played_by_number(single, vector):
    presets = [{"name": "plain"}, {"name": "end", "stop": True}]
    env = single(knobs=None, presets=presets)
    env.reset(seed=0)
    assert not env.step(0)[2]
    assert env.step(np.int64(1))[2]
    many = vector(2, knobs=None, presets=presets)
    many.reset(seed=0)
    assert many.step(np.array([1, 0]))[2].tolist() == [True, False]


def test_an_action_that_is_none_is_refused_and_nothing_is_written(single):
    env = single()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="not in MultiDiscrete"):
        env.step([0, 7, 0])
    assert env.episodes.tokens(0) == ()


def test_steps_need_an_episode(single):
    env = single()
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(PLAIN)
    env.reset(seed=0)
    env.step(STOP)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(PLAIN)


@pytest.mark.filterwarnings("ignore:.*A Box observation space")  # numbers without bounds
def test_the_single_environment_keeps_the_contract(settings):
    report = check_env_contract(ID, episodes=4, **settings)
    assert report.steps > 20
    check_env(gymnasium.make(ID, **settings).unwrapped, skip_render_check=True)


def test_importing_the_environments_imports_no_torch():
    program = (
        "import sys; from strategy_rl_envs.decoding_control import env, vector"
        "; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
