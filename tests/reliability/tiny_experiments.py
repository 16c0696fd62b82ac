"""Tiny experiments: everything that a run does, in two or three seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Fields = dict[str, Any]

_COMMON: Fields = {
    "evaluation": {"episodes": 10, "rivals": ["random"], "bootstrap_samples": 100},
    "logging": {"histograms_every": 2, "digest_episodes": 1},
}

REPLIES: Fields = {
    **_COMMON,
    "name": "replies",
    "task": {"id": "strategy_rl_envs:strategy_rl/TinyReply-v0", "settings": {"num_rows": 40}},
    "backbone": {"model": "random:tiny"},
    "sft": {"epochs": 4, "batch_size": 32},
    "ppo": {
        "iterations": 8,
        "episodes_per_iteration": 24,
        "minibatch_size": 16,
        "evaluate_every": 2,
        "adaptive_kl": {"target": 0.02, "horizon": 100},
        "normalize_observations": True,
        "normalize_rewards": True,
    },
    "checkpoint": {"every": 2},
}

DRIFT: Fields = {
    **_COMMON,
    "name": "drift",
    "task": {"id": "reliability_tasks:reliability/Drift-v0"},
    "policy": {"hidden_sizes": [16]},
    "sft": {
        "epochs": 12,
        "batch_size": 64,
        "learning_rate": 0.02,
        "early_stopping": {"metric": "return", "patience": 2},
    },
    "ppo": {
        "iterations": 9,
        "rollout": "steps",
        "num_envs": 4,
        "num_steps": 16,
        "minibatch_size": 16,
        "learning_rate": 0.01,
        "evaluate_every": 1,
        "adaptive_kl": {"target": 0.02, "horizon": 100},
        "normalize_observations": True,
        "normalize_rewards": True,
    },
    "checkpoint": {"every": 2},
}

# A reward with a state of its own: running scales, and a weight that moves.
SCALED: Fields = {
    **DRIFT,
    "name": "scaled",
    "reward": [
        {"name": "nearness", "scale": "running", "clip": [-3.0, 3.0]},
        {"name": "effort", "weight": {"from": 0.0, "to": 1.0, "over": 0.5}},
    ],
}

WORDS: Fields = {
    **_COMMON,
    "name": "words",
    "task": {"id": "reliability_tasks:reliability/Words-v0"},
    "backbone": {"model": "random:tiny"},
    "policy": {"pair_features": False},  # they would give the answer away
    "sft": {"epochs": 3, "batch_size": 24, "early_stopping": {"metric": "loss"}},
    "ppo": {
        "iterations": 4,
        "episodes_per_iteration": 16,
        "minibatch_size": 16,
        "evaluate_every": 1,
    },
    "checkpoint": {"every": 1},
}


# A backbone that learns, and texts that only PPO meets.
ADAPTERS: Fields = {
    **WORDS,
    "name": "adapters",
    "backbone": {
        "model": "random:tiny",
        "train": "lora",
        "lora": {"dropout": 0.1},
        "learning_rate": 0.001,
    },
    "ppo": {**WORDS["ppo"], "episodes_per_iteration": 8},
}

# Each text is projected once, when it is met: one environment meets them a few at a time.
PROJECTIONS: Fields = {
    **WORDS,
    "name": "projections",
    "ppo": {**WORDS["ppo"], "num_envs": 1, "freeze_projections": True},
}

# A policy that writes. Its rewards touch the controller of the KL; the trunk runs once a token.
TEXTS: Fields = {
    **_COMMON,
    "name": "texts",
    "task": {"id": "strategy_rl_envs:strategy_rl/TinyWriting-v0", "settings": {"num_rows": 16}},
    "backbone": {
        "model": "random:tiny",
        "train": "last_n",
        "last_n": 2,
        "learning_rate": 0.01,
    },
    "generation": {"max_new_tokens": 6, "top_k": 100, "missing_end_penalty": 0.1},
    "evaluation": {"episodes": 6, "rivals": ["heuristics", "best_of_n"], "bootstrap_samples": 100},
    "sft": {"epochs": 4, "batch_size": 8, "early_stopping": {"metric": "loss"}},
    "ppo": {
        "iterations": 6,
        "episodes_per_iteration": 8,
        "minibatch_size": 8,
        "epochs": 2,
        "kl_coef": 0.05,
        "adaptive_kl": {"target": 0.5, "horizon": 100},
        "normalize_rewards": True,
        "evaluate_every": 2,
    },
    "checkpoint": {"every": 1},
}

# SFT draws what dropout leaves out; steps of some length cut an episode between its turns.
TEXT_ADAPTERS: Fields = {
    **TEXTS,
    "name": "text-adapters",
    "backbone": {**TEXTS["backbone"], "train": "lora", "lora": {"dropout": 0.1}},
    "ppo": {**TEXTS["ppo"], "rollout": "steps", "num_envs": 4, "num_steps": 3},
    "checkpoint": {"every": 2},
}

# As few writes as there can be, with every kind among them.
SHORT: Fields = {
    **DRIFT,
    "name": "short",
    "sft": {"epochs": 1},
    "ppo": {**DRIFT["ppo"], "iterations": 2},
    "evaluation": {"episodes": 2, "rivals": [], "bootstrap_samples": 10},
    "checkpoint": {"every": 1, "keep": 1},
}

EVERY = {
    fields["name"]: fields
    for fields in (REPLIES, DRIFT, SCALED, ADAPTERS, PROJECTIONS, TEXTS, TEXT_ADAPTERS)
}


def write(folder: Path, fields: Fields) -> Path:
    """The experiment as a file; JSON is YAML."""
    path = folder / f"{fields['name']}.yaml"
    path.write_text(json.dumps(fields))
    return path
