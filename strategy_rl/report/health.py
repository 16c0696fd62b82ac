"""Did training go as it should? Plain sentences, each with its verdict: `ok` or `warning`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from strategy_rl.config import shorten

Curves = Mapping[str, Sequence[float]]

COLLAPSE_SHARE = 0.95
ENTROPY_LEFT = 0.1
APPROX_KL_HIGH = 0.02
NO_SPREAD_SHARE = 0.9
SAME_TEXT_SHARE = 0.25


def curves_of(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """The values of each metric in the order of a record; what was not finite is left out."""
    curves: dict[str, list[float]] = {}
    for entry in entries:
        for name, value in entry.get("scalars", {}).items():
            if value is not None:
                curves.setdefault(name, []).append(value)
    return curves


def health(policies: Mapping[str, Mapping[str, Any]], curves: Curves) -> list[str]:
    """Every verdict that the episodes and the metrics of a run allow.

    Args:
        policies: the report's entries, by policy.
        curves: the metrics of the run, by name; may be empty.
    """
    checks = (
        _collapse(policies),
        _same_text(policies),
        _spread(curves),
        _entropy(curves),
        _explained_variance(curves),
        _approx_kl(curves),
        _early_stop(curves),
        _dropped(curves),
    )
    return [sentence for sentence in checks if sentence is not None]


def _collapse(policies: Mapping[str, Mapping[str, Any]]) -> str | None:
    most = policies.get("ppo", {}).get("most_frequent_action")
    if most is None:
        return None
    share = f"{most['action']!r} in {most['share']:.0%} of its decisions"
    if most["share"] > COLLAPSE_SHARE:
        return (
            f"warning: PPO takes {share}: it has collapsed to one action, unless that is the best "
            "everywhere; check the prices of the reward, raise ppo.kl_coef or ppo.entropy_coef"
        )
    return f"ok: PPO varies its actions; the most frequent is {share}"


def _same_text(policies: Mapping[str, Mapping[str, Any]]) -> str | None:
    """A text that pays whatever is asked shows weakness of the reward, not of the policy."""
    ppo, sft = (policies.get(name, {}).get("most_frequent_text") for name in ("ppo", "sft"))
    if ppo is None:
        return None
    before = 0.0 if sft is None else sft["share"]
    if ppo["share"] <= max(SAME_TEXT_SHARE, 2 * before):
        return f"ok: PPO varies its texts; the most frequent is {ppo['share']:.0%} of them"
    return (
        f"warning: PPO writes {shorten(ppo['text'])} in {ppo['share']:.0%} of its decisions (SFT's "
        f"most frequent text: {before:.0%}): it has found a text that pays whatever is asked; read "
        "the episodes and change the reward"
    )


def _dropped(curves: Curves) -> str | None:
    counts = curves.get("rollout/dropped_episodes", [])
    if not counts:
        return None
    return (
        f"warning: {sum(counts):.0f} episodes of {len(counts)} rollouts were thrown away, because "
        "a reward with `on_error: drop` failed; the log names the first cause"
    )


def _spread(curves: Curves) -> str | None:
    zero = curves.get("rollout/reward_spread_zero_share")
    mean = curves.get("rollout/reward_spread_mean")
    if not zero and not mean:
        return None
    if (mean and mean[0] <= 0) or (zero and zero[0] > NO_SPREAD_SHARE):
        return (
            "warning: before PPO, nearly every row gave the same return whatever the policy tried: "
            "there is nothing to learn from; look at the reward, or raise sft.special_action_prior"
        )
    return "ok: before PPO, the same row gave different returns: there was something to learn from"


def _entropy(curves: Curves) -> str | None:
    values = curves.get("ppo/entropy", [])
    if len(values) < 2 or values[0] <= 0:
        return None
    left = values[-1] / values[0]
    if left < ENTROPY_LEFT:
        return (
            f"warning: entropy fell to {left:.0%} of its start: the policy no longer tries "
            "anything; raise ppo.entropy_coef or lower ppo.learning_rate"
        )
    return f"ok: entropy ended at {left:.0%} of its start"


def _explained_variance(curves: Curves) -> str | None:
    values = curves.get("ppo/explained_variance", [])
    if not values:
        return None
    late = float(np.mean(values[-max(1, len(values) // 4) :]))
    if late < 0:
        return (
            f"warning: explained variance ended at {late:.2f}, below 0: the value head does worse "
            "than a constant; give it ppo.critic_warmup_iterations or a higher ppo.vf_coef"
        )
    return f"ok: explained variance ended at {late:.2f}"


def _approx_kl(curves: Curves) -> str | None:
    values = curves.get("ppo/approx_kl", [])
    if not values:
        return None
    middle = float(np.median(values))
    if middle > APPROX_KL_HIGH:
        return (
            f"warning: approximate KL of an update was {middle:.3f} in the median, above "
            f"{APPROX_KL_HIGH}: steps are too large; lower ppo.learning_rate or ppo.epochs"
        )
    return f"ok: approximate KL of an update was {middle:.4f} in the median"


def _early_stop(curves: Curves) -> str | None:
    values = curves.get("ppo/early_stopped", [])
    if not values:
        return None
    share = float(np.mean(values))
    if share > 0.5:
        return (
            f"warning: {share:.0%} of the iterations ended early at ppo.target_kl; lower "
            "ppo.learning_rate"
        )
    return f"ok: {share:.0%} of the iterations ended early"
