"""The losses of SFT and PPO. Pure functions of tensors, of shape (batch,) unless said.

Masked slots are left out by selection, never by multiplication: 0 * NaN is NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

LOG_RATIO_LIMIT = 20.0  # exp(20) is still finite in float32


class Loss(NamedTuple):
    """A scalar to minimise, and detached scalars to log."""

    loss: Tensor
    metrics: dict[str, Tensor]


def ppo_loss(  # noqa: PLR0913 - the terms of the equation, by name only
    *,
    new_logprobs: Tensor,
    logprobs: Tensor,
    advantages: Tensor,
    new_values: Tensor,
    values: Tensor,
    returns: Tensor,
    entropy: Tensor,
    clip_range: float,
    value_clip_range: float | None = None,
    vf_coef: float = 0.5,
    entropy_coef: float = 0.0,
    ref_kl: Tensor | None = None,
    kl_coef: float = 0.0,
    valid: Tensor | None = None,
    total_valid: int | None = None,
) -> Loss:
    """The clipped surrogate of PPO (Schulman et al. 2017) with value, entropy and reference terms.

    Sums run over valid decisions and are divided by `total_valid`, the number of valid decisions
    of the whole optimizer step, so that gradient accumulation does not change the gradient.

    Args:
        new_logprobs: log pi(a|s) under the parameters being trained.
        logprobs: The same at rollout time.
        advantages: Already normalised, if at all.
        new_values: V(s) under the parameters being trained.
        values: V(s) at rollout time, used where the value is clipped.
        returns: Targets of the value.
        entropy: Entropy of pi(.|s).
        clip_range: Half width of the trust interval of the ratio.
        value_clip_range: In units of the returns; None leaves the value unclipped.
        vf_coef: Weight of the value loss, 1/2 mean squared error.
        entropy_coef: Weight of the entropy bonus.
        ref_kl: Exact KL(pi || reference) of each decision, differentiable.
        kl_coef: Weight of that penalty.
        valid: Bool; None means all.
        total_valid: None means the valid decisions given here.

    Returns:
        The loss and its parts; `approx_kl` is the k3 estimator (Schulman 2020).
    """

    def select(x: Tensor) -> Tensor:
        return x if valid is None else x[valid]

    new_logprobs, logprobs, advantages = map(select, (new_logprobs, logprobs, advantages))
    new_values, values, returns, entropy = map(select, (new_values, values, returns, entropy))
    count = total_valid or max(new_logprobs.numel(), 1)

    def average(x: Tensor) -> Tensor:
        return x.mean() if x.numel() == count else x.sum() / count

    logratio = (new_logprobs - logprobs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    ratio = logratio.exp()
    clipped_ratio = ratio.clamp(1 - clip_range, 1 + clip_range)
    policy_loss = -average(torch.minimum(ratio * advantages, clipped_ratio * advantages))

    squared_error = functional.mse_loss(new_values, returns, reduction="none")
    if value_clip_range is not None:
        clipped = values + (new_values - values).clamp(-value_clip_range, value_clip_range)
        squared_error = torch.maximum(squared_error, (clipped - returns).square())
    value_loss = 0.5 * average(squared_error)

    entropy_mean = average(entropy)
    loss = policy_loss + vf_coef * value_loss - entropy_coef * entropy_mean
    metrics = {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy_mean}
    with torch.no_grad():
        off = ratio - 1
        metrics["approx_kl"] = average(off - logratio)
        metrics["clip_fraction"] = (off.abs() > clip_range).sum() / count
        if ratio.numel():
            metrics["ratio_min"], metrics["ratio_max"] = ratio.aminmax()
    if ref_kl is not None:
        metrics["ref_kl"] = average(select(ref_kl))
        metrics["kl_loss"] = kl_coef * metrics["ref_kl"]
        loss = loss + metrics["kl_loss"]
    metrics["loss"] = loss
    return Loss(loss, {name: value.detach() for name, value in metrics.items()})


def sft_loss(
    *,
    logprobs: Tensor,
    matches: Tensor,
    contrastive_logits: Tensor | None = None,
    contrastive_coef: float = 0.0,
    valid: Tensor | None = None,
) -> Loss:
    """Cross-entropy on the expert's actions, with an optional in-batch contrastive term.

    Args:
        logprobs: log pi(expert action|s).
        matches: Bool, whether the most probable action is the expert's.
        contrastive_logits: Shape (batch, batch): context i against the expert's candidate of j;
            the diagonal is right (InfoNCE, van den Oord et al. 2018).
        contrastive_coef: Its weight.
        valid: Bool; None means all.
    """
    if valid is not None:
        logprobs, matches = logprobs[valid], matches[valid]
    loss = -logprobs.mean()
    metrics = {"loss": loss, "accuracy": matches.to(logprobs.dtype).mean()}
    if contrastive_logits is not None:
        targets = torch.arange(len(contrastive_logits), device=contrastive_logits.device)
        metrics["contrastive_loss"] = functional.cross_entropy(contrastive_logits, targets)
        loss = loss + contrastive_coef * metrics["contrastive_loss"]
    return Loss(loss, {name: value.detach() for name, value in metrics.items()})


def normalize(x: Tensor, valid: Tensor | None = None) -> Tensor:
    """Shift and scale to mean 0 and standard deviation 1 over the valid slots; 0 elsewhere.

    Left as it is where fewer than two slots are valid or all are (nearly) equal.
    """
    chosen = x if valid is None else x[valid]
    if chosen.numel() >= 2:
        std = chosen.std(unbiased=False)
        if std > 1e-8:
            x = (x - chosen.mean()) / (std + 1e-8)
    return x if valid is None else torch.where(valid, x, torch.zeros_like(x))


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns); 1 is perfect, 0 no better than the mean."""
    variance = returns.var(unbiased=False)
    if variance < 1e-12:
        return 0.0
    return float(1 - (returns - values).var(unbiased=False) / variance)


def kl_estimators(logprobs: Tensor, ref_logprobs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """k1, k2 and k3 of KL(policy || reference) for samples of the policy (Schulman 2020)."""
    k1 = logprobs - ref_logprobs
    return k1, k1.square() / 2, torch.expm1(-k1) + k1


def adapt_kl_coef(kl_coef: float, *, kl: float, target: float, count: int, horizon: int) -> float:
    """The proportional controller of Ziegler et al. 2019, section 2.2."""
    error = min(max(kl / target - 1, -0.2), 0.2)
    return kl_coef * (1 + error * count / horizon)
