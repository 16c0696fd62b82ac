"""What the sampling policy met, once an iteration: episodes, actions, rewards, texts."""

from __future__ import annotations

from strategy_rl.logger.metric_tables.metric import Metric

ROLLOUT: tuple[Metric, ...] = (
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
)
