"""PPO where a decision is a token: the reference in the reward, updates over micro-batches.

Minibatches are runs of consecutive responses, the same in every epoch and in the readings before
the first, so that in bfloat16 too the ratio starts at exactly 1; episodes come in random order, so
nothing is lost by that. Every sum over tokens is divided by the tokens of the whole optimizer
step: how a step is cut into micro-batches does not change its gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from strategy_rl.actors import Choice, responses_told
from strategy_rl.config import PPOConfig
from strategy_rl.errors import DivergenceError
from strategy_rl.generation import Response, TextPolicy, TokenOutput
from strategy_rl.generation.micro_batches import cut_by_tokens
from strategy_rl.losses import Loss, kl_estimators, normalize, ppo_loss
from strategy_rl.token_rollout import TokenRollout
from strategy_rl.training import accumulate_gradients, step_optimizer
from strategy_rl.updates import Coefficients, summarize

RATIO_TOLERANCE = 1e-3  # token by token with a cache, or all at once: other sums in float32
KL_TOLERANCE = 1e-5
MAX_WEIGHT = 2.0  # of truncated importance weights


class TokenReference:
    """The weights that learn as SFT left them; all others are shared with the live policy."""

    def __init__(self, policy: TextPolicy) -> None:
        self.weights = policy.backbone_state()

    def logprobs(self, policy: TextPolicy, read: Callable[[], TokenOutput]) -> Tensor:
        """What the reference says of tokens, (N,).

        Args:
            policy: Lends its model.
            read: Reads them with the policy as it then is.
        """
        with policy.lent_to(self.weights):
            return read().logprobs


@dataclass(frozen=True)
class TokenMethod:
    """How tokens are judged by the reference and learnt from.

    Attributes:
        policy: Trained in place.
        reference: The policy that SFT left, or None without a KL penalty.
        minibatch_size: Responses of one optimizer step.
        micro_batch_tokens: The most padded tokens of one forward and backward pass.
        missing_end_penalty: Taken off a response that did not end by itself.
    """

    policy: TextPolicy
    reference: TokenReference | None
    minibatch_size: int
    micro_batch_tokens: int = 4096
    missing_end_penalty: float = 0.0

    def judge(self, rollout: TokenRollout, kl_coef: float) -> tuple[TokenRollout, dict[str, float]]:
        """Take `kl_coef` times the log-ratio to the reference off each token's reward (k1).

        In the reward, k1 has the right gradient; k3 is logged, for it is never negative.
        """
        _check_places(rollout)
        rollout, metrics = self._as_trained(rollout)
        rewards = rollout.rewards.clone()
        unended = torch.tensor([not r.ended for r in rollout.responses], device=rewards.device)
        rewards[rollout.last_tokens[unended]] -= self.missing_end_penalty
        if self.reference is not None:
            ref_logprobs = self.reference.logprobs(self.policy, lambda: self._read(rollout))
            k1, _, k3 = kl_estimators(rollout.logprobs, ref_logprobs)
            rewards -= kl_coef * k1
            episodes = max(len(rollout.episode_returns), 1)
            metrics |= {
                "ref_kl": float(k1.mean()),
                "ref_kl_k3": float(k3.mean()),
                "ref_kl_episode": float(k1.sum()) / episodes,
                "kl_penalty": float(kl_coef * k1.sum()) / episodes,
            }
            rollout = replace(rollout, ref_logprobs=ref_logprobs)
        return replace(rollout, rewards=rewards), metrics

    def _as_trained(self, rollout: TokenRollout) -> tuple[TokenRollout, dict[str, float]]:
        """Log-probabilities as training sees them, where the engine's are not.

        What the two differ by is corrected by importance weights, cut at `MAX_WEIGHT`.
        """
        if all(response.exact for response in rollout.responses):
            return rollout, {}
        logprobs = self._read(rollout).logprobs
        mismatch = logprobs - rollout.logprobs
        weights = mismatch.clamp(max=20.0).exp().clamp(max=MAX_WEIGHT)
        metrics = {
            "sampler_mismatch_mean": float(mismatch.abs().mean()),
            "sampler_mismatch_p95": float(mismatch.abs().float().quantile(0.95)),
            "sampler_weight_mean": float(weights.mean()),
        }
        return replace(rollout, logprobs=logprobs, weights=weights), metrics

    @torch.no_grad()
    def _read(self, rollout: TokenRollout) -> TokenOutput:
        """The policy as it is on a whole rollout, in the micro-batches of the updates."""
        size = len(rollout)
        columns = [torch.empty(size, device=self.policy.device) for _ in range(3)]
        for minibatch in self.minibatches(rollout):
            for part in minibatch:
                for column, spoken in zip(columns, self.policy.read(part.responses), strict=True):
                    column[part.tokens] = spoken
        return TokenOutput(*columns)

    def minibatches(self, rollout: TokenRollout) -> list[list[MicroBatch]]:
        """The responses of each optimizer step, cut into micro-batches of like length."""
        lengths = [len(response.response) for response in rollout.responses]
        starts = np.cumsum([0, *lengths])
        found = []
        for first in range(0, len(lengths), self.minibatch_size):
            numbers = range(first, min(first + self.minibatch_size, len(lengths)))
            cut = cut_by_tokens(rollout.responses, numbers, self.micro_batch_tokens)
            found.append([self._micro_batch(rollout, part, starts) for part in cut])
        return found

    def _micro_batch(
        self, rollout: TokenRollout, numbers: Sequence[int], starts: np.ndarray
    ) -> MicroBatch:
        tokens = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in numbers])
        responses = [rollout.responses[i] for i in numbers]
        return MicroBatch(responses, torch.from_numpy(tokens).to(self.policy.device))

    def update(
        self,
        rollout: TokenRollout,
        advantages: Tensor,
        returns: Tensor,
        optimizer: torch.optim.Optimizer,
        config: PPOConfig,
        coefficients: Coefficients,
        rng: np.random.Generator,
    ) -> dict[str, float]:
        """Every response once an epoch, until the KL to the rollout's policy is too large."""
        if config.normalize_advantages:
            advantages = normalize(advantages)  # over all tokens of the round
        advantages = advantages * rollout.weights
        work = _Work(self.policy, rollout, advantages, returns, config, coefficients)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        minibatches = self.minibatches(rollout)
        history: list[dict[str, Tensor]] = []
        stopped = False
        for number in _order(rng, config.epochs, len(minibatches)):
            parts: list[dict[str, Tensor]] = []
            total = accumulate_gradients(parameters, work.losses(minibatches[number], parts))
            metrics = _together(parts)
            if not history:
                _check_start(metrics)
            kl = float(metrics["approx_kl"])
            if config.target_kl is not None and kl > 1.5 * config.target_kl:
                stopped = True
                break
            norm = step_optimizer(optimizer, parameters, total, config.max_grad_norm, "PPO")
            history.append(metrics | {"grad_norm": norm})
        for parameter in parameters:
            parameter.grad = None
        return summarize(history) | {
            "updates_done": len(history),
            "updates_planned": config.epochs * len(minibatches),
            "early_stopped": float(stopped),
        }

    def told(self, rollout: TokenRollout, advantages: Tensor | None) -> list[Choice]:
        """One choice a response, with all its tokens."""
        return responses_told(
            self.policy,
            rollout.responses,
            rollout.logprobs,
            rollout.values,
            rollout.ref_logprobs,
            advantages,
        )


@dataclass(frozen=True)
class MicroBatch:
    """Responses of one forward pass, and the places of their tokens in the rollout."""

    responses: list[Response]
    tokens: Tensor


@dataclass(frozen=True)
class _Work:
    """The losses of one round."""

    policy: TextPolicy
    rollout: TokenRollout
    advantages: Tensor
    returns: Tensor
    config: PPOConfig
    coefficients: Coefficients

    def losses(
        self, minibatch: Sequence[MicroBatch], parts: list[dict[str, Tensor]]
    ) -> Iterator[Tensor]:
        """The loss of each micro-batch; what there is to log goes into `parts`."""
        total = sum(len(part.tokens) for part in minibatch)
        for part in minibatch:
            loss, metrics = self.loss(part, total)
            parts.append(metrics)
            yield loss

    def loss(self, part: MicroBatch, total: int) -> Loss:
        """A micro-batch's share of the loss of an optimizer step of `total` tokens."""
        coefficients, config, tokens = self.coefficients, self.config, part.tokens
        output = self.policy.read(
            part.responses,
            entropy_gradient=coefficients.entropy_coef > 0,
            critic_only=coefficients.warming_up,
        )
        loss, metrics = ppo_loss(
            new_logprobs=output.logprobs,
            logprobs=self.rollout.logprobs[tokens],
            advantages=self.advantages[tokens],
            new_values=output.values,
            values=self.rollout.values[tokens],
            returns=self.returns[tokens],
            entropy=output.entropy,
            clip_range=coefficients.clip_range,
            value_clip_range=config.value_clip_range,
            vf_coef=config.vf_coef,
            entropy_coef=coefficients.entropy_coef,
            total_valid=total,
        )
        if coefficients.warming_up:
            error = (output.values - self.returns[tokens]).square().sum() / total
            loss = config.vf_coef * 0.5 * error
        return Loss(loss, metrics)


def check_repeatable(policy: TextPolicy, responses: Sequence[Response]) -> Tensor:
    """Reading twice gives the same; gives what was read, (N,).

    Raises:
        DivergenceError: It does not.
    """
    first, second = (policy.evaluate(responses).logprobs for _ in range(2))
    off = float((first - second).abs().max())
    if off > KL_TOLERANCE:
        raise DivergenceError(
            f"the same tokens read twice have log-probabilities {off:.2e} apart, expected at most "
            f"{KL_TOLERANCE}: dropout is on, or something else is random"
        )
    return first


def check_token_reference(
    policy: TextPolicy, reference: TokenReference, responses: Sequence[Response]
) -> None:
    """Before the first update the policy is the reference, and it will stay where it is.

    Raises:
        DivergenceError: It is not, or it would follow the updates.
    """
    shared = [
        name
        for name, parameter in policy.model.trainable().items()
        if parameter.data_ptr() == reference.weights[name].data_ptr()
    ]
    if shared:
        raise DivergenceError(
            f"the reference shares {len(shared)} weights with the policy that learns, expected "
            f"copies: it would follow every update ({shared[0]} is one)"
        )
    ours = check_repeatable(policy, responses)
    theirs = reference.logprobs(policy, lambda: policy.evaluate(responses))
    off = float((ours - theirs).abs().max())
    if off > KL_TOLERANCE:
        raise DivergenceError(
            f"the KL to the reference starts at {off:.2e} a token, expected at most "
            f"{KL_TOLERANCE}: the reference is not the policy that PPO starts from"
        )


def _check_places(rollout: TokenRollout) -> None:
    """Environments answer to whole responses.

    Raises:
        DivergenceError: A reward or an end stands where no response ends.
    """
    inside = torch.ones_like(rollout.terminations)
    inside[rollout.last_tokens] = False
    answered = rollout.terminations | rollout.truncations | (rollout.rewards != 0)
    count = int((answered & inside).sum())
    if count:
        raise DivergenceError(
            f"{count} of {len(rollout)} tokens inside a response have a reward or an end, expected "
            "none: what the environment answers belongs to the last token of a response"
        )


def _check_start(metrics: dict[str, Tensor]) -> None:
    off = max(float(metrics["ratio_max"]) - 1, 1 - float(metrics["ratio_min"]))
    if off > RATIO_TOLERANCE:
        raise DivergenceError(
            f"the ratio of new to old probability starts {off:.2e} away from 1, expected at "
            f"most {RATIO_TOLERANCE}: tokens are not read as they were written (positions beside "
            "padding, dropout, temperature, or another number format)"
        )


def _order(rng: np.random.Generator, epochs: int, count: int) -> Iterator[int]:
    for _ in range(epochs):
        yield from rng.permutation(count).tolist()


def _together(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The figures of an optimizer step from those of its micro-batches: shares of means add up."""
    sums = {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}
    for name, pick in (("ratio_min", torch.min), ("ratio_max", torch.max)):
        sums[name] = pick(torch.stack([part[name] for part in parts]))
    return sums
