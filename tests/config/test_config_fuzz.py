"""Damaged experiment files end in a ConfigError or load; nothing else gets out."""

from __future__ import annotations

import random
from pathlib import Path

from strategy_rl.config import load_experiment
from strategy_rl.errors import ConfigError

SEED = 20_260
GOOD = """\
name: demo
seed: 3
task:
  id: strategy_rl_envs:strategy_rl/ReplySelection-v0
  settings: {data: data/x, prices: [1, 0.5]}
reward:
  - name: correct
    weight: 1.0
  - {name: brevity, weight: 0.1, settings: {limit: 20}}
backbone: {model: "package:all-minilm-l6-v2", train: frozen}
sft:
  epochs: 3
  learning_rate: 1e-3
  early_stopping: {metric: accuracy, patience: 2}
ppo:
  iterations: 4
  clip_range: {from: 0.2, to: 0.1}
  entropy_coef: 0.01
  adaptive_kl: null
"""
PIECES = [
    *["null", "true", "no", "1e-5", ".nan", "-1", "[]", "{}", "''", "9" * 30, "[1, [2]]", "x"],
    *["&a ", "*a", "!!int ", "!!python/name:os ", "? ", ": ", "- ", "\t", "\n", "  ", "'", '"'],
    *["{", "}", "[", "]", "#", "|\n", ">\n", "---\n", "%YAML 1.1\n", "\0", "\x85", "\ufeff", "\\"],
    *["<<: *a", "extends: x", "extends: [.]", "\ud800", "名", "from", "schedule", "number"],
]
OVERRIDES = [
    *["ppo.gamma=0.5", "reward.0.weight=2", "reward.9.x=1", "task.settings.a.b=1", "=", "a", "x=["],
    *[
        "ppo.clip_range.schedule.number=1",
        "task=null",
        "reward=[]",
        "name.x=1",
        "ppo.=1",
        "a=&a *a",
    ],
]


def mutate(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.choice([0, 0, 1, 3, 12]))
        kind = rng.randrange(4)
        if kind == 0:
            text = text[:start] + rng.choice(PIECES) + text[end:]
        elif kind == 1:
            text = text[:start] + text[end:]
        elif kind == 2:
            lines = text.split("\n")
            rng.shuffle(lines) if rng.random() < 0.1 else lines.insert(0, rng.choice(lines))
            text = "\n".join(lines)
        else:
            words = text.split(" ")
            words[rng.randrange(len(words))] = rng.choice(PIECES)
            text = " ".join(words)
    return text


def test_two_thousand_damaged_files_raise_nothing_but_config_errors(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    path = tmp_path / "e.yaml"
    told: list[list[str]] = []
    for _ in range(2000):
        path.write_bytes(mutate(GOOD, rng).encode("utf-8", errors="surrogatepass"))
        overrides = rng.sample(OVERRIDES, rng.choice([0, 0, 1, 2]))
        try:
            load_experiment(path, overrides)
        except ConfigError as error:
            told.append(error.faults)
    assert 1000 < len(told) < 2000  # the mutations bite, and not every one kills
    assert all(told)
    assert all(fault.startswith((str(path), "override ")) for faults in told for fault in faults)
