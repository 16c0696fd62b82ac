"""PPO's update, once an iteration; its step is the number of decisions."""

from __future__ import annotations

from strategy_rl.logger.metric_tables.metric import Metric

PPO: tuple[Metric, ...] = (
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
)

PPO_HISTOGRAMS: tuple[Metric, ...] = (
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
)
