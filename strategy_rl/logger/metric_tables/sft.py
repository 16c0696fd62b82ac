"""Supervised fine-tuning, once an epoch; its step is the number of updates."""

from __future__ import annotations

from strategy_rl.logger.metric_tables.metric import Metric

SFT: tuple[Metric, ...] = (
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
)
