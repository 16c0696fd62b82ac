"""A fresh policy for a task's spaces. Knows spaces and the experiment's sections, not training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from strategy_rl.assembly.backbones import backbone_settings, backbone_source, resolve_device
from strategy_rl.backbone import load_language_model
from strategy_rl.config import Experiment
from strategy_rl.env import EnvSlots
from strategy_rl.errors import InputError
from strategy_rl.features import TextTable
from strategy_rl.generation import AnyPolicy, TextPolicy, TextPolicySpec
from strategy_rl.generation.prompts import PromptFormat
from strategy_rl.generation.sampling import Sampling
from strategy_rl.generation.vllm_engine import VLLMEngine
from strategy_rl.models import resolve_model
from strategy_rl.policy import BackboneSource, Policy, PolicySpec
from strategy_rl.policy.network import NetworkSizes
from strategy_rl.policy.pairs import num_pair_features
from strategy_rl.policy.spaces import action_spec, is_text, observation_spec
from strategy_rl.seeding import derive_seed, seed_torch


def make_policy(
    experiment: Experiment, slots: EnvSlots, table: TextTable | None, *purpose: str
) -> AnyPolicy:
    """A fresh policy for a task's spaces, its network seeded by the experiment's seed."""
    if is_text(slots.action_space):
        return make_text_policy(experiment, slots, *purpose)
    return make_decision_policy(experiment, slots, table, *purpose)


def make_text_policy(experiment: Experiment, slots: EnvSlots, *purpose: str) -> TextPolicy:
    """A fresh policy that writes.

    Raises:
        InputError: No model is named, nothing of it would learn, or the sections do not agree.
        ModelError: The model cannot be used.
    """
    _refuse_unwritable(experiment)
    config, section = experiment.backbone, experiment.generation
    assert config.model is not None
    settings = backbone_settings(config)
    model = load_language_model(
        str(resolve_model(config.model)),
        settings,
        revision=config.revision,
        device=resolve_device(config.device),
        seed=derive_seed(experiment.seed, "adapters"),
        gradient_checkpointing=config.gradient_checkpointing,
    )
    space = slots.action_space
    spec = TextPolicySpec(
        prompt=PromptFormat(section.template, section.system, config.max_tokens),
        sampling=Sampling(section.temperature, section.top_k, section.top_p),
        max_new_tokens=section.max_new_tokens,
        hidden_sizes=experiment.policy.hidden_sizes,
        activation=experiment.policy.activation,
        max_length=space.max_length,  # type: ignore[attr-defined]
        charset=charset_of(space),
    )
    seed_torch(experiment.seed, "network", *purpose)
    dtype: Literal["bfloat16", "float32"] = "bfloat16" if model.is_half else "float32"
    source = BackboneSource(config.model, config.revision, replace(settings, dtype=dtype))
    engine = None
    if section.engine == "vllm":
        folder = str(resolve_model(config.model))
        engine = VLLMEngine(model, folder, config.revision, spec)
    return TextPolicy(spec, model, source, batch_rows=section.batch_rows, engine=engine)


def charset_of(space: Any) -> str | None:
    """Characters of a text space that holds some alone; None where it holds any.

    A space is asked rather than believed: one for all scripts lists a few to sample from.
    """
    probe = "\u4e00\u0416 \u00e9?"[: space.max_length]
    return (
        None
        if space.contains(probe) or len(probe) < space.min_length
        else "".join(sorted(space.character_set))
    )


def _refuse_unwritable(experiment: Experiment) -> None:
    backbone, ppo = experiment.backbone, experiment.ppo
    faults = {
        "backbone.model: is null, but the task's actions are texts; name a model, e.g. "
        "package:smollm2-135m-instruct": backbone.model is None,
        "backbone.train: is frozen, but the task's actions are texts that the model writes; "
        "expected lora, last_n or full": backbone.train == "frozen",
        "ppo.normalize_observations: is true, but a policy that writes reads texts alone; "
        "expected false": ppo.normalize_observations,
    }
    for message, wrong in faults.items():
        if wrong:
            raise InputError(message)


def make_decision_policy(
    experiment: Experiment, slots: EnvSlots, table: TextTable | None, *purpose: str
) -> Policy:
    """A fresh policy that picks actions or gives numbers."""
    action = action_spec(slots.action_space, slots.special_actions)
    section = experiment.policy
    observation = observation_spec(slots.observation_space, action, section.context_turns)
    if observation.has_text and table is None:
        raise InputError(
            "backbone.model is null, but the task's observations hold texts; name a model, e.g. "
            "package:all-minilm-l6-v2"
        )
    if not observation.has_text:
        table = None
    num_pairs = 0
    if section.pair_features and table is not None and observation.max_candidates:
        num_pairs = num_pair_features(table, observation.num_slots)
    sizes = NetworkSizes(
        embedding_size=0 if table is None else table.hidden_size,
        num_pairs=num_pairs,
        projection_size=section.projection_size,
        hidden_sizes=section.hidden_sizes,
        activation=section.activation,
        init_log_std=section.init_log_std,
    )
    spec = PolicySpec(observation, action, sizes, slots.special_actions, section.pair_features)
    seed_torch(experiment.seed, "network", *purpose)
    source = None if table is None else backbone_source(experiment.backbone, table)
    return Policy(spec, table, source, resolve_device(experiment.backbone.device))
