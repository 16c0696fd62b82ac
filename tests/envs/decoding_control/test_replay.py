"""Episodes on recorded texts: the same as those that a model writes, and nothing damaged."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tiny_models import PROMPTS, comparable, save_rows

from strategy_rl.assembly import plain_reward
from strategy_rl.config import RewardTerm, load_experiment
from strategy_rl_envs.decoding_control import observing
from strategy_rl_envs.decoding_control import replay as replaying
from strategy_rl_envs.decoding_control.recordings import MANIFEST, part_name
from strategy_rl_envs.decoding_control.replay import features_of, recording_of, stops_of
from strategy_rl_envs.decoding_control.task import make_task
from strategy_rl_envs.kit.errors import DataError, SettingError
from strategy_rl_envs.testing import check_env_contract

ID = "strategy_rl_envs:strategy_rl/DecodingControl-v0"
GO, STOP = 0, 1
PRESETS = [{"name": "go on"}, {"name": "stop", "stop": True}]
REWARD = [
    {"name": "token_f1"},
    {"name": "chrf", "weight": 0.5},
    {"name": "tokens_written", "weight": -0.01},
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "recordings"


@pytest.fixture
def how(model, data):
    return {"model": model, "data": data, "presets": PRESETS, "hold": 1, "max_new_tokens": 12}


@pytest.fixture
def make(single, how):
    return lambda **changes: single(**{"knobs": None, "reward": REWARD, **how, **changes})


@pytest.fixture
def task(how):
    return make_task("train", REWARD, **how)


def play(env, row, count):
    """All answers of an episode that goes on `count` times, then stops."""
    obs, info = env.reset(seed=row, options={"row": row})
    answers, step = [(obs, 0.0, False, info)], 0
    while not answers[-1][2]:
        obs, reward, over, truncated, info = env.step(GO if step < count else STOP)
        assert not truncated
        answers.append((obs, reward, over, info))
        step += 1
    return answers


@pytest.mark.parametrize("hold", [1, 5])
def test_a_replayed_episode_is_the_one_that_the_model_writes(make, hold):
    written, replayed = make(hold=hold), make(hold=hold, replay=True)
    assert replayed.feature_names == written.feature_names
    assert replayed.observation_space == written.observation_space
    for row in range(len(PROMPTS)):
        for count in (0, 1, 2, 12):
            pairs = list(zip(play(written, row, count), play(replayed, row, count), strict=True))
            for (obs, reward, over, info), (seen, paid, ended, told) in pairs:
                np.testing.assert_allclose(seen, obs, atol=1e-5)
                assert (paid, ended) == (reward, over)
                told.pop("expert_action", None)
                assert told == comparable(info)


def test_slots_side_by_side_replay_what_one_does(vector, make, how):
    one, many = make(replay=True), vector(3, **how, knobs=None, reward=REWARD, replay=True)
    counts = [2, 0, 5]
    alone = [play(one, row, count) for row, count in enumerate(counts)]
    obs, _ = many.reset(seed=[0, 1, 2], options={"row": np.arange(3)})
    rewards, over = np.zeros(3), np.zeros(3, bool)
    for step in range(12):
        for slot in range(3):
            if not over[slot]:
                np.testing.assert_array_equal(obs[slot], alone[slot][step][0])
        actions = np.array([GO if step < count else STOP for count in counts])
        obs, paid, over, _, _ = many.step(actions)
        rewards += paid
    assert over.all()
    assert rewards.tolist() == [episode[-1][1] for episode in alone]


def test_the_replay_keeps_the_contract_of_environments(how):
    check_env_contract(ID, episodes=4, replay=True, **how)


def test_the_expert_stops_where_the_row_pays_most(make, task):
    env, stops = make(replay=True), stops_of(task)
    for row in range(len(PROMPTS)):
        best = max([*stops.stop[stops.texts == row], stops.end[row]])
        _, info = env.reset(options={"row": row})
        over = False
        while not over:
            _, reward, over, _, info = env.step(info["expert_action"])
        assert reward == pytest.approx(best)


def test_what_a_stop_is_said_to_earn_is_what_it_earns(make, task):
    env, stops = make(replay=True), stops_of(task)
    for row in range(len(PROMPTS)):
        for decision, earned in enumerate(stops.stop[stops.texts == row]):
            assert play(env, row, decision)[-1][1] == pytest.approx(earned)
        assert play(env, row, 99)[-1][1] == pytest.approx(stops.end[row])


def test_rivals_play_what_they_were_tuned_to(make, task):
    env, stops = make(split="test", replay=True), stops_of(task)  # both splits hold the same rows
    rng = np.random.default_rng(0)
    earned = {}
    for name, rival in env.heuristics.items():
        returns = []
        for row in range(len(PROMPTS)):
            obs, _ = env.reset(options={"row": row})
            over = False
            while not over:
                obs, reward, over, _, _ = env.step(rival(obs, rng))
            returns.append(reward)
        earned[name] = np.mean(returns)
    assert list(earned) == ["greedy", "static_best", "entropy", "longstaff_schwartz"]
    assert earned["greedy"] == pytest.approx(stops.end.mean())
    counts = [
        stops.returns(stops.steps >= step).mean() for step in range(int(stops.lengths.max()) + 1)
    ]
    assert earned["static_best"] == pytest.approx(max(counts))
    best = stops.returns(stops.by_hindsight()).mean()
    assert max(earned.values()) <= best + 1e-9


def test_texts_are_written_once(make, monkeypatch):
    make(replay=True)

    def refuse(task):
        raise AssertionError("the model was asked again")

    monkeypatch.setattr(replaying, "Episodes", refuse)
    make(replay=True, split="test")  # the same prompts
    make(replay=True, reward=["constant"])
    with pytest.raises(AssertionError, match="asked again"):
        make(replay=True, max_new_tokens=11)


def test_an_interrupted_recording_goes_on_where_it_was(task, cache, monkeypatch):
    monkeypatch.setattr("strategy_rl_envs.decoding_control.recordings.PART_ROWS", 2)
    write, parts = replaying.write_part, []

    def interrupted(path, *rest):
        if len(parts) == 2:
            raise KeyboardInterrupt
        parts.append(path)
        write(path, *rest)

    monkeypatch.setattr(replaying, "write_part", interrupted)
    with pytest.raises(KeyboardInterrupt):
        recording_of(task)
    (folder,) = cache.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == [part_name(0), part_name(1)]
    (folder / part_name(1)).write_bytes(b"cut off")
    monkeypatch.setattr(replaying, "write_part", write)
    stamp = (folder / part_name(0)).stat().st_mtime_ns
    recording = recording_of(task)
    assert len(recording.texts) == len(PROMPTS)
    assert (folder / part_name(0)).stat().st_mtime_ns == stamp
    assert [path.name for path in folder.iterdir() if ".tmp" in path.name] == []


@pytest.mark.parametrize("name", [MANIFEST, part_name(0)])
@pytest.mark.parametrize("damage", ["cut", "flipped", "missing"])
def test_a_damaged_recording_is_refused_by_name(task, cache, name, damage):
    recording_of(task)
    (folder,) = cache.iterdir()
    path = folder / name
    content = path.read_bytes()
    if damage == "missing" and name == MANIFEST:
        path.write_text("{}")
    elif damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:-20])
    else:
        path.write_bytes(content.replace(b"a", b"b", 1))
    replaying.load_recording.cache_clear()
    with pytest.raises(DataError, match=rf"{path}: .*delete the folder"):
        recording_of(task)


def test_pieces_that_do_not_fit_each_other_are_refused(task, cache):
    from strategy_rl_envs.decoding_control.recordings import Written, read_part, write_part

    texts = [Written(np.zeros((2, 3), np.float32), (5,), ("", "a", "ab"), (0.0, 1.5, 1.0))]
    path = cache / "part.safetensors"
    write_part(path, ("x", "y", "z"), texts)
    assert read_part(path, 1).texts == (("", "a", "ab"),)
    assert read_part(path, 1).tokens == ((5,),)
    assert read_part(path, 1).surprisals == ((0.0, 1.5, 1.0),)
    for change in (
        {"texts": ("", "a")},
        {"surprisals": (0.0, 1.5)},
        {"surprisals": (0.0, 1.5, float("nan"))},
        {"observations": np.full((2, 3), np.nan, np.float32)},
        {"observations": np.zeros((2, 2), np.float32)},
        {"observations": np.zeros((2, 3), np.float64)},
        {"observations": np.zeros((0, 3), np.float32), "texts": ("",)},
    ):
        wrong = Written(**{**texts[0].__dict__, **change})
        write_part(path, ("x", "y", "z"), [wrong])
        with pytest.raises(DataError, match="do not fit each other"):
            read_part(path, 1)


def test_a_recording_of_another_reference_is_the_same(how, tmp_path, cache):
    for number in range(2):
        rows = save_rows(tmp_path / f"rows{number}", references=[f"answer {number}"])
        recording_of(make_task("train", REWARD, **{**how, "data": rows}))
    assert len(list(cache.iterdir())) == 1


def test_what_a_text_is_to_reach_makes_another_recording(how, tmp_path, cache):
    for number, keywords in enumerate((["mail"], ["colour"])):
        rows = save_rows(tmp_path / f"rows{number}", keywords=keywords)
        recording_of(make_task("train", REWARD, **{**how, "data": rows}))
    assert len(list(cache.iterdir())) == 2


def test_texts_are_written_anew_where_other_features_are_seen(task, cache, monkeypatch):
    before, plain = recording_of(task), observing.surface
    for module in (observing, replaying):
        monkeypatch.setattr(module, "SURFACE", (*observing.SURFACE, "half"))
    monkeypatch.setattr(observing, "surface", lambda *given: [*plain(*given), 0.5])
    after = recording_of(task)
    assert set(after.feature_names) - set(before.feature_names) == {"half"}
    assert (after.observations[:, after.feature_names.index("half")] == 0.5).all()
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("targets", [False, True])
def test_a_recording_depends_on_every_feature_that_is_seen(how, targets):
    task = make_task("train", REWARD, **how, targets=targets)
    seen = recording_of(task).feature_names
    numbered = re.compile(r"(state|start)_\d+|last_preset_\d+")
    assert {name for name in seen if not numbered.fullmatch(name)} == set(features_of(task)[2:])


@pytest.mark.parametrize(
    "change",
    [
        {"knobs": {"temperature": [0.0, 1.0], "stop": True}},
        {"knobs": {"temperature": [0.7], "stop": True}},
        {"knobs": {"temperature": [0.0, 0.7]}},
    ],
)
def test_a_menu_with_more_than_stopping_is_refused(make, change):
    with pytest.raises(SettingError, match="replay: needs a menu of one setting"):
        make(replay=True, presets=None, **change)


def test_knobs_that_only_stop_will_do(make):
    env = make(replay=True, presets=None, knobs={"repetition_penalty": [1.3], "stop": True})
    env.reset(options={"row": 0})
    assert env.step(np.array([1]))[2]


def test_the_manifest_says_what_a_recording_was_made_of(task, cache):
    recording_of(task)
    (folder,) = cache.iterdir()
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["rows"] == len(PROMPTS)
    assert manifest["inputs"]["max_new_tokens"] == 12
    assert manifest["inputs"]["setting"]["temperature"] == 0


@pytest.fixture
def paying(how, task, tmp_path):
    """Settings of rows in which some stops pay."""
    answers = [texts[-3] for texts in recording_of(task).texts]
    return how | {"data": save_rows(tmp_path / "rows", references=answers)}


def expert_of(env):
    """What the expert says at every decision of every text, and what the whole texts pay."""
    actions, paid = [], []
    for row in range(env.num_rows):
        _, info = env.reset(options={"row": row})
        over = False
        while not over:
            actions.append(int(info["expert_action"]))
            _, reward, over, _, info = env.step(GO)
        paid.append(reward)
    return actions, paid


def test_under_a_constant_reward_the_expert_can_be_that_of_the_real_one(make, paying):
    real, paid = expert_of(make(replay=True, **paying))
    assert set(real) == {GO, STOP}
    assert len(set(paid)) > 1
    constant = {**paying, "replay": True, "reward": ["constant"]}
    assert expert_of(make(**constant)) != (real, [1.0] * len(paid))
    assert expert_of(make(**constant, expert_reward=REWARD)) == (real, [1.0] * len(paid))


def test_the_expert_goes_by_the_weights_of_the_end_of_training(make, paying):
    price = {"name": "tokens_written", "weight": -0.01}
    growing, grown = (
        [{"name": "token_f1", "weight": weight}, price] for weight in ({"from": 0.0, "to": 1.0}, 1)
    )
    actions, paid = expert_of(make(replay=True, **paying, reward=growing))
    assert set(actions) == {GO, STOP}
    assert actions == expert_of(make(replay=True, **paying, reward=grown))[0]
    texts = recording_of(make_task("train", growing, **paying)).tokens
    assert paid == pytest.approx(
        [-0.01 * len(tokens) for tokens in texts]
    )  # training has not begun


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replay": False}, "expert_reward: is known with replay alone"),
        ({"expert_reward": []}, r"expert_reward: reward: expected a list of .* got \[\]"),
        ({"expert_reward": ["tokenf1"]}, r"expert_reward: reward\[0\].name: no reward function"),
    ],
)
def test_an_experts_reward_that_cannot_be_is_refused(make, changes, message):
    with pytest.raises(SettingError, match=message):
        make(**{"replay": True, "expert_reward": REWARD, **changes})


def test_the_control_teaches_the_real_stops_and_pays_all_the_same():
    folder = Path(__file__).parents[3] / "experiments" / "decoding_control"
    real, control = (
        load_experiment(folder / f"stopping_debian{kind}.yaml") for kind in ("", "_constant")
    )
    settings = dict(control.task.settings)
    taught_by = [RewardTerm.model_validate(term) for term in settings.pop("expert_reward")]
    assert taught_by == list(real.reward)
    assert settings == real.task.settings
    assert plain_reward(control.reward) == [{"name": "constant"}]
    assert control.evaluation.reward == real.reward
    assert (control.sft, control.ppo) == (real.sft, real.ppo)
