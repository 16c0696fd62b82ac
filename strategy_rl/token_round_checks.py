"""Checks of a round of PPO on tokens, on the user's own model: beside formulas written out slowly.

Made-up episodes have rewards that are known: one ends in its second turn, one is cut off, one ends
at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from strategy_rl.config import Experiment, PPOConfig
from strategy_rl.env import StepResult
from strategy_rl.generation import LocalEngine, Response, TextPolicy
from strategy_rl.ppo import ppo_state
from strategy_rl.rollout import Slot
from strategy_rl.seeding import generator
from strategy_rl.token_rollout import TokenRecord, TokenRollout
from strategy_rl.token_updates import RATIO_TOLERANCE, TokenMethod, TokenReference
from strategy_rl.training import accumulate_gradients, set_learning_rates
from strategy_rl.updates import Coefficients

HALF_TOLERANCE = 0.2  # of a log-probability where states are bfloat16
GRADIENT_TOLERANCE = 1e-3  # of its size
HALF_GRADIENT_TOLERANCE = 0.1
VALUE_TOLERANCE = 1e-3
DRAWS = 256
FOLLOWING = "What comes next?"  # what the episode that is cut off shows last
PENALTY = 0.75  # for a response without an end
KL_COEF = 0.5

Check = Callable[[], str | None]


class Turn(NamedTuple):
    """What an environment answered to one response."""

    column: int
    reward: float
    terminated: bool
    truncated: bool


PLAYED = (
    Turn(0, 0.5, terminated=False, truncated=False),
    Turn(1, -1.0, terminated=False, truncated=True),
    Turn(2, 2.0, terminated=True, truncated=False),
    Turn(0, 0.25, terminated=True, truncated=False),
)


def round_checks(
    policy: TextPolicy, responses: Sequence[Response], experiment: Experiment
) -> dict[str, Check]:
    """What must hold of a round; by name, each gives its fault or None.

    Args:
        policy: Left as it was by every check.
        responses: Written by the policy; the first four are used, in turn where there are fewer.
        experiment: Whose `ppo` section is tried.
    """
    count = len(responses)
    played = _Round(policy, [responses[i % count] for i in range(len(PLAYED))], experiment)
    return {
        "tokens are drawn as often as they are probable": played.draws,
        "rewards belong to the last token of a response": played.rewards,
        "an episode that is cut off is followed by a value": played.cut,
        "advantages are those of the formula": played.advantages,
        "the cut into micro-batches changes no gradient": played.micro_batches,
        "the gradient of an update is that of the formula": played.gradient,
        "the penalty is the KL to the reference": played.penalty,
        "updates leave the reference alone": played.reference,
        "a restored state goes on at its learning rate": played.learning_rate,
    }


def tolerance_of(policy: TextPolicy) -> float:
    """How far log-probabilities may move by the order of sums alone."""
    return RATIO_TOLERANCE if policy.model.is_exact else HALF_TOLERANCE


def gradient_tolerance_of(policy: TextPolicy) -> float:
    """The same of gradients, as a share of their size."""
    return HALF_GRADIENT_TOLERANCE if policy.model.is_half else GRADIENT_TOLERANCE


@dataclass(frozen=True)
class _Round:
    """Four responses and what is made of them."""

    policy: TextPolicy
    responses: list[Response]
    experiment: Experiment

    def rollout(self) -> TokenRollout:
        """As the collector would leave it."""
        record, slots = TokenRecord(responses=list(self.responses)), dict[int, Slot]()
        for turn in PLAYED:
            slot = slots.setdefault(turn.column, Slot(FOLLOWING, {}, turn.column))
            record.observe(slot, StepResult(FOLLOWING, *turn[1:], {}))
        rollout = record.finish(self.policy)
        assert isinstance(rollout, TokenRollout)
        return rollout

    def method(self, **options: Any) -> TokenMethod:
        """Of one optimizer step, without a reference unless it is given."""
        given = {"reference": None, "minibatch_size": len(self.responses), **options}
        return TokenMethod(self.policy, **given)

    @property
    def places(self) -> list[range]:
        """Where the tokens of each response are."""
        ends = np.cumsum([0, *(len(r.response) for r in self.responses)]).tolist()
        return [range(*pair) for pair in pairwise(ends)]

    @property
    def paid(self) -> list[float]:
        """What each token should be paid: the last of a response all of it."""
        paid = [0.0] * self.places[-1].stop
        for place, turn in zip(self.places, PLAYED, strict=True):
            paid[place[-1]] = turn.reward
        return paid

    def draws(self) -> str | None:
        """Evenly spread draws give each token its share, to one draw."""
        engine, prompt = self.policy.engine, self.responses[0].prompt
        if not isinstance(engine, LocalEngine):
            return None  # corrected by importance weights
        spread = (np.arange(DRAWS)[:, None] + 0.5) / DRAWS
        drawn = replace(engine, max_new_tokens=1).generate([prompt] * DRAWS, spread)
        counts = Counter(response.response[0] for response in drawn)
        firsts = list({response.response[0]: response for response in drawn}.values())
        expected = self.policy.evaluate(firsts).logprobs.exp().tolist()
        for response, share in zip(firsts, expected, strict=True):
            found = counts[response.response[0]] / DRAWS
            if abs(found - share) > 1.01 / DRAWS + tolerance_of(self.policy) * share:
                token = response.response[0]
                return (
                    f"token {token} of probability {share:.3f} was drawn at a rate of {found:.3f}"
                )
        return None

    def rewards(self) -> str | None:
        """That of the environment, and the penalty for a missing end."""
        judged, _ = self.method(missing_end_penalty=PENALTY).judge(self.rollout(), 0.0)
        expected = self.paid
        for place, response in zip(self.places, self.responses, strict=True):
            expected[place[-1]] -= 0.0 if response.ended else PENALTY
        off = _largest(judged.rewards - torch.tensor(expected, device=judged.rewards.device))
        return None if off <= VALUE_TOLERANCE else f"rewards differ by {off:.2e}"

    def cut(self) -> str | None:
        """The value of what the environment showed last."""
        rollout, policy = self.rollout(), self.policy
        number = next(i for i, turn in enumerate(PLAYED) if turn.truncated)
        last = self.places[number][-1]
        value = float(policy.first_values(policy.encode([FOLLOWING])))
        found = float(rollout.next_values[last])
        if bool(rollout.terminations[last]) or not bool(rollout.truncations[last]):
            return "it counts as one that ended by itself"
        limit = VALUE_TOLERANCE if not policy.model.is_half else HALF_TOLERANCE
        return None if abs(found - value) <= limit else f"by {found:.4f}, expected {value:.4f}"

    def advantages(self) -> str | None:
        """Beside the definition's own sums."""
        rollout, config = self.rollout(), self.experiment.ppo
        found, returns = rollout.advantages(config.gamma, config.gae_lambda)
        slow = self._slow_advantages(rollout, config.gamma, config.gae_lambda)
        expected = torch.tensor(slow, device=found.device)
        limit = VALUE_TOLERANCE if not self.policy.model.is_half else HALF_TOLERANCE
        off = max(_largest(found - expected), _largest(returns - expected - rollout.values))
        return None if off <= limit else f"advantages or returns differ by {off:.2e}"

    def _slow_advantages(self, rollout: TokenRollout, gamma: float, lam: float) -> list[float]:
        """Schulman et al. 2016, equation 16: every later error of the same episode, discounted."""
        policy, values, paid = self.policy, rollout.values.tolist(), self.paid
        final = float(policy.first_values(policy.encode([FOLLOWING])))
        found = [0.0] * len(paid)
        for column in {turn.column for turn in PLAYED}:
            turns = [i for i, turn in enumerate(PLAYED) if turn.column == column]
            tokens = [token for i in turns for token in self.places[i]]
            after = final if PLAYED[turns[-1]].truncated else 0.0
            following = [*(values[token] for token in tokens[1:]), after]
            for first, start in enumerate(tokens):
                for later, token in enumerate(tokens[first:], start=first):
                    error = paid[token] + gamma * following[later] - values[token]
                    found[start] += (gamma * lam) ** (later - first) * error
        return found

    def gradient(self) -> str | None:
        """Of the clipped surrogate and the value's error, in two optimizer steps."""
        found = self._gradients_of_update(len(PLAYED) // 2, micro_tokens=1)
        expected = self._gradients_of_formula(len(PLAYED) // 2)
        size = max(float(torch.stack(expected).norm()), 1e-12)
        off = min(  # which of the two comes first is drawn
            float((torch.stack(found) - torch.stack(order)).norm()) / size
            for order in (expected, expected[::-1])
        )
        return self._gradient_fault(off)

    def micro_batches(self) -> str | None:
        """All responses read at once, and each by itself."""
        together, apart = (
            self._gradients_of_update(len(PLAYED), micro_tokens)[0] for micro_tokens in (10**9, 1)
        )
        size = max(float(together.norm()), 1e-12)
        return self._gradient_fault(float((together - apart).norm()) / size)

    def _gradient_fault(self, off: float) -> str | None:
        if off <= gradient_tolerance_of(self.policy):
            return None
        return f"gradients differ by {off:.2e} of their size"

    def _judged(self) -> _Judged:
        rollout, _ = self.method().judge(self.rollout(), 0.0)
        config = self.experiment.ppo
        return _Judged(rollout, *rollout.advantages(config.gamma, config.gae_lambda))

    def _gradients_of_update(self, minibatch_size: int, micro_tokens: int) -> list[Tensor]:
        optimizer = _Recorder(list(self.policy.parameters()))
        sizes = {"minibatch_size": minibatch_size, "micro_batch_tokens": micro_tokens}
        self._update(optimizer, self.method(**sizes), max_grad_norm=1e30)
        return optimizer.gradients

    def _gradients_of_formula(self, minibatch_size: int) -> list[Tensor]:
        policy, config = self.policy, self.experiment.ppo
        rollout, advantages, returns = self._judged()
        if config.normalize_advantages:
            advantages = (advantages - advantages.mean()) / advantages.std(unbiased=False)
        advantages = advantages * rollout.weights
        parameters, found = list(policy.parameters()), []
        pairs = list(zip(self.places, self.responses, strict=True))

        def summed(place: range, response: Response) -> Tensor:
            output, tokens = policy.read([response]), slice(place.start, place.stop)
            ratio = (output.logprobs - rollout.logprobs[tokens]).exp()
            errors = (output.values - returns[tokens]).square()
            return (config.vf_coef * errors / 2 - ratio * advantages[tokens]).sum()

        for first in range(0, len(pairs), minibatch_size):
            step = pairs[first : first + minibatch_size]
            total = sum(len(place) for place, _ in step)
            accumulate_gradients(parameters, (summed(*pair) / total for pair in step))
            found.append(take_gradients(parameters))
        return found

    def _update(
        self, optimizer: torch.optim.Optimizer, method: TokenMethod, **changes: Any
    ) -> None:
        """One epoch."""
        changes = {"epochs": 1, "target_kl": None, "value_clip_range": None, **changes}
        config: PPOConfig = self.experiment.ppo.model_copy(update=changes)
        coefficients = Coefficients(0.2, 0.0, 0.0, warming_up=False)
        rng = generator(0, "self-check-round")
        method.update(*self._judged(), optimizer, config, coefficients, rng)

    def penalty(self) -> str | None:
        """`kl_coef` times the log-ratio to a reference that is somewhere else."""
        policy, rollout = self.policy, self.method().judge(self.rollout(), 0.0)[0]
        reference, state = TokenReference(policy), policy.state()
        for size in (0.01, 0.1, 1.0):
            reference.weights = _moved(policy.backbone_state(), size)
            elsewhere = {f"backbone.{name}": w for name, w in reference.weights.items()}
            policy.load_state(state | elsewhere)
            theirs = policy.evaluate(self.responses).logprobs
            policy.load_state(state)
            ratios = rollout.logprobs - theirs
            if _largest(ratios) > 10 * tolerance_of(policy):
                break
        else:
            return "other weights say the same of every token"
        judged, _ = self.method(reference=reference).judge(rollout, KL_COEF)
        off = _largest(judged.rewards - (rollout.rewards - KL_COEF * ratios))
        return None if off <= tolerance_of(policy) else f"it is off by {off:.2e} a token"

    def reference(self) -> str | None:
        """Its weights before and after an update that moves the policy's."""
        policy, state = self.policy, self.policy.state()
        reference = TokenReference(policy)
        before = {name: weight.clone() for name, weight in reference.weights.items()}
        optimizer = torch.optim.SGD(list(policy.parameters()), lr=1.0)
        self._update(optimizer, self.method())
        still = all(w.equal(state[f"backbone.{n}"]) for n, w in policy.backbone_state().items())
        moved = [name for name, w in reference.weights.items() if not w.equal(before[name])]
        policy.load_state(state)
        if still:
            return "an update moved no weight of the policy"
        return f"these moved with the policy: {', '.join(moved[:5])}" if moved else None

    def learning_rate(self) -> str | None:
        """Half way through a schedule, after a checkpoint of its first quarter was put back."""
        config, rate = self.experiment.ppo, self.experiment.backbone.learning_rate
        saved, restored, wanted = (ppo_state(self.policy, config, rate) for _ in range(3))
        set_learning_rates(saved.optimizer, 0.75)
        restored.load(saved.tensors(), saved.counters)
        for state in (restored, wanted):
            set_learning_rates(state.optimizer, 0.5)
        found, expected = (
            [group["lr"] for group in state.optimizer.param_groups] for state in (restored, wanted)
        )
        return None if found == expected else f"at {found}, expected {expected}"


class _Judged(NamedTuple):
    """A rollout with its advantages and returns."""

    rollout: TokenRollout
    advantages: Tensor
    returns: Tensor


class _Recorder(torch.optim.SGD):
    """Takes no step and keeps the gradients that it was given, each flat."""

    def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
        super().__init__(parameters)
        self.gradients: list[Tensor] = []

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Keep them."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        self.gradients.append(take_gradients(parameters))


def take_gradients(parameters: Sequence[torch.nn.Parameter]) -> Tensor:
    """All gradients in one vector, 0 where there is none; they are gone afterwards."""
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    for parameter in parameters:
        parameter.grad = None
    return torch.cat([grad.flatten() for grad in grads])


def _moved(weights: Mapping[str, Tensor], size: float) -> dict[str, Tensor]:
    """Each weight plus noise, a share `size` of how they spread and a little more."""
    rng = torch.Generator().manual_seed(0)
    moved = {}
    for name, weight in weights.items():
        noise = torch.randn(weight.shape, generator=rng).to(weight.device, weight.dtype)
        spread = float(weight.std(unbiased=False)) + 0.01
        moved[name] = weight + size * spread * noise
    return moved


def _largest(differences: Tensor) -> float:
    return float(differences.abs().max())
