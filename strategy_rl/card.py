"""The model card of an exported policy. Knows an experiment and its figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import strategy_rl
from strategy_rl.config import Experiment, RewardTerm, WeightSchedule


def model_card(
    experiment: Experiment, stage: str, policies: Mapping[str, Any], kind: str = "Policy"
) -> str:
    """README.md of a policy: what it does, how it was trained, what it earned on the test rows.

    Args:
        experiment: What made it.
        stage: The last that it went through where the experiment has it, `sft` or `ppo`.
        policies: The `policies` of the report; empty before it is judged.
        kind: The class that loads it.
    """
    reward = ", ".join(f"{term.name} x {_weight(term)}" for term in experiment.reward)
    lines = [
        f"# {experiment.name}, {_training(experiment, stage)}",
        "",
        f"A policy for `{experiment.task.id}`, made by strategy_rl {strategy_rl.__version__}.",
        "",
        f"- Backbone: `{experiment.backbone.model}`, {experiment.backbone.train}",
        f"- Reward: {reward or 'the default of the task'}",
        f"- Seed: {experiment.seed}",
        "",
        "```python",
        f"from strategy_rl import {kind}",
        "",
        f'policy = {kind}.from_pretrained("this/folder")',
        "decision = policy.act(observation, greedy=True)",
        "```",
    ]
    if policies:
        lines += ["", "| policy | mean return on the test rows | 95% interval |", "|---|---|---|"]
        for name, figures in policies.items():
            low, high = figures["ci95"]
            lines.append(f"| {name} | {figures['mean_return']:.3f} | {low:.3f} to {high:.3f} |")
    return "\n".join(lines) + "\n"


def _training(experiment: Experiment, stage: str) -> str:
    """The stages that it was trained in."""
    stages = ["SFT"] if experiment.sft.epochs else []
    if stage == "ppo" and experiment.ppo.iterations:
        stages.append("PPO")
    return f"after {' and '.join(stages)}" if stages else "untrained"


def _weight(term: RewardTerm) -> str:
    weight = term.weight
    if isinstance(weight, WeightSchedule):
        return f"({weight.start:g} to {weight.to:g})"
    return f"{weight:g}"
