"""Evaluation, one series a policy, and what is shown of it in words and pictures."""

from __future__ import annotations

from strategy_rl.logger.metric_tables.metric import Metric

EVALUATION: tuple[Metric, ...] = (
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
)

SHOWN: tuple[Metric, ...] = (
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
