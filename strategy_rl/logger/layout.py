"""Which curves share a chart in TensorBoard's Custom Scalars tab, by stage."""

from __future__ import annotations

from typing import Any

# Charts of one category: title -> names, as regular expressions.
_CHARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "1. SFT": {
        "Loss": ("sft/loss", "sft/validation_loss", "sft/contrastive_loss"),
        "Accuracy": ("sft/accuracy", "sft/validation_accuracy"),
        "Validation return": ("sft/validation_return",),
        "Gradient norm": ("sft/grad_norm",),
    },
    "2. PPO: does it get better?": {
        "Return": ("rollout/return_mean", "ppo/validation_return", "ppo/best_validation_return"),
        "Reward components": ("reward/.*",),
        "Special actions": ("rollout/special_action_share/.*", "rollout/max_action_share"),
        "Reward spread": ("rollout/reward_spread_mean", "rollout/return_std"),
    },
    "3. PPO: is it healthy?": {
        "KL of an update, and entropy": ("ppo/approx_kl", "ppo/exact_kl", "ppo/entropy"),
        "KL to the SFT policy": ("ppo/ref_kl", "ppo/kl_loss", "ppo/kl_coef"),
        "Clipping": ("ppo/clip_fraction", "ppo/early_stopped"),
        "Ratios": ("ppo/ratio_min", "ppo/ratio_max"),
        "Value head": ("ppo/explained_variance", "ppo/value_loss"),
        "Gradient norm": ("ppo/grad_norm",),
    },
}
# Policies whose mean return is drawn with its interval.
_POLICIES = ("random", "sft", "ppo", "expert")


def custom_scalars_layout() -> Any:
    """The layout as the tab's own message (`layout_pb2.Layout`)."""
    from tensorboard.plugins.custom_scalar import layout_pb2 as pb

    categories = [
        pb.Category(
            title=title,
            chart=[
                pb.Chart(title=name, multiline=pb.MultilineChartContent(tag=[f"^{t}$" for t in ts]))
                for name, ts in charts.items()
            ],
        )
        for title, charts in _CHARTS.items()
    ]
    margin = pb.MarginChartContent(
        series=[
            pb.MarginChartContent.Series(
                value=f"eval/{policy}/mean_return",
                lower=f"eval/{policy}/ci_low",
                upper=f"eval/{policy}/ci_high",
            )
            for policy in _POLICIES
        ]
    )
    evaluation = pb.Category(
        title="4. Evaluation", chart=[pb.Chart(title="Return with 95% interval", margin=margin)]
    )
    return pb.Layout(category=[*categories, evaluation])
