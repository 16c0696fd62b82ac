"""The controller inside `generate` writes what the environment wrote."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tiny_models import PROMPTS, byte_tokenizer, save_model, save_rows, tiny_llama

import strategy_rl
from strategy_rl.assembly import make_policy
from strategy_rl.config import Experiment, PolicyConfig, TaskConfig
from strategy_rl.controller import PolicyController
from strategy_rl.episodes import read_episodes
from strategy_rl.errors import ModelError
from strategy_rl.policy import Policy
from strategy_rl.seeding import derive_seed
from strategy_rl_envs.decoding_control.observing import Observer
from strategy_rl_envs.decoding_control.reading import Reader

TASK = "strategy_rl_envs:strategy_rl/DecodingControl-v0"
SEEDS = [11, 12, 13, 14, 15]


def policy_for(env: Any, seed: int = 0) -> Policy:
    """One whose weights are large enough to choose now this, now that."""
    experiment = Experiment(
        name="x", task=TaskConfig(id="x"), policy=PolicyConfig(hidden_sizes=(8, 8))
    )
    slots: Any = SimpleNamespace(
        observation_space=env.observation_space, action_space=env.action_space, special_actions=()
    )
    policy: Policy = make_policy(experiment, slots, None)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.4 * torch.randn(parameter.shape, generator=draw)
    return policy


def episode(env: Any, policy: Policy, row: int, seed: int, *, greedy: bool) -> Any:
    """What the environment writes for a row: its tokens, and the names of the settings."""
    obs, _ = env.reset(seed=seed, options={"row": row})
    rng, names, over = np.random.default_rng([seed, 1]), [], False
    while not over:
        action = policy.act(obs, greedy=greedy, rng=rng).action
        names.append(env.menu.name(action))
        obs, _, over, _, _ = env.step(action)
    return list(env.episodes.tokens(0)), names


def padded(prompts: list[tuple[int, ...]], pad: int = 0) -> dict[str, torch.Tensor]:
    """Prompts as `generate` takes them, padded on the left."""
    width = max(map(len, prompts))
    gaps = [width - len(ids) for ids in prompts]
    return {
        "input_ids": torch.tensor(
            [[pad] * g + list(p) for g, p in zip(gaps, prompts, strict=True)]
        ),
        "attention_mask": torch.tensor([[0] * g + [1] * (width - g) for g in gaps]),
    }


def generated(network: Any, prompts: list[tuple[int, ...]], controller: Any, **more: Any) -> Any:
    """What `generate` writes after each prompt, up to an end token."""
    options = {"max_new_tokens": 40, "do_sample": False, "pad_token_id": 0, **more}
    inputs = padded(prompts)
    found = network.generate(**inputs, logits_processor=[controller], **options)
    rows = found[:, inputs["input_ids"].shape[1] :].tolist()
    return [row[: row.index(2)] if 2 in row else row for row in rows]


def exported(policy: Policy, folder: Any, settings: Any, task_id: str = TASK) -> Any:
    policy.save_pretrained(folder, task={"id": task_id, "settings": settings})
    return folder


def prompts_of(template: str = "auto") -> list[tuple[int, ...]]:
    reader = Reader(byte_tokenizer(), template)
    return [reader.prompt(prompt) for prompt in PROMPTS]


@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {"knobs": {"temperature": [0.0, 1.0], "repetition_penalty": [1.0, 1.3], "stop": True}},
        {"knobs": {"temperature": [0.0], "stop": True}, "hold": 1},
        {"knobs": {"temperature": [0.7, 1.5], "top_p": [0.5, 1.0]}, "hold": 2},
        {"knobs": None, "presets": [{}, {"temperature": 1.0, "top_p": 0.8}, {"stop": True}]},
    ],
)
def test_a_batch_with_left_padding_is_written_as_the_environment_wrote_it(
    changes, greedy, settings, single, tmp_path
):
    env = single(**changes)
    policy = policy_for(env)
    played = [episode(env, policy, i, seed, greedy=greedy) for i, seed in enumerate(SEEDS)]
    folder = exported(policy, tmp_path / "policy", {**settings, **changes})
    controller = PolicyController.from_pretrained(folder, seeds=SEEDS, greedy=greedy)
    written = generated(tiny_llama(), prompts_of(), controller)
    assert written == [tokens for tokens, _ in played]
    assert controller.chosen == [names for _, names in played]


AIMS: list[dict[str, Any]] = [
    {"keywords": ["fox", "Cat"], "window": [3, 5]},
    {"window": [1, 2]},
    {"keywords": ["ox"]},
    {},
    {"keywords": ["a b"], "window": [2, 4]},
]


@pytest.mark.parametrize("greedy", [True, False])
def test_what_a_text_is_to_reach_is_told_to_both(greedy, settings, single, tmp_path):
    rows = save_rows(tmp_path / "rows", each=AIMS)
    knobs = {"temperature": [0.0, 1.0], "keyword_bonus": [0.0, 5.0], "end_bonus": [0.0, -5.0]}
    changes = {"data": rows, "knobs": knobs, "targets": True, "max_new_tokens": 16}
    env = single(**changes)
    policy = policy_for(env)
    played = [episode(env, policy, i, seed, greedy=greedy) for i, seed in enumerate(SEEDS)]
    folder = exported(policy, tmp_path / "policy", {**settings, **changes})
    controller = PolicyController.from_pretrained(folder, seeds=SEEDS, greedy=greedy, targets=AIMS)
    assert generated(tiny_llama(), prompts_of(), controller) == [tokens for tokens, _ in played]
    assert controller.chosen == [names for _, names in played]


def test_a_policy_that_goes_by_targets_asks_for_them(settings, single, tmp_path):
    changes = {"knobs": {"keyword_bonus": [0.0, 5.0]}}
    folder = exported(policy_for(single(**changes)), tmp_path / "policy", {**settings, **changes})
    controller = PolicyController.from_pretrained(folder, seeds=SEEDS)
    with pytest.raises(ValueError, match="got none for a batch of 5 rows"):
        generated(tiny_llama(), prompts_of(), controller)
    controller.targets = [{}] * 4
    with pytest.raises(ValueError, match="got 4 for a batch of 5 rows"):
        generated(tiny_llama(), prompts_of(), controller)
    controller.targets = [{"keyword": ["fox"]}] * 5
    with pytest.raises(ValueError, match="expected lists of keywords and a window"):
        generated(tiny_llama(), prompts_of(), controller)


def test_the_texts_of_that_test_differ_in_settings_stops_and_lengths(single):
    env = single()
    policy = policy_for(env)
    played = [episode(env, policy, i, seed, greedy=False) for i, seed in enumerate(SEEDS)]
    names = {name for _, chosen in played for name in chosen}
    assert len(names) >= 4
    assert "stop" in names
    assert len({len(tokens) for tokens, _ in played}) >= 3


def test_it_makes_no_difference_whether_generate_samples_or_the_row_is_alone(
    settings, single, tmp_path
):
    env = single()
    folder = exported(policy_for(env), tmp_path / "policy", settings)
    network, prompts = tiny_llama(), prompts_of()
    together = PolicyController.from_pretrained(folder, seeds=SEEDS)
    expected = generated(network, prompts, together)
    hot = {"do_sample": True, "temperature": 3.0, "top_k": 5, "top_p": 0.5}
    assert generated(network, prompts, together, **hot) == expected
    for place, prompt in enumerate(prompts):
        alone = PolicyController.from_pretrained(folder, seeds=SEEDS[place : place + 1])
        assert generated(network, [prompt], alone) == expected[place : place + 1]


def test_generate_called_again_starts_anew_and_other_seeds_give_other_texts(
    settings, single, tmp_path
):
    env = single(knobs={"temperature": [1.0, 1.5]})
    folder = exported(
        policy_for(env), tmp_path / "p", {**settings, "knobs": {"temperature": [1.0, 1.5]}}
    )
    network, prompts = tiny_llama(), prompts_of()
    controller = PolicyController.from_pretrained(folder, seeds=SEEDS)
    first = generated(network, prompts, controller)
    assert generated(network, prompts, controller) == first
    assert [len(names) for names in controller.chosen] == [-(-len(t) // 3) for t in first]
    cut = generated(network, prompts, controller, max_new_tokens=4)
    assert cut == [tokens[:4] for tokens in first]
    assert generated(network, prompts, controller) == first
    controller.seeds = [seed + 100 for seed in SEEDS]
    assert generated(network, prompts, controller) != first
    controller.seeds = None
    assert generated(network, prompts, controller) != generated(network, prompts, controller)


def test_another_prompt_that_is_one_token_longer_starts_anew(settings, single, tmp_path):
    knobs = {"temperature": [1.0, 1.5]}
    folder = exported(policy_for(single(knobs=knobs)), tmp_path / "p", {**settings, "knobs": knobs})
    network = tiny_llama()
    controller = PolicyController.from_pretrained(folder, seeds=[3])
    first, second = (5, 6, 7), (9, 8, 7, 6)
    expected = generated(network, [second], controller)
    generated(network, [first], controller, max_new_tokens=1)
    assert generated(network, [second], controller) == expected
    generated(network, [first], controller, max_new_tokens=1)
    with pytest.raises(ValueError, match=r"call `reset\(\)`"):
        generated(network, [(*first, 200)], controller)
    controller.reset()
    assert generated(network, [(*first, 200)], controller) != expected


def test_a_text_has_no_more_tokens_than_in_the_environment(settings, single, tmp_path):
    presets = [{"temperature": 1.0, "top_p": 0.5}, {"temperature": 1.5, "top_p": 0.5}]
    env = single(knobs=None, presets=presets)
    folder = exported(
        policy_for(env), tmp_path / "p", {**settings, "knobs": None, "presets": presets}
    )
    controller = PolicyController.from_pretrained(folder, seeds=SEEDS)
    written = generated(tiny_llama(), prompts_of(), controller)
    assert max(map(len, written)) == 11  # max_new_tokens of the task; `generate` would allow 40


def test_the_model_that_writes_can_be_given_instead_of_its_folder(
    settings, single, tmp_path, model
):
    env = single()
    folder = exported(policy_for(env), tmp_path / "policy", {**settings, "model": "nowhere/at-all"})
    network, prompts = tiny_llama(), prompts_of()
    given = PolicyController.from_pretrained(
        folder, model=network, tokenizer=byte_tokenizer(), seeds=SEEDS
    )
    named = PolicyController.from_pretrained(folder, model=model, seeds=SEEDS)
    assert generated(network, prompts, given) == generated(network, prompts, named)


@pytest.mark.parametrize(
    ("rows", "prompts", "drawn"),
    [
        ([[5, 40, 41], [0, 0, 50]], [{5, 40, 41}, {50}], [0, 0]),
        ([[0, 40, 41], [0, 0, 50]], [{0, 40, 41}, {0, 50}], [9, 9]),  # no row is longer than these
        ([[0, 0, 0], [0, 0, 50]], [{0}, {0, 50}], [9, 9]),
    ],
)
def test_what_fills_a_row_is_no_part_of_its_prompt(
    rows, prompts, drawn, settings, single, tmp_path, monkeypatch
):
    """Token 0 fills rows; it leads by 2.0 to 1.9, and a penalty of 1.3 puts token 9 before it."""
    knobs = {"temperature": [0.0], "repetition_penalty": [1.3], "top_p": [0.5, 1.0]}
    folder = exported(policy_for(single(knobs=knobs)), tmp_path / "p", {**settings, "knobs": knobs})
    seen: list[Any] = []
    observe = Observer.observe

    def noting(self, logits, previous, starts, texts):
        seen.extend(set(text.prompt) for text in texts)
        return observe(self, logits, previous, starts, texts)

    monkeypatch.setattr(Observer, "observe", noting)
    scores = torch.zeros(2, 259)
    scores[:, 0], scores[:, 9] = 2.0, 1.9
    forced = PolicyController.from_pretrained(folder)(torch.tensor(rows), scores)
    assert forced.argmax(-1).tolist() == drawn
    assert torch.isfinite(forced).sum(-1).tolist() == [1, 1]
    assert seen == prompts


def test_beams_and_seeds_for_another_batch_are_refused(settings, single, tmp_path):
    folder = exported(policy_for(single()), tmp_path / "policy", settings)
    network, prompts = tiny_llama(), prompts_of()
    controller = PolicyController.from_pretrained(folder, seeds=SEEDS)
    with pytest.raises(ValueError, match="seeds: got 5 for a batch of 1 rows"):
        generated(network, prompts[:1], controller)

    class Meddler(transformers.LogitsProcessor):
        def __call__(self, input_ids, scores):
            return torch.zeros_like(scores)  # the first token, whatever was drawn

    with pytest.raises(ValueError, match="num_beams=1 and no logits processor behind this one"):
        network.generate(
            **padded(prompts),
            logits_processor=[controller, Meddler()],
            max_new_tokens=4,
            pad_token_id=0,
        )


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (None, "does not tell its task"),
        ({"id": TASK}, "does not tell its task"),
        ({"id": "CartPole-v1", "settings": {}}, "a policy for 'CartPole-v1', expected one for"),
        ({"id": TASK, "settings": {"model": "x", "imports": ["a.py"]}}, "setting 'imports'"),
        ({"id": TASK, "settings": {"model": "x", "hold": 0}}, "hold"),
        ({"id": TASK, "settings": {"model": "no/model"}}, "'no/model' cannot be loaded"),
        ({"id": TASK, "settings": {}}, "names no model"),
        ({"id": TASK, "settings": {"replay": True, "best_static": "x"}}, "names no model"),
        ({"id": TASK, "settings": {"replay": True, "expert_reward": ["x"]}}, "names no model"),
    ],
)
def test_a_folder_that_tells_another_task_or_none_is_refused(task, message, single, tmp_path):
    policy_for(single()).save_pretrained(tmp_path / "policy", task=task)
    with pytest.raises(ModelError, match=message):
        PolicyController.from_pretrained(tmp_path / "policy")


def test_a_policy_of_an_older_export_is_refused(single, tmp_path):
    policy_for(single()).save_pretrained(tmp_path / "policy")
    config = json.loads((tmp_path / "policy/config.json").read_text())
    del config["task"]
    (tmp_path / "policy/config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="export the policy again"):
        PolicyController.from_pretrained(tmp_path / "policy")


def test_a_model_or_a_menu_of_another_size_is_refused(settings, single, tmp_path):
    policy = policy_for(single())
    small = save_model(tmp_path / "small", tiny_llama(hidden_size=16))
    folder = exported(policy, tmp_path / "policy", settings)
    with pytest.raises(ModelError, match="give the model that it was trained with"):
        PolicyController.from_pretrained(folder, model=small)
    other = exported(policy, tmp_path / "other", {**settings, "knobs": {"temperature": [0, 1, 2]}})
    with pytest.raises(ModelError, match=r"picks from \(2, 2, 2\)"):
        PolicyController.from_pretrained(other)


@pytest.mark.parametrize(
    "changes",
    [
        {"knobs": {"temperature": [0.0, 1.0], "repetition_penalty": [1.0, 1.3]}},
        {"knobs": {"temperature": [0.0], "stop": True}, "hold": 1, "replay": True},
    ],
)
def test_the_policy_of_a_run_writes_the_texts_of_its_test_episodes(
    changes, settings, tmp_path, monkeypatch
):
    monkeypatch.setenv("STRATEGY_RL_CACHE", str(tmp_path / "cache"))
    settings = {**settings, **changes}
    experiment = Experiment(
        name="x",
        task=TaskConfig(id=TASK, settings=settings),
        policy=PolicyConfig(hidden_sizes=(8, 8)),
        sft={"epochs": 0},
        ppo={"iterations": 3, "episodes_per_iteration": 10, "learning_rate": 0.03},
        evaluation={"bootstrap_samples": 20, "rivals": ["random"]},
    )
    run = strategy_rl.run(experiment, out=tmp_path / "run")
    _, episodes = read_episodes(run.path / "episodes/test-ppo.jsonl")
    rows = [episode.row for episode in episodes]
    seeds = [derive_seed(0, "episode", "test", row) for row in rows]
    controller = PolicyController.from_pretrained(run.path / "policy", seeds=seeds)
    written = generated(tiny_llama(), [prompts_of()[row] for row in rows], controller)
    assert list(map(byte_tokenizer().decode, written)) == [
        "".join(step.text for step in episode.steps) for episode in episodes
    ]
    drawn = {path.name for path in (run.path / "plots").iterdir()}
    assert {"settings_by_step.png", "settings_by_kind.png"} <= drawn
