"""What searches and recordings give to the environments."""

from __future__ import annotations

import json

import gymnasium
import numpy as np
import pytest
from tiny_models import comparable

from strategy_rl import Experiment, run
from strategy_rl.demonstrations import roll_expert
from strategy_rl.env import EnvSlots, VectorSlots, make_slots
from strategy_rl.episodes import plain
from strategy_rl.errors import InputError
from strategy_rl.rollout import EpisodePlan
from strategy_rl_envs.decoding_control.findings import inputs_of
from strategy_rl_envs.kit.errors import SettingError
from strategy_rl_envs.testing import check_env_contract

ID = "strategy_rl_envs:strategy_rl/DecodingControl-v0"
PLAIN, STOP = [0, 0, 0], [0, 0, 1]


def found(tmp_path, env, name="train", best=(1, 0, 0), rows=range(5)):
    """A file as a search writes it: one static setting wins on row r1, another on all others."""
    lines = [{"inputs": inputs_of(env.episodes.task)}]
    rule = {"below": [0, 0, 0], "above": [1, 0, 0], "threshold": 0.2}
    policies = {"plain": {"action": [0, 0, 0]}, "best": {"action": list(best)}, "rule": rule}
    for policy, value in (("plain", 0.5), ("best", 1.0), ("rule", 0.7)):
        for row in rows:
            lines.append(
                {
                    **{"row": f"r{row}", "kind": "odd", "name": policy},
                    **{"policy": policies[policy], "return": value},
                }
            )
    lines[2]["return"] = 2.0  # row r1, plain
    path = tmp_path / f"found.{name}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(tmp_path / "found.{split}.jsonl")


def test_what_a_search_has_found_makes_experts_and_rivals(single, tmp_path):
    where = found(tmp_path, single())
    env = single(best_static=where)
    experts = []
    for row in range(env.num_rows):
        obs, info = env.reset(options={"row": row})
        experts.append(info["expert_action"].tolist())
    assert experts == [[1, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]]
    rng = np.random.default_rng(0)
    assert set(env.heuristics) == {"greedy", "static_best", "entropy"}
    assert env.heuristics["greedy"](obs, rng).tolist() == [0, 0, 0]
    assert env.heuristics["static_best"](obs, rng).tolist() == [1, 0, 0]
    entropy = env.feature_names.index("entropy")
    sure, unsure = obs.copy(), obs.copy()
    sure[entropy], unsure[entropy] = 0.1, 0.3
    assert env.heuristics["entropy"](sure, rng).tolist() == [0, 0, 0]
    assert env.heuristics["entropy"](unsure, rng).tolist() == [1, 0, 0]
    assert "expert_action" in env.step(PLAIN)[4]
    assert "expert_action" not in env.step(STOP)[4]


def test_experts_and_replays_keep_the_contract_too(single, settings, monkeypatch, tmp_path):
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path / "cache"))
    check_env_contract(ID, episodes=4, **settings, best_static=found(tmp_path, single()))
    stopping = {**settings, "knobs": {"stop": True}, "replay": True}
    check_env_contract(ID, episodes=4, **stopping)


def test_a_split_that_was_not_searched_has_rivals_and_no_experts(single, tmp_path):
    env = single(split="test", best_static=found(tmp_path, single()))
    assert "expert_action" not in env.reset(seed=0)[1]
    assert set(env.heuristics) == {"greedy", "static_best", "entropy"}


@pytest.mark.parametrize("num_slots", [2, 8])
def test_the_expert_is_rolled_side_by_side_as_alone(single, settings, tmp_path, num_slots):
    """Rows 0 and 3 were not searched, so nobody leads there."""
    given = {**settings, "best_static": found(tmp_path, single(), rows=(1, 2, 4))}
    plans = [EpisodePlan(seed, row) for seed, row in enumerate((0, 1, 2, 3, 4, 4))]
    alone = roll_expert(EnvSlots(lambda: gymnasium.make(ID, **given), 1), plans)
    slots = make_slots(ID, given, num_slots)
    assert isinstance(slots, VectorSlots)
    together = roll_expert(slots, plans)
    assert len(together) > len(together.taught) > 4
    assert [plain(action) for action in together.actions] == [plain(a) for a in alone.actions]
    np.testing.assert_allclose(together.observations, alone.observations, rtol=1e-3, atol=1e-3)
    slots.close()


def test_a_run_needs_training_and_validation_rows_searched(single, settings, tmp_path):
    experiment = Experiment.model_validate(
        {
            "name": "found",
            "task": {"id": ID, "settings": {**settings, "best_static": found(tmp_path, single())}},
            "reward": [{"name": "tokens_written", "weight": -1.0}],
            "sft": {"epochs": 2, "share": 1.0},
            "ppo": {"iterations": 1, "num_envs": 4, "episodes_per_iteration": 8},
            "evaluation": {"bootstrap_samples": 50},
        }
    )
    with pytest.raises(InputError, match=r"in no validation row.*search --split validation"):
        run(experiment, out=tmp_path / "half")
    found(tmp_path, single(), "validation")
    done = run(experiment, out=tmp_path / "run")
    assert {"sft", "ppo", "static_best"} <= done.report["policies"].keys()
    assert "expert" not in done.report["policies"]


def test_findings_for_texts_written_in_another_way_are_refused(single, tmp_path, caplog):
    where = found(tmp_path, single())
    with pytest.raises(SettingError, match="was made with hold 3, but the task has 2"):
        single(best_static=where, hold=2)
    assert "was made with" not in caplog.text
    single(best_static=where, reward=["constant"])
    assert 'was made with reward [{"name": "token_f1"' in caplog.text


def test_without_a_search_greedy_is_the_only_rival(single):
    assert set(single().heuristics) == {"greedy"}
    assert set(single(targets=True).heuristics) == {"greedy", "by_target"}
    warm = single(knobs={"temperature": [0.9, 0.3], "repetition_penalty": [1.3, 1.1]})
    assert warm.heuristics["greedy"](None, np.random.default_rng(0)).tolist() == [1, 1]


def test_a_replay_plays_the_episodes_that_would_be_written(single, vector, monkeypatch, tmp_path):
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path))
    stopping = {"knobs": {"stop": True}, "hold": 2, "cache_mb": 0}
    written, replayed = single(**stopping), vector(2, replay=True, **stopping)
    for row in range(written.num_rows):
        for stop_at in (0, 2, 99):
            obs, _ = written.reset(seed=0, options={"row": row})
            again, infos = replayed.reset(seed=0, options={"row": np.array([row, 0])})
            over, step = False, 0
            while not over:
                np.testing.assert_allclose(again[0], obs, rtol=1e-3, atol=1e-3)
                action = [int(step == stop_at)]
                obs, reward, over, _, info = written.step(action)
                again, rewards, ended, _, infos = replayed.step(np.array([action, [0]]))
                told = {k: v[0] for k, v in infos.items() if k[0] != "_" and infos[f"_{k}"][0]}
                told.pop("expert_action", None)
                assert (told, rewards[0], ended[0]) == (comparable(info), reward, over)
                step += 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replay": 1}, "replay: expected true or false, got 1"),
        ({"replay": True, "best_static": "x"}, "best_static: is of no use with replay"),
        ({"replay": True}, "replay: needs a menu of one setting"),
    ],
)
def test_a_replay_that_cannot_be_is_refused(single, changes, message):
    with pytest.raises(SettingError, match=message):
        single(**changes)
