"""The experiment: every option with its range, default and help. Knows nothing of files or YAML.

The text under a field is its help; `strategy-rl schema` prints it for editors.
Paths are relative to the folder in which the command is started.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, model_validator

from strategy_rl.config.base import (
    Count,
    NonNegative,
    OpenShare,
    Positive,
    Schedule,
    ScheduledNonNegative,
    ScheduledPositive,
    Section,
    Share,
    Text,
    Whole,
    as_tuple,
    refuse,
)
from strategy_rl.config.names import name_fault, shorten
from strategy_rl.config.reward import Reward


def _usable_name(name: str) -> str:
    fault = name_fault(name)
    if fault:
        raise ValueError(fault)
    return name


def _known_device(device: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|xpu(:\d+)?|cuda(:\d+)?", device):
        expected = "'auto', 'cpu', 'mps', 'cuda' or 'cuda:0'"
        raise ValueError(f"got {shorten(device)}, expected {expected}")
    return device


class TaskConfig(Section):
    """The Gymnasium environment to play."""

    id: Text
    """Gymnasium id, e.g. `strategy_rl_envs:strategy_rl/ReplySelection-v0`."""
    settings: dict[str, JsonValue] = {}  # noqa: RUF012 - pydantic copies it
    """Keyword arguments of the environment's constructor."""


class LoraConfig(Section):
    """Low-rank adapters; read where `backbone.train` is `lora`."""

    rank: Count = 8
    """Rank of the update matrices."""
    alpha: Positive = 16.0
    """Scale: the update is multiplied by alpha / rank."""
    dropout: OpenShare = 0.0
    """Dropout before the adapter during SFT; PPO always uses 0."""
    target_modules: Annotated[tuple[Text, ...], BeforeValidator(as_tuple)] | None = None
    """Names of the layers to adapt; null: the usual ones of the model type."""
    last_n: Count | None = None
    """Adapt this many last blocks alone, so that those below run once a token; null: all blocks."""


class BackboneConfig(Section):
    """The language model under the heads."""

    model: Text | None = None
    """Hugging Face id, local folder or `package:NAME`; null: an MLP reads numbers, no texts."""
    revision: Text | None = None
    """Branch, tag or commit on the hub."""
    train: Literal["frozen", "lora", "last_n", "full"] = "frozen"
    """Which weights of the model learn."""
    last_n: Count = 2
    """How many last layers learn where `train` is `last_n`."""
    lora: LoraConfig = LoraConfig()
    """Adapter settings where `train` is `lora`."""
    pooling: Literal["mean", "cls", "last"] = "mean"
    """How the token vectors of a text become one vector."""
    prefix: str = ""
    """Put before every text, e.g. `query: ` for e5 models."""
    max_tokens: Count = 128
    """The end of a longer text, or prompt, is cut off."""
    learning_rate: NonNegative = 2e-5
    """Step size of the weights that learn, in PPO too unless it has its own; 0 changes nothing."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of frozen weights, by `auto` bfloat16 where the machine is fast in it; weights
    that learn are float32. A writer with `full` multiplies in it, from float32 weights."""
    gradient_checkpointing: bool = False
    """Of a writer: keep less of the forward pass and compute it again; slower, smaller."""
    device: Annotated[str, AfterValidator(_known_device)] = "auto"
    """`auto`, `cpu`, `mps`, `cuda` or `cuda:0`."""
    cache_dir: Text | None = None
    """Folder of encoded texts; null: the user's cache folder."""
    cache_max_mb: Count = 2048
    """Size at which the oldest encoded texts are dropped, in MiB."""

    @model_validator(mode="after")
    def _agree(self) -> BackboneConfig:
        if self.model is None and self.train != "frozen":
            message = f"is '{self.train}', but backbone.model is null; name a model"
            refuse([("train", message)])
        return self


class PolicyConfig(Section):
    """The heads on top of the backbone."""

    hidden_sizes: Annotated[tuple[Count, ...], BeforeValidator(as_tuple)] = (64, 64)
    """Widths of the hidden layers."""
    projection_size: Count = 64
    """Width of the learned projections of context and candidate."""
    activation: Literal["tanh", "relu", "gelu"] = "tanh"
    """Non-linearity between the layers."""
    context_turns: Count = 3
    """How many last texts of the context the policy reads one by one."""
    pair_features: bool = True
    """Show the scorer shared words, lengths and cosines of each candidate and its context."""
    init_log_std: Annotated[float, Field(ge=-5, le=2)] = 0.0
    """First log standard deviation of a Box action."""


class GenerationConfig(Section):
    """How a policy reads and writes whose actions are texts; read for those tasks alone."""

    template: Literal["auto", "chat", "plain"] = "auto"
    """`chat`: prompts in the model's own chat template; `auto`: where it has one."""
    system: Text | None = None
    """System message before every prompt; null: none."""
    max_new_tokens: Count = 64
    """The most tokens of a response."""
    temperature: Positive = 1.0
    """Of the policy's distribution, in training and sampling."""
    top_k: Whole = 0
    """Draw among this many most probable tokens; 0: all."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw among the fewest tokens that hold this much probability."""
    missing_end_penalty: NonNegative = 0.0
    """Taken off the reward of a response that had to be cut."""
    batch_rows: Count = 64
    """Responses written side by side."""
    micro_batch_tokens: Count = 4096
    """Padded tokens of one forward and backward pass; gradients add up to those of a minibatch."""
    engine: Literal["local", "vllm"] = "local"
    """What writes in training: the model itself, or vLLM on a GPU."""


class EarlyStopping(Section):
    """When SFT ends before its last epoch; the best weights are restored."""

    metric: Literal["accuracy", "return", "loss"] = "accuracy"
    """What is watched on the validation split."""
    patience: Count = 5
    """Epochs without a better value before it stops."""


class SFTConfig(Section):
    """Stage one: imitate the expert."""

    epochs: Whole = 20
    """Passes over the demonstrations; 0: no SFT."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the training rows for SFT, the rest is PPO's; 1: both use all."""
    demonstrations: Text | None = None
    """File of demonstrations; null: the environment's own expert is rolled out."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """Update rule."""
    learning_rate: NonNegative = 1e-3
    """Peak step size; 0 changes nothing."""
    weight_decay: NonNegative = 0.1
    """Decay of the weight matrices; biases and single numbers do not decay."""
    batch_size: Count = 128
    """Decisions of one update."""
    dropout: OpenShare = 0.5
    """Dropout in the heads; PPO always uses 0."""
    warmup_share: Share = 0.05
    """Share of the updates in which the step size rises from 0."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """Step size after the warm-up."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this norm."""
    contrastive_coef: NonNegative = 0.3
    """Weight of the loss that tells a batch's contexts and right candidates apart."""
    early_stopping: EarlyStopping | None = EarlyStopping()
    """Null: all epochs run and the last weights stay."""
    special_action_prior: OpenShare = 0.1
    """Mean probability given to special actions that the expert never takes; 0: left at nothing."""

    @model_validator(mode="after")
    def _agree(self) -> SFTConfig:
        if self.demonstrations is not None and self.epochs == 0:
            message = "is given, but sft.epochs is 0, so nobody reads it; drop one of the two"
            refuse([("demonstrations", message)])
        return self


class AdaptiveKL(Section):
    """Moves `ppo.kl_coef` so that the KL to the reference nears a target (Ziegler et al. 2019)."""

    target: Positive
    """KL an episode to aim at, in nats."""
    horizon: Count = 10_000
    """Episodes over which the coefficient follows; larger is slower."""


class PPOConfig(Section):
    """Stage two: improve on the reward."""

    iterations: Whole = 100
    """Rounds of collecting and updating; 0: no PPO."""
    rollout: Literal["episodes", "steps"] = "episodes"
    """Collect whole episodes, or a fixed number of steps from each environment."""
    episodes_per_iteration: Count = 256
    """Episodes of one round where `rollout` is `episodes`."""
    num_envs: Count = 16
    """Environments that play side by side."""
    num_steps: Count = 128
    """Steps of each environment in one round where `rollout` is `steps`."""
    epochs: Count = 3
    """Passes over the decisions of one round."""
    minibatch_size: Count = 256
    """Decisions of one update; responses where actions are texts."""
    clip_range: ScheduledPositive = 0.2
    """How far the ratio of new to old probability may leave 1."""
    value_clip_range: Positive | None = None
    """How far a value may move from the old one, in units of the reward; null: no limit."""
    gamma: Share = 1.0
    """Discount of later rewards."""
    gae_lambda: Share = 0.95
    """Trace decay of the advantages: 0 trusts the critic, 1 the returns."""
    learning_rate: NonNegative = 1e-3
    """First step size; 0 changes nothing."""
    head_learning_rate: NonNegative | None = None
    """Step size of the value head and of special actions; null: the same."""
    backbone_learning_rate: NonNegative | None = None
    """Step size of the backbone's weights in this stage; null: `backbone.learning_rate`."""
    schedule: Literal["linear", "constant"] = "linear"
    """Step size over the training: down to 0, or level."""
    adam_eps: Positive = 1e-5
    """Term in Adam's divisor."""
    vf_coef: NonNegative = 0.5
    """Weight of the value loss."""
    entropy_coef: ScheduledNonNegative = 0.01
    """Weight of the entropy bonus."""
    kl_coef: NonNegative = 0.05
    """Weight of the KL to the policy that SFT left; without SFT there is none."""
    adaptive_kl: AdaptiveKL | None = None
    """Null: `kl_coef` stays as it is."""
    kl_budget: Positive | None = None
    """Keep a policy as the best only while its KL an episode to the reference, in nats, is within;
    null: whatever it is."""
    target_kl: Positive | None = None
    """End the updates of a round above 1.5 times this KL to the round's own policy; null: never."""
    max_grad_norm: Positive = 1.0
    """Gradients are scaled down to this norm."""
    critic_warmup_iterations: Whole = 0
    """Rounds that teach the value head alone, before the policy moves."""
    normalize_advantages: bool = True
    """Advantages to mean 0 and deviation 1."""
    normalize_observations: bool = False
    """Numbers in observations to mean 0 and deviation 1, by running statistics."""
    normalize_rewards: bool = False
    """Rewards over the running deviation of the discounted return."""
    freeze_projections: bool = False
    """Keep the projections of texts as SFT left them."""
    representation_epochs: Count | None = None
    """Epochs of a round in which projections and backbone learn; in later ones only the heads do,
    on projections kept in memory: far fewer products, more rounds to learn. Null: in all."""
    evaluate_every: Count = 4
    """Rounds between two looks at the validation split; the best policy is kept."""

    @model_validator(mode="after")
    def _agree(self) -> PPOConfig:
        faults = []
        if isinstance(self.clip_range, Schedule) and self.clip_range.start == 0:
            faults.append(("clip_range.from", "got 0.0, expected a number above 0, e.g. 0.2"))
        if self.adaptive_kl is not None and self.kl_coef == 0:
            message = "multiplies ppo.kl_coef, which is 0 and stays 0; set kl_coef above 0"
            faults.append(("adaptive_kl", message))
        decisions = self.num_envs * self.num_steps
        if self.rollout == "steps" and self.minibatch_size > decisions:
            message = (
                f"got {self.minibatch_size}, but a round has only num_envs {self.num_envs} x "
                f"num_steps {self.num_steps} = {decisions} steps; expected {decisions} or less"
            )
            faults.append(("minibatch_size", message))
        refuse(faults)
        return self


Rival = Literal[
    "random",
    "heuristics",
    "expert",
    "cosine",
    "threshold",
    "special_bias",
    "threshold_by_state",
    "dp",
    "all_rows_dp",
    "all_rows_special_bias",
    "zero_shot",
    "best_of_n",
]
RIVALS: tuple[Rival, ...] = get_args(Rival)


class EvaluationConfig(Section):
    """The last look, on the test split."""

    episodes: Count | None = None
    """Episodes to play; null: every row of the split once, or 100 where a task has no rows."""
    rivals: Annotated[tuple[Rival, ...], BeforeValidator(as_tuple)] = RIVALS
    """Policies to compare with; those that a task does not allow are left out."""
    best_of: Count = 8
    """Responses a row of the rival `best_of_n`, where actions are texts."""
    likelihood_model: Text | None = None
    """A writing model for the rival `likelihood`, where there are candidates: it takes the one that
    the model finds likeliest after the context. Named as `backbone.model`; null: no such rival."""
    likelihood_score: Literal["mean", "sum", "pmi"] = "mean"
    """What that rival compares: the mean log-probability of a candidate's tokens, their sum, or
    `pmi`: by how much the context raises the sum."""
    reward: Reward | None = None
    """Judge by this reward; null: by the one that was trained."""
    bootstrap_samples: Count = 10_000
    """Resamples for the confidence intervals."""


class CheckpointConfig(Section):
    """When the state of training is saved."""

    every: Count = 10
    """PPO rounds between two checkpoints."""
    keep: Count = 3
    """Newest checkpoints that stay."""


class LoggingConfig(Section):
    """What is written while training goes on."""

    tensorboard: bool = True
    """Mirror the metrics to TensorBoard event files."""
    histograms_every: Count = 10
    """PPO rounds between two sets of histograms."""
    full_episodes: Annotated[tuple[Text, ...], BeforeValidator(as_tuple)] = ("sft", "ppo")
    """Policies whose evaluation episodes keep their texts."""
    probe_rows: Whole = 6
    """Validation rows that are kept as played before SFT, after its epochs, when PPO is judged."""
    training_episodes: Whole = 1
    """Of each PPO round: how many at random, how many best, worst and most surprising are kept."""
    digest_episodes: Whole = 5
    """How many of them TensorBoard's Text tab shows after the evaluation, from worst to best."""


class Experiment(Section):
    """One experiment: a task, a policy and how to train it."""

    name: Annotated[str, AfterValidator(_usable_name)]
    """Name of the run's folder under `runs/`."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Start of every random stream."""
    imports: Annotated[tuple[Text, ...], BeforeValidator(as_tuple)] = ()
    """Python files of one's own, relative to this file, that bring rewards and tasks."""
    task: TaskConfig
    """The environment."""
    reward: Reward = ()
    """Weighted components of the reward; empty: the task's own default."""
    backbone: BackboneConfig = BackboneConfig()
    """The language model."""
    policy: PolicyConfig = PolicyConfig()
    """The heads."""
    generation: GenerationConfig = GenerationConfig()
    """How texts are written, where actions are texts."""
    sft: SFTConfig = SFTConfig()
    """Stage one."""
    ppo: PPOConfig = PPOConfig()
    """Stage two."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """The comparison at the end."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """Saving."""
    logging: LoggingConfig = LoggingConfig()
    """Records."""

    @model_validator(mode="after")
    def _agree(self) -> Experiment:
        if self.sft.epochs == 0 and self.ppo.iterations == 0:
            message = "is 0 and so is ppo.iterations: nothing would be trained; raise one of them"
            refuse([("sft.epochs", message)])
        judge = self.evaluation.reward or ()
        running = [term.name for term in judge if term.scale == "running"]
        if running:
            message = (
                f"{running[0]!r} has `scale: running`, but nothing is trained on it that could "
                "give the scale; expected {shift, divide}"
            )
            refuse([("evaluation.reward", message)])
        drops = [term.name for term in self.reward if term.on_error == "drop"]
        if drops and self.ppo.rollout == "steps":
            message = f"is steps, but {drops[0]!r} drops whole episodes; expected episodes"
            refuse([("ppo.rollout", message)])
        return self
