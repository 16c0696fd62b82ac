"""From an experiment to its pieces."""

from __future__ import annotations

import pytest

from strategy_rl.assembly import row_share, settings, share_rows, task_settings
from strategy_rl.assembly.worlds import split_slots
from strategy_rl.config import Experiment

TINY = {"id": "strategy_rl_envs:strategy_rl/TinyReply-v0", "settings": {"num_rows": 40}}


def experiment(**sections):
    return Experiment.model_validate({"name": "shares", "task": TINY, **sections})


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_sft_and_ppo_have_rows_of_their_own_and_no_row_is_lost(share):
    slots = split_slots(experiment(), "train", (), 1)
    rows = share_rows(slots, share, seed=0)
    assert sorted(rows.sft + rows.ppo) == list(range(40))
    assert len(rows.sft) == min(max(1, round(40 * share)), 39)
    slots.close()


def test_a_stage_that_is_alone_has_every_row():
    assert row_share(experiment(sft={"share": 0.3})) == 0.3
    assert row_share(experiment(sft={"share": 0.3, "epochs": 0})) == 1.0
    assert row_share(experiment(sft={"share": 0.3}, ppo={"iterations": 0})) == 1.0
    assert row_share(experiment(sft={"share": 0.3, "demonstrations": "some.jsonl"})) == 1.0


def test_a_packaged_model_is_given_to_a_task_as_its_folder(monkeypatch):
    monkeypatch.setattr(settings, "resolve_model", lambda name: f"/models/{name[8:]}")
    task = {"id": TINY["id"], "settings": {"model": "package:writer", "num_rows": 3, "a": ["b"]}}
    given = task_settings(experiment(task=task).task, "test", ())
    assert given == {"model": "/models/writer", "num_rows": 3, "a": ["b"], "split": "test"}


def test_other_texts_of_a_task_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(settings, "resolve_model", lambda name: 1 / 0)
    task = {"id": TINY["id"], "settings": {"model": "some/folder", "note": "a package: none"}}
    given = task_settings(experiment(task=task).task, "test", ())
    assert given == {**task["settings"], "split": "test"}
