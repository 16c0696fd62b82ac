"""The policy that PPO may not stray from: as SFT left it, frozen."""

from __future__ import annotations

import copy

from torch import Tensor

from strategy_rl.errors import DivergenceError
from strategy_rl.policy.observations import ObservationBatch
from strategy_rl.policy.policy import Policy
from strategy_rl.rollout import DecisionRollout

KL_TOLERANCE = 1e-5


class Reference:
    """The policy as SFT left it, frozen; texts and frozen backbone are shared with the live one.

    Attributes:
        left_out: Bool, (actions,): what the reference knows nothing of, so that the KL leaves it
            out: special actions that no demonstration takes. None where there are none.
    """

    def __init__(self, policy: Policy, left_out: Tensor | None = None) -> None:
        self.left_out = left_out
        self.network = copy.deepcopy(policy.network).requires_grad_(False)
        self.backbone = policy.backbone_state()

    def stored(self, policy: Policy, rollout: DecisionRollout) -> Tensor:
        """The reference's distributions over a rollout's decisions, (N, width)."""
        return self.stored_for(policy, rollout.batch)

    def stored_for(self, policy: Policy, batch: ObservationBatch) -> Tensor:
        """The same over observations."""
        with policy.lent_to(self.network, self.backbone):
            return policy.evaluate(batch).distribution.stored


def check_reference(policy: Policy, reference: Reference, rollout: DecisionRollout) -> None:
    """Before the first update the policy is the reference.

    Raises:
        DivergenceError: It is not.
    """
    stored = reference.stored(policy, rollout)
    kl = policy.rebuild(rollout.stored).kl(policy.rebuild(stored)).abs().max()
    if float(kl) > KL_TOLERANCE:
        raise DivergenceError(
            f"the KL to the reference starts at {float(kl):.2e}, expected at most {KL_TOLERANCE}: "
            "the reference is not the policy that PPO starts from"
        )
