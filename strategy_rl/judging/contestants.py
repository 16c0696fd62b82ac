"""Everybody who is judged, by name, made when their turn comes. Plays nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
from torch import Tensor

from strategy_rl.actors import Actor, Choice, ExpertActor, RandomActor, RuleActor, actor_of
from strategy_rl.assembly import World, has_expert_everywhere, resolve_device
from strategy_rl.config import Experiment
from strategy_rl.generation import AnyPolicy, TextPolicy
from strategy_rl.judging.stopping import Maker, StoppingRivals
from strategy_rl.likelihood_rival import load_likelihood_actor
from strategy_rl.policy import Policy
from strategy_rl.policy.spaces import ObservationSpec
from strategy_rl.reference import Reference
from strategy_rl.rivals import CosineActor


@dataclass(frozen=True)
class BestOf:
    """Plays each row `count` times; the judge keeps the episode that earned most."""

    actor: Actor
    count: int

    def act(
        self,
        observations: Sequence[Any],
        infos: Sequence[Mapping[str, Any]],
        rng: np.random.Generator,
    ) -> list[Choice]:
        """One game of it."""
        return self.actor.act(observations, infos, rng)


@dataclass(frozen=True)
class Actors:
    """Everybody who is judged.

    Attributes:
        experiment: Says which rivals are wanted.
        world: The environments.
        policy: Lent to one state after the other.
        states: Its weights after `sft` and after `ppo`.
        untrained: Makes a policy that has learnt nothing.
        train_all_rows: Trains the rival that sees every training row's label.
    """

    experiment: Experiment
    world: World
    policy: AnyPolicy
    states: Mapping[str, Mapping[str, Tensor]]
    untrained: Callable[[], AnyPolicy]
    train_all_rows: Callable[[], AnyPolicy]

    def makers(self) -> dict[str, Maker]:
        """Everybody by name, made when their turn comes; None: there is nothing to compare."""
        found = self._baselines()
        if self.experiment.sft.epochs:
            found |= self._trained("sft")
            found |= (
                self._written() if isinstance(self.policy, TextPolicy) else self._stopping_rules()
            )
        if self.experiment.ppo.iterations:
            found |= self._trained("ppo")
        return found

    def _baselines(self) -> dict[str, Maker]:
        wanted, test = self.experiment.evaluation.rivals, self.world.test
        found: dict[str, Maker] = {}
        writes = isinstance(self.policy, TextPolicy)
        if "random" in wanted and not writes:
            rule = test.heuristics.get("random")
            uniform = RandomActor(test.action_space, len(test.special_actions))
            found["random"] = lambda: RuleActor(rule) if rule else uniform
        if "heuristics" in wanted:
            for name, heuristic in test.heuristics.items():
                if name != "random":
                    found[name] = partial(RuleActor, heuristic)
        if "expert" in wanted and self._may_be_expert(found):
            found["expert"] = ExpertActor
        if "zero_shot" in wanted and writes:
            found["zero_shot"] = lambda: actor_of(self.untrained())
        if isinstance(self.policy, Policy):
            spec = self.policy.spec.observation
            if "cosine" in wanted and spec.max_candidates and spec.num_slots:
                found["cosine"] = lambda: CosineActor(cast(Policy, self.untrained()))
            if self.experiment.evaluation.likelihood_model and spec.max_candidates:
                found["likelihood"] = partial(self._likelihood, spec)
        return found

    def _may_be_expert(self, found: Mapping[str, Maker]) -> bool:
        """Whether the environment's expert is called up; `judge_all` asks whether it acts.

        A heuristic of that name gives way to an expert of all rows alone.
        """
        seed = self.experiment.seed
        return "expert" not in found or has_expert_everywhere(self.world.test, seed)

    def _likelihood(self, spec: ObservationSpec) -> Actor:
        section = self.experiment.evaluation
        assert section.likelihood_model is not None
        device = resolve_device(self.experiment.backbone.device)
        return load_likelihood_actor(
            section.likelihood_model, spec, section.likelihood_score, device
        )

    def _written(self) -> dict[str, Maker]:
        """The best of several responses of SFT, as the judge itself scores them."""
        count = self.experiment.evaluation.best_of
        if "best_of_n" not in self.experiment.evaluation.rivals:
            return {}
        sampled = partial(self._sampled, "sft")
        return {f"sft_best_of_{count}": lambda: BestOf(sampled(), count)}

    def _sampled(self, stage: str) -> Actor:
        """The policy of a stage, drawing; PPO's KL to SFT's is measured on the way."""
        reference = self._reference if stage == "ppo" else None
        return actor_of(self._policy_of(stage), greedy=False, reference=reference)

    def _greedy(self, stage: str) -> Actor:
        """The policy of a stage at its most probable; a writer's KL says little there."""
        is_written = isinstance(self.policy, TextPolicy)
        reference = self._reference if stage == "ppo" and not is_written else None
        return actor_of(self._policy_of(stage), reference=reference)

    def _trained(self, stage: str) -> dict[str, Maker]:
        return {
            stage: partial(self._greedy, stage),
            f"{stage}_sampled": partial(self._sampled, stage),
        }

    @property
    def _reference(self) -> Reference | Mapping[str, Tensor] | None:
        """SFT's policy, to be told beside PPO's; None where there was no SFT."""
        if isinstance(self.policy, TextPolicy):
            start = "backbone."
            sft = self.states["sft"].items()
            return {k.removeprefix(start): v for k, v in sft if k.startswith(start)}
        if not self.experiment.sft.epochs:
            return None
        return Reference(self._sft_policy)

    def _policy_of(self, stage: str) -> AnyPolicy:
        self.policy.load_state(self.states[stage])
        return self.policy

    @property
    def _sft_policy(self) -> Policy:
        return cast(Policy, self._policy_of("sft"))

    def _stopping_rules(self) -> dict[str, Maker]:
        if not self.policy.spec.special_actions:
            return {}
        rivals = StoppingRivals(
            self.experiment, self.world.validation, lambda: self._sft_policy, self.train_all_rows
        )
        return rivals.makers()
