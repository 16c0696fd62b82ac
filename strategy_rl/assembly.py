"""From an experiment to its pieces: environments, policy, demonstrations. Trains nothing."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from gymnasium.envs.registration import load_env_creator

from strategy_rl.backbone import (
    BackboneSettings,
    LoraSettings,
    load_backbone,
    load_language_model,
)
from strategy_rl.config import BackboneConfig, Experiment, RewardTerm, TaskConfig
from strategy_rl.env import EnvSlots, Moments, find_spec, make_slots
from strategy_rl.errors import InputError
from strategy_rl.evaluation import plan_split
from strategy_rl.features import FeatureCache, TextTable
from strategy_rl.generation import AnyPolicy, TextPolicy, TextPolicySpec
from strategy_rl.generation.prompts import PromptFormat
from strategy_rl.generation.sampling import Sampling
from strategy_rl.generation.vllm_engine import VLLMEngine
from strategy_rl.models import PREFIX, cache_root, resolve_model
from strategy_rl.policy import BackboneSource, Policy, PolicySpec
from strategy_rl.policy.network import NetworkSizes
from strategy_rl.policy.pairs import num_pair_features
from strategy_rl.policy.spaces import action_spec, is_text, observation_spec
from strategy_rl.rollout import EpisodePlan
from strategy_rl.seeding import derive_seed, generator, seed_torch

SPLITS = ("train", "validation", "test")
EVALUATION_SLOTS = 64
MIN_GROUPS_TO_SHARE = 20  # fewer rows are too few to keep SFT's and PPO's apart
DEMONSTRATION_EPISODES = 200  # of a task without rows
VALIDATION_EPISODES = 20  # of a task without rows

Reward = Sequence[RewardTerm]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class World:
    """The environments of an experiment: one set a split, and a judge for the test split.

    Attributes:
        same_rows: The task has rows, but no splits: all three play the same.
    """

    train: EnvSlots
    validation: EnvSlots
    test: EnvSlots
    same_rows: bool = False

    def slots(self, split: str) -> EnvSlots:
        """The environments of a split, by its name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]

    def judge_rewards_by(self, moments: Moments) -> None:
        """Judge by the reward as it is at the end of training, its running scales held still."""
        for slots in (self.validation, self.test):
            slots.set_reward_phase(1.0, moments)

    def close(self) -> None:
        """Close all."""
        for slots in (self.train, self.validation, self.test):
            slots.close()


def make_world(experiment: Experiment) -> World:
    """Make every environment; the test split is judged by `evaluation.reward` where it is given."""
    judge = experiment.evaluation.reward
    reward = experiment.reward
    train = split_slots(experiment, "train", reward, experiment.ppo.num_envs)
    splits = "split" in _constructor_parameters(experiment.task.id)
    same_rows = train.num_rows is not None and not splits
    if same_rows:
        log.warning(
            "%s takes no `split`: train, validation and test are the same rows, so no figure tells "
            "what unseen rows would give",
            experiment.task.id,
        )
    world = World(
        train=train,
        validation=split_slots(experiment, "validation", reward, EVALUATION_SLOTS),
        test=split_slots(experiment, "test", reward if judge is None else judge, EVALUATION_SLOTS),
        same_rows=same_rows,
    )
    world.judge_rewards_by({})
    return world


def split_slots(experiment: Experiment, split: str, reward: Reward, num_slots: int) -> EnvSlots:
    """Environments of one split.

    Raises:
        InputError: The id is unknown, the task refuses its settings, or it takes no reward.
    """
    task = experiment.task
    return make_slots(task.id, task_settings(task, split, reward), num_slots)


def task_settings(task: TaskConfig, split: str, reward: Reward) -> dict[str, Any]:
    """What a task's constructor is given: its settings, and split and reward where it takes them.

    A packaged model is given as its folder, as in `plain_reward`.

    Raises:
        InputError: There is no such task, or it takes no reward.
        ModelError: A packaged model is named that cannot be had.
    """
    accepted = _constructor_parameters(task.id)
    settings = with_folders(task.settings)
    if "split" in accepted:
        settings["split"] = split
    if reward:
        if "reward" not in accepted:
            raise InputError(
                f"reward: {task.id} takes no reward; leave it out, or let its constructor take one"
            )
        settings["reward"] = plain_reward(reward)
    return settings


def plain_reward(reward: Reward) -> list[dict[str, Any]]:
    """A reward as environments take it: only what was said; a packaged model as its folder."""
    plain = []
    for term in reward:
        said = term.model_dump(by_alias=True, exclude_defaults=True)
        settings = with_folders(term.settings)
        plain.append({**said, "name": term.name, **({"settings": settings} if settings else {})})
    return plain


def with_folders(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which each packaged model is named by its folder.

    Raises:
        ModelError: There is no such model, or it cannot be fetched.
    """

    def resolved(value: Any) -> Any:
        is_packaged = isinstance(value, str) and value.startswith(PREFIX)
        return str(resolve_model(value)) if is_packaged else value

    return {name: resolved(value) for name, value in settings.items()}


def _constructor_parameters(task_id: str) -> set[str]:
    spec = find_spec(task_id)
    entry = spec.entry_point or spec.vector_entry_point
    try:
        creator = load_env_creator(entry) if isinstance(entry, str) else entry
    except (ImportError, AttributeError) as error:
        raise InputError(f"task.id: {task_id!r} cannot be imported: {error}") from error
    return set(inspect.signature(creator).parameters) if creator else set()


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


def needs_table(slots: EnvSlots) -> bool:
    """Whether the policy reads texts as vectors; one that writes reads tokens."""
    return not is_text(slots.action_space)


def make_table(config: BackboneConfig, seed: int) -> TextTable | None:
    """Load the backbone and its table of texts; None where the experiment names no model."""
    if config.model is None:
        return None
    device = resolve_device(config.device)
    backbone = load_backbone(
        str(resolve_model(config.model)),
        backbone_settings(config),
        revision=config.revision,
        device=device,
        seed=derive_seed(seed, "adapters"),
    )
    if not backbone.is_frozen:
        return TextTable(backbone)
    size = config.cache_max_mb << 20
    cache = FeatureCache(backbone, feature_folder(config), size, memory_bytes=0)
    return TextTable(backbone, cache)


def feature_folder(config: BackboneConfig) -> Path:
    """Where encoded texts outlive the process."""
    return Path(config.cache_dir) if config.cache_dir else cache_root() / "features"


def backbone_settings(config: BackboneConfig) -> BackboneSettings:
    """The section as plain settings of the backbone."""
    lora = LoraSettings(**config.lora.model_dump())
    names = ("train", "last_n", "pooling", "prefix", "max_tokens", "dtype")
    return BackboneSettings(**{name: getattr(config, name) for name in names}, lora=lora)


def backbone_source(config: BackboneConfig, table: TextTable) -> BackboneSource:
    """Where the backbone came from, with the number format that `auto` became."""
    assert config.model is not None
    settings = table.backbone.settings
    weights = next(table.backbone.network.parameters())
    half = weights.dtype is torch.bfloat16
    dtype: Literal["bfloat16", "float32"] = "bfloat16" if half else "float32"
    return BackboneSource(config.model, config.revision, replace(settings, dtype=dtype))


def resolve_device(name: str) -> torch.device:
    """`auto` is a GPU where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@dataclass(frozen=True)
class Rows:
    """Which training rows each stage plays; None where the task has no rows."""

    sft: list[int] | None
    ppo: list[int] | None


def row_share(experiment: Experiment) -> float:
    """SFT's share of the training rows; 1, all rows for each, unless both stages draw on them."""
    sft = experiment.sft
    both = sft.epochs and experiment.ppo.iterations and sft.demonstrations is None
    return sft.share if both else 1.0


def share_rows(slots: EnvSlots, share: float, seed: int) -> Rows:
    """Part the training rows between SFT and PPO, whole groups on one side.

    An SFT policy is over-confident on its own rows, so PPO there would learn the wrong price of
    being unsure. Tasks with few groups, or `share` 1, give all rows to both.
    """
    if slots.num_rows is None:
        return Rows(None, None)
    every = list(range(slots.num_rows))
    groups = [slots.group(row) for row in every]
    names = sorted({str(group) for group in groups})
    if share >= 1 or len(names) < MIN_GROUPS_TO_SHARE:
        return Rows(every, every)
    order = generator(seed, "rows").permutation(len(names))
    count = min(max(1, round(share * len(names))), len(names) - 1)
    chosen = {names[i] for i in order[:count].tolist()}
    return Rows(
        sft=[row for row in every if str(groups[row]) in chosen],
        ppo=[row for row in every if str(groups[row]) not in chosen],
    )


def row_plans(rows: list[int] | None, seed: int, purpose: str) -> list[EpisodePlan]:
    """One episode a row, or numbered episodes where there are none."""
    if rows is None:
        count = range(DEMONSTRATION_EPISODES)
        return [EpisodePlan(derive_seed(seed, purpose, i)) for i in count]
    return [EpisodePlan(derive_seed(seed, purpose, row), row) for row in rows]


def ppo_plan(rows: list[int] | None, seed: int) -> Callable[[int], EpisodePlan]:
    """Episode number to plan: rows in a fresh order each epoch, so that all are visited."""
    orders: dict[int, np.ndarray] = {}

    def plan(number: int) -> EpisodePlan:
        episode_seed = derive_seed(seed, "ppo-episode", number)
        if rows is None:
            return EpisodePlan(episode_seed)
        epoch, position = divmod(number, len(rows))
        if epoch not in orders:
            orders.clear()
            orders[epoch] = generator(seed, "ppo-rows", epoch).permutation(len(rows))
        return EpisodePlan(episode_seed, rows[orders[epoch][position]])

    return plan


def has_expert(slots: EnvSlots, seed: int) -> bool:
    """Whether the task names expert actions, in some of its rows at least."""
    return any(_first_experts(slots, seed))


def has_expert_everywhere(
    slots: EnvSlots, seed: int, known: Mapping[int, bool] | None = None
) -> bool:
    """Whether it names one in every row, so that the expert can be compared with.

    Args:
        slots: Of the task.
        seed: Of the experiment.
        known: Of rows that were played, whether they began with one. They are not begun again: to
            begin a row may cost a language model's reading of its prompt.
    """
    known = known or {}
    return all(known.values()) and all(_first_experts(slots, seed, known))


def _first_experts(slots: EnvSlots, seed: int, known: Container[int] = ()) -> Iterator[bool]:
    """Of each row, or of one episode without rows: whether it begins with an expert action."""
    rows = [None] if slots.num_rows is None else range(slots.num_rows)
    for row in rows:
        if row in known:
            continue
        options = None if row is None else {"row": row}
        start = slots.reset([0], [derive_seed(seed, "probe")], [options])[0]
        yield "expert_action" in start.info


def validation_plans(slots: EnvSlots, seed: int) -> list[EpisodePlan]:
    """What training is judged by: all validation rows, or a few episodes without rows."""
    return plan_split(slots, seed, "validation", None, VALIDATION_EPISODES)
