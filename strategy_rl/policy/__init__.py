"""The policy network: spaces to specifications, observations to tensors, tensors to decisions."""

from strategy_rl.policy.observations import ObservationBatch
from strategy_rl.policy.policy import BackboneSource, Decision, Policy, PolicySpec

__all__ = ["BackboneSource", "Decision", "ObservationBatch", "Policy", "PolicySpec"]
