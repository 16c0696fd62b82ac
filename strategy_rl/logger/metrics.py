"""The table of every metric: name, meaning, healthy range. Nothing is logged that is not in it.

A `*` stands for one part of a name: a reward component, a policy, an action.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cache
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One row of the table; `higher_is` says whether more is better."""

    pattern: str
    meaning: str
    healthy: str
    higher_is: Literal["better", "worse", "neither"] = "neither"
    kind: Literal["scalar", "histogram", "text", "image"] = "scalar"


METRICS: tuple[Metric, ...] = (
    # Supervised fine-tuning, once an epoch; its step is the number of updates.
    Metric(
        "sft/loss",
        "Mean cross-entropy between the policy and the expert's actions, in nats.",
        "falls; below the log of the number of legal actions",
        "worse",
    ),
    Metric(
        "sft/contrastive_loss",
        "Mean loss that pulls a context towards its own reply and away from the others of its "
        "batch, before its coefficient.",
        "falls, then levels off",
        "worse",
    ),
    Metric(
        "sft/accuracy",
        "Share of training decisions whose most probable action is the expert's.",
        "rises above chance; far above sft/validation_accuracy means over-fitting",
        "better",
    ),
    Metric(
        "sft/validation_accuracy",
        "The same share on validation rows.",
        "rises, then levels off",
        "better",
    ),
    Metric(
        "sft/validation_loss",
        "Cross-entropy on validation rows, in nats.",
        "falls, then levels off; rising means over-fitting",
        "worse",
    ),
    Metric(
        "sft/validation_perplexity",
        "Of texts: the exponential of that loss, as if so many tokens were equally likely.",
        "falls, then levels off",
        "worse",
    ),
    Metric(
        "sft/validation_return",
        "Mean return of the greedy policy on validation rows.",
        "rises, then levels off",
        "better",
    ),
    Metric(
        "sft/learning_rate",
        "Learning rate of the last step.",
        "follows its schedule: warm-up, then decay",
    ),
    Metric(
        "sft/grad_norm",
        "Mean norm of the gradient before clipping.",
        "finite; below sft.max_grad_norm most of the time",
    ),
    # PPO's update, once an iteration; its step is the number of decisions.
    Metric(
        "ppo/loss",
        "What the optimizer minimises: policy, value and KL losses less the entropy bonus.",
        "finite; its level says nothing",
    ),
    Metric(
        "ppo/policy_loss",
        "Clipped surrogate loss. Its sign and size say little: advantages are normalised.",
        "small, around 0",
    ),
    Metric(
        "ppo/value_loss",
        "Half the mean squared error of the value estimates.",
        "does not grow",
        "worse",
    ),
    Metric(
        "ppo/entropy",
        "Mean entropy of the policy over legal actions, in nats: how undecided it is.",
        "falls slowly; never near 0 in the first tenth of training",
    ),
    Metric(
        "ppo/approx_kl",
        "Estimate (k3) of how far the iteration's updates moved the policy, KL from old to new.",
        "0.001 to 0.02; more: lower the learning rate, the epochs or the clip range",
    ),
    Metric(
        "ppo/exact_kl",
        "The same distance summed over all legal actions: no estimate.",
        "0.001 to 0.02, close to ppo/approx_kl",
    ),
    Metric(
        "ppo/clip_fraction",
        "Share of decisions whose probability ratio left the clip range.",
        "0.05 to 0.2",
    ),
    Metric(
        "ppo/ratio_min",
        "Smallest ratio of new to old probability of a taken action.",
        "not far below 1 - ppo/clip_range",
    ),
    Metric(
        "ppo/ratio_max",
        "Largest ratio of new to old probability of a taken action.",
        "not far above 1 + ppo/clip_range; never above 10",
    ),
    Metric(
        "ppo/explained_variance",
        "Share of the returns' variance that the value estimates explain; 1 is perfect, 0 is no "
        "better than a constant.",
        "rises towards 0.5 or more; below 0 the value head does harm",
        "better",
    ),
    Metric(
        "ppo/grad_norm",
        "Mean norm of the gradient over policy and value, before clipping.",
        "finite; below ppo.max_grad_norm most of the time",
    ),
    Metric(
        "ppo/learning_rate",
        "Learning rate of the iteration.",
        "follows its schedule, near 0 at the end of a linear one",
    ),
    Metric("ppo/clip_range", "Clip range of the probability ratio.", "0.1 to 0.3"),
    Metric(
        "ppo/entropy_coef", "Weight of the entropy bonus.", "0 to 0.02, falling where scheduled"
    ),
    Metric(
        "ppo/kl_coef",
        "Weight of the penalty for leaving the SFT policy.",
        "steady where fixed; where adaptive it settles once ppo/ref_kl is near its target",
    ),
    Metric(
        "ppo/ref_kl",
        "Mean KL from the policy to the SFT reference, in nats per decision.",
        "0 at the start, then slowly rising; never negative",
    ),
    Metric(
        "ppo/ref_kl_k3",
        "Of texts: the same KL by the estimate k3, which is never negative.",
        "close to ppo/ref_kl",
    ),
    Metric(
        "ppo/ref_kl_episode",
        "Of texts: KL to the reference, in nats an episode: the sum over its tokens.",
        "rises slowly; near the target, or within the budget, where one is set",
    ),
    Metric(
        "ppo/kl_penalty",
        "Of texts: what that KL takes off the return of an episode.",
        "small beside what the reward differs by",
    ),
    Metric(
        "ppo/sampler_mismatch_mean",
        "Mean distance of a token's log-probability when it was drawn and when it is trained.",
        "0.05 or less; more: the engine's number format or weights are not those of the model",
        "worse",
    ),
    Metric(
        "ppo/sampler_mismatch_p95",
        "The distance that 95 of 100 tokens stay under.",
        "0.2 or less",
        "worse",
    ),
    Metric(
        "ppo/sampler_weight_mean",
        "Mean of the truncated importance weights that correct the difference.",
        "close to 1",
    ),
    Metric(
        "ppo/validation_value/*",
        "Mean of one component's own value over the greedy policy's validation rows; one of "
        "weight 0 is a guard that nobody trains on.",
        "moves as the component means it; a guard does not fall",
    ),
    Metric(
        "ppo/kl_loss",
        "The KL penalty as it enters the loss, after its coefficient.",
        "smaller than the gain in return",
    ),
    Metric(
        "ppo/updates_done",
        "Minibatch updates that ran in the iteration.",
        "equal to ppo/updates_planned most of the time",
    ),
    Metric("ppo/updates_planned", "Minibatch updates that were planned.", "constant or nearly so"),
    Metric(
        "ppo/early_stopped",
        "1 where the iteration ended early because the KL passed its limit, else 0.",
        "0 in most iterations; mostly 1: lower the learning rate",
    ),
    Metric(
        "ppo/advantage_mean",
        "Mean advantage before normalisation.",
        "around 0; far off it the value estimates are biased",
    ),
    Metric(
        "ppo/advantage_std",
        "Standard deviation of the advantages before normalisation.",
        "above 0: at 0 there is nothing to learn from",
    ),
    Metric(
        "ppo/validation_return",
        "Mean return of the greedy policy on validation rows.",
        "rises, then levels off",
        "better",
    ),
    Metric(
        "ppo/best_validation_return",
        "The best of them so far: its policy is the one that is exported.",
        "never falls",
        "better",
    ),
    # What the sampling policy met, once an iteration.
    Metric(
        "rollout/return_mean",
        "Mean return of the iteration's training episodes, sampled actions.",
        "rises; below the greedy ppo/validation_return",
        "better",
    ),
    Metric(
        "rollout/return_std",
        "Standard deviation of those returns.",
        "above 0: at 0 there is nothing to learn from",
    ),
    Metric("rollout/episode_length_mean", "Mean steps of an episode.", "depends on the task"),
    Metric("rollout/episodes", "Episodes collected in the iteration.", "constant where configured"),
    Metric("rollout/decisions", "Decisions collected in the iteration.", "steady"),
    Metric(
        "rollout/value_mean",
        "Mean value estimate of the collected states.",
        "near rollout/return_mean where gamma is 1 and episodes are short",
    ),
    Metric(
        "rollout/special_action_share/*",
        "Share of decisions that took this special action, e.g. handing over.",
        "between 0 and 1, neither for long: at 1 the policy has collapsed",
    ),
    Metric(
        "rollout/max_action_share",
        "Share of decisions that took the most frequent action; each place of the candidates, and "
        "each special action, counts by itself.",
        "below 0.95; above it the policy has collapsed",
    ),
    Metric(
        "rollout/reward_spread_mean",
        "Mean standard deviation of the return of one row played several times: what there is "
        "to learn from.",
        "clearly above 0",
    ),
    Metric(
        "rollout/reward_spread_zero_share",
        "Share of rows whose return was the same each time they were played.",
        "below 0.9",
        "worse",
    ),
    Metric(
        "reward/*",
        "Mean sum over an episode of one weighted component of the reward, sampled actions.",
        "moves as the task means it; one rising while the others fall hints at reward hacking",
    ),
    Metric(
        "reward_value/*/mean",
        "Mean of one component's own value over the steps of a rollout, before scale and weight.",
        "moves as the component means it",
    ),
    Metric(
        "reward_value/*/std",
        "Its standard deviation.",
        "clearly above 0: a constant teaches nothing",
    ),
    Metric(
        "reward_value/*/floor_share",
        "Share of its values that equal the least one of the rollout.",
        "below 0.9",
    ),
    Metric(
        "reward_value/*/ceiling_share",
        "Share of its values that equal the greatest one.",
        "below 0.9; at 1 there is nothing left to gain",
    ),
    Metric(
        "reward_value/*/abstained_share",
        "Share of the steps to which it gave no value.",
        "as the component means it",
    ),
    Metric(
        "rollout/response_tokens_mean",
        "Of texts: mean number of tokens of a response.",
        "steady, or moving as the reward asks; a climb to the limit is a warning",
    ),
    Metric(
        "rollout/response_tokens_std",
        "Its standard deviation.",
        "above 0",
    ),
    Metric(
        "rollout/ended_share",
        "Of texts: share of responses that ended by themselves, and not at the limit.",
        "close to 1",
        "better",
    ),
    Metric(
        "rollout/distinct_2",
        "Of texts: share of neighbouring pairs of tokens that differ from each other in a rollout.",
        "steady; a fall means that the policy repeats itself",
    ),
    Metric(
        "rollout/prompts_cut",
        "Of texts: prompts of a rollout that were longer than `backbone.max_tokens`.",
        "0; else raise the limit or shorten the observation",
        "worse",
    ),
    Metric(
        "rollout/dropped_episodes",
        "Episodes thrown away because a reward with `on_error: drop` failed.",
        "absent or near 0",
        "worse",
    ),
    # Evaluation, one series a policy.
    Metric(
        "eval/*/mean_return",
        "Mean return of the policy on the test rows.",
        "ppo above sft, above random; below the expert",
        "better",
    ),
    Metric("eval/*/ci_low", "Lower end of its 95% bootstrap interval.", "close to the mean"),
    Metric("eval/*/ci_high", "Upper end of its 95% bootstrap interval.", "close to the mean"),
    Metric("eval/*/episodes", "Episodes played.", "the same for every policy"),
    Metric("eval/*/mean_length", "Mean steps of an episode.", "depends on the task"),
    Metric(
        "eval/*/accuracy",
        "Share of answered decisions (no special action) that agree with the expert.",
        "above chance",
        "better",
    ),
    Metric(
        "eval/*/kl_to_sft",
        "Of texts that were drawn: KL from the policy to SFT's, in nats an episode.",
        "within ppo.kl_budget where one is set",
    ),
    Metric(
        "eval/*/action_share/*",
        "Share of decisions that took this kind of action: any candidate, an action by its name, "
        "else the index.",
        "neither 0 nor 1, unless that is the best everywhere",
    ),
    Metric(
        "eval/*/component/*",
        "Mean sum over an episode of one weighted component of the reward.",
        "moves as the task means it",
    ),
    Metric(
        "time/*",
        "Wall-clock figures, kept out of every comparison: `_seconds`, `_per_second` a rate, "
        "`_mb` megabytes.",
        "steady; growing times mean that something piles up",
    ),
    Metric(
        "ppo/action_probabilities",
        "Probabilities of the actions that were taken.",
        "spread out; all at 1 is a collapsed policy",
        kind="histogram",
    ),
    Metric(
        "ppo/values",
        "Value estimates of the collected states.",
        "as wide as the returns",
        kind="histogram",
    ),
    Metric(
        "ppo/advantages",
        "Advantages before normalisation.",
        "around 0 with both signs",
        kind="histogram",
    ),
    Metric(
        "episodes/*",
        "Episodes of one policy in words: what it saw, chose and got.",
        "reads sensibly",
        kind="text",
    ),
    Metric(
        "texts/*",
        "What the steps of a few episodes of one policy wrote, each piece after its setting.",
        "reads sensibly; settings change where the text asks for it",
        kind="text",
    ),
    Metric(
        "plots/*",
        "A picture of the report.",
        "as its own axes say",
        kind="image",
    ),
)


def find_metric(name: str, kind: str = "scalar") -> Metric:
    """The table's row for a name.

    Raises:
        ValueError: no row of that kind has this name.
    """
    for metric in METRICS:
        if metric.kind == kind and _expression(metric.pattern).fullmatch(name):
            return metric
    patterns = [metric.pattern for metric in METRICS if metric.kind == kind]
    near = difflib.get_close_matches(name, patterns, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "; add it to METRICS, with its meaning"
    raise ValueError(f"no {kind} metric is called {name!r}{hint}")


def render_metrics() -> str:
    """The table as the markdown page `docs/metrics.md`."""
    head = ["| metric | meaning | healthy | higher is |", "|---|---|---|---|"]
    rows = [
        f"| `{metric.pattern}`{'' if metric.kind == 'scalar' else f' ({metric.kind})'} "
        f"| {metric.meaning} | {metric.healthy} | {metric.higher_is} |"
        for metric in METRICS
    ]
    return _PAGE + "\n".join([*head, *rows]) + "\n"


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", "[^/]+"))


_PAGE = """# Metrics

Every figure that a run writes to `metrics.jsonl`, `timings.jsonl` (`time/*`) and TensorBoard.
A `*` stands for one part of a name: a reward component, a policy, an action.
This page is made from `METRICS` in `strategy_rl/logger/metrics.py`; a test compares them.

"""
