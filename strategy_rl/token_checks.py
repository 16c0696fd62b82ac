"""Checks on the user's own writing model, before any training: mistakes that no curve shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from strategy_rl.config import Experiment
from strategy_rl.generation import Response, TextPolicy
from strategy_rl.generation.engine import head_of
from strategy_rl.ppo import ppo_state
from strategy_rl.seeding import generator
from strategy_rl.token_rollout import TokenRollout
from strategy_rl.token_round_checks import (
    HALF_TOLERANCE,
    gradient_tolerance_of,
    round_checks,
    take_gradients,
    tolerance_of,
)
from strategy_rl.token_updates import (
    RATIO_TOLERANCE,
    TokenMethod,
    TokenReference,
    check_repeatable,
    check_token_reference,
)
from strategy_rl.training import accumulate_gradients, set_learning_rates
from strategy_rl.updates import Coefficients

Check = Callable[[], str | None]


def token_checks(
    policy: TextPolicy, rollout: TokenRollout, experiment: Experiment
) -> dict[str, Check]:
    """What must hold for a policy that writes; by name, each gives its fault or None.

    They are in such an order that the first that fails says what is wrong. The value head is
    stirred: a fresh one says 0 of everything, which would hide faults.
    """
    _stir(policy)
    return {
        "reading twice gives the same": lambda: _twice(policy, rollout),
        "padding changes nothing": lambda: _padding(policy, rollout),
        "log-probabilities are the network's own": lambda: _own_scores(policy, rollout),
        "tokens are read as they were written": lambda: _as_written(policy, rollout),
        "what frozen blocks said once is what they say": lambda: _trunk(policy, rollout),
        "only the chosen tokens are trained": lambda: _only_responses(policy, rollout),
        **round_checks(policy, rollout.responses, experiment),
        "the KL to the reference starts at 0": lambda: _reference(policy, rollout),
        "learning rate 0 changes nothing": lambda: _no_learning_rate(policy, rollout, experiment),
    }


@torch.no_grad()
def _stir(policy: TextPolicy) -> None:
    rng = torch.Generator().manual_seed(0)
    for parameter in policy.network.parameters():
        noise = torch.randn(parameter.shape, generator=rng)
        parameter.add_(0.1 * noise.to(parameter.device))


def _twice(policy: TextPolicy, rollout: TokenRollout) -> str | None:
    check_repeatable(policy, rollout.responses)
    return None


@torch.no_grad()
def _padding(policy: TextPolicy, rollout: TokenRollout) -> str | None:
    """The same prompt beside none, one and seven more tokens of padding."""
    prompt = list(rollout.responses[0].prompt)
    alone = _first_logprobs(policy, [prompt])
    for pads in (1, 7):
        longer = prompt + prompt[:1] * pads
        off = float((alone - _first_logprobs(policy, [prompt, longer])).abs().max())
        if off > (HALF_TOLERANCE if policy.model.is_half else RATIO_TOLERANCE):
            return f"log-probabilities move by {off:.2e} beside {pads} of padding"
    return None


def _first_logprobs(policy: TextPolicy, prompts: list[list[int]]) -> Tensor:
    """Of every first token after the first prompt, (V,); those of no weight are left out.

    Of bfloat16 states these are more: among tens of thousands some are off by more than the rest.
    """
    logits = head_of(policy.model).logits(policy.model.begin(prompts).hidden[:1])[0]
    return logits.log_softmax(-1).clamp(min=-7.0 if policy.model.is_half else -20.0)


def _as_written(policy: TextPolicy, rollout: TokenRollout) -> str | None:
    if not all(response.exact for response in rollout.responses):
        return None  # read again before every round, and corrected by importance weights
    off = float((policy.evaluate(rollout.responses).logprobs - rollout.logprobs).abs().max())
    return None if off <= RATIO_TOLERANCE else f"log-probabilities move by {off:.2e}"


@torch.no_grad()
def _own_scores(policy: TextPolicy, rollout: TokenRollout) -> str | None:
    """Beside the network's whole scores: of the right place, at the right temperature."""
    for response in rollout.responses[:4]:
        ours = policy.evaluate([replace(response, kept=None)]).logprobs
        scores = policy.model.scores(response) / policy.spec.sampling.temperature
        tokens = torch.tensor(list(response.response), device=scores.device)
        theirs = scores.log_softmax(-1).gather(1, tokens[:, None]).squeeze(1)
        off = float((ours - theirs).abs().max())
        if off > max(tolerance_of(policy), HALF_TOLERANCE if policy.model.is_half else 0.0):
            return f"they differ by {off:.2e} from those of the network itself"
    return None


def _trunk(policy: TextPolicy, rollout: TokenRollout) -> str | None:
    if not policy.model.reuses_trunk:
        return None
    whole = [replace(response, trunk=None, encoded=None) for response in rollout.responses]
    off = float(
        (policy.evaluate(whole).logprobs - policy.evaluate(rollout.responses).logprobs).abs().max()
    )
    limit = HALF_TOLERANCE if policy.model.is_half else RATIO_TOLERANCE
    return None if off <= limit else f"log-probabilities move by {off:.2e}"


def _only_responses(policy: TextPolicy, rollout: TokenRollout) -> str | None:
    """The gradient of a batch is that of its responses one by one: none comes from padding."""
    responses = sorted(rollout.responses, key=lambda r: len(r.response))
    pair = [responses[0], responses[-1]]
    together = _gradient(policy, [pair])
    apart = _gradient(policy, [[response] for response in pair])
    off = float((together - apart).norm()) / max(float(apart.norm()), 1e-12)
    limit = gradient_tolerance_of(policy)
    return None if off <= limit else f"gradients differ by {off:.2e} of their size"


def _gradient(policy: TextPolicy, batches: list[list[Response]]) -> Tensor:
    parameters = policy.model.trainable_parameters()
    accumulate_gradients(parameters, (policy.read(batch).logprobs.sum() for batch in batches))
    return take_gradients(parameters)


def _reference(policy: TextPolicy, rollout: TokenRollout) -> str | None:
    check_token_reference(policy, TokenReference(policy), rollout.responses)
    return None


def _no_learning_rate(
    policy: TextPolicy, rollout: TokenRollout, experiment: Experiment
) -> str | None:
    before, config = policy.state(), experiment.ppo
    state = ppo_state(policy, config, experiment.backbone.learning_rate)
    set_learning_rates(state.optimizer, 0.0)
    method = TokenMethod(policy, None, config.minibatch_size)
    rollout, _ = method.judge(rollout, 0.0)
    advantages, returns = rollout.advantages(config.gamma, config.gae_lambda)
    coefficients = Coefficients(0.2, 0.0, 0.0, False)
    rng = generator(0, "self-check-updates")
    method.update(rollout, advantages, returns, state.optimizer, config, coefficients, rng)
    moved = [name for name, tensor in policy.state().items() if not tensor.equal(before[name])]
    return f"these weights moved: {', '.join(moved[:5])}" if moved else None
