"""The vLLM engine beside a stand-in for vLLM that keeps weights of its own and draws by them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from strategy_rl.assembly.policies import make_text_policy
from strategy_rl.backbone import BackboneSettings, LoraSettings, load_language_model
from strategy_rl.collector import collect_episodes
from strategy_rl.config import (
    BackboneConfig,
    Experiment,
    GenerationConfig,
    LoraConfig,
    PolicyConfig,
    PPOConfig,
    TaskConfig,
)
from strategy_rl.env import EnvSlots
from strategy_rl.errors import InputError, ModelError
from strategy_rl.generation import LocalEngine, Response, TextPolicy, TextPolicySpec
from strategy_rl.generation import vllm_engine as engines
from strategy_rl.generation.engine import head_of
from strategy_rl.generation.prompts import PromptFormat
from strategy_rl.generation.sampling import Sampling, kept_tokens
from strategy_rl.generation.vllm_engine import VLLMEngine, trained_weights
from strategy_rl.policy import BackboneSource
from strategy_rl.ppo import Task, ppo_state, train_ppo
from strategy_rl.rollout import EpisodePlan, Rollout
from strategy_rl.seeding import generator
from strategy_rl.token_updates import MAX_WEIGHT, TokenMethod
from strategy_rl.training import Silent
from tests.generation.networks import LETTERS, SIZE, bart, stirred, writer
from tests.generation.writers import Writing, gpt2, letters_tokenizer, llama

FULL = BackboneSettings(train="full", dtype="float32")
SETTINGS = {
    "full": FULL,
    "last_n": BackboneSettings(train="last_n", last_n=1, dtype="float32"),
    "lora": BackboneSettings(train="lora", lora=LoraSettings(rank=2), dtype="float32"),
}


class StandIn:
    """What the engine needs of `vllm.LLM`: it loads a folder, and weights by their names there."""

    made: list[StandIn] = []  # noqa: RUF012 - emptied before each test
    sharpness = 1.0  # what its scores are multiplied by: how far it is off

    def __init__(self, model: str, **options: Any) -> None:
        self.options = options
        self.writer = load_language_model(model, FULL)
        self.num_resets = 0
        runner = SimpleNamespace(model=self)
        worker = SimpleNamespace(model_runner=runner)
        self.llm_engine = SimpleNamespace(model_executor=SimpleNamespace(driver_worker=worker))
        self.made.append(self)

    @torch.no_grad()
    def load_weights(self, weights: Iterator[tuple[str, Tensor]]) -> None:
        own = dict(self.writer.network.named_parameters())
        for name, tensor in weights:
            own[name].copy_(tensor)

    def reset_prefix_cache(self) -> None:
        self.num_resets += 1

    @torch.no_grad()
    def generate(self, prompts: Any, parameters: Any, use_tqdm: bool) -> list[Any]:
        assert len(prompts) == len(parameters)
        assert not use_tqdm
        return [
            SimpleNamespace(outputs=[self.write(prompt["prompt_token_ids"], settings)])
            for prompt, settings in zip(prompts, parameters, strict=True)
        ]

    def write(self, prompt: list[int], settings: Any) -> Any:
        """One response, with what vLLM tells of its tokens in the mode `processed_logprobs`."""
        assert len(prompt) + settings.max_tokens <= self.options["max_model_len"]
        greedy = settings.temperature == 0
        temperature = 1.0 if greedy else settings.temperature / self.sharpness
        sampling = Sampling(temperature, settings.top_k, settings.top_p)
        engine = LocalEngine(self.writer, sampling, settings.max_tokens)
        uniforms = np.random.default_rng(settings.seed).random((1, settings.max_tokens))
        written = engine.generate([prompt], None if greedy else uniforms)[0]
        assert set(self.writer.end_ids) <= set(settings.stop_token_ids)
        assert written.states is not None
        logits = head_of(self.writer).logits(written.states) / temperature
        kept = kept_tokens(logits, sampling)
        if kept is not None:
            logits = logits.masked_fill(~kept, -torch.inf)
        told = []
        for token, logs in zip(written.response, logits.log_softmax(-1), strict=True):
            best = logs.topk(settings.logprobs).indices.tolist() if settings.logprobs else []
            told.append({i: SimpleNamespace(logprob=float(logs[i])) for i in {*best, token}})
        return SimpleNamespace(token_ids=tuple(written.response), logprobs=told)


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    """The stand-in as the module `vllm`, on a machine that seems to have a GPU."""
    module: Any = ModuleType("vllm")
    module.__spec__ = ModuleSpec("vllm", None)
    module.LLM, module.SamplingParams = StandIn, lambda **given: SimpleNamespace(**given)
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv(engines.IN_PROCESS, "1")
    monkeypatch.setattr(StandIn, "sharpness", 1.0)
    StandIn.made.clear()
    engines._shared.cache_clear()
    return StandIn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(tmp_path / "model", llama(SIZE))


def saved(folder: Path, network: Any) -> Path:
    """A model with its tokenizer in a Hugging Face folder."""
    stirred(network).save_pretrained(folder)
    letters_tokenizer(LETTERS).save_pretrained(folder)
    return folder


def policy_on(
    folder: Path,
    settings: BackboneSettings = FULL,
    sampling: Sampling | None = None,
    tokens: int = 6,
) -> TextPolicy:
    """A policy whose responses the engine writes."""
    model = load_language_model(folder, settings, seed=1)
    spec = TextPolicySpec(PromptFormat("plain"), sampling or Sampling(), tokens, (16,))
    engine = VLLMEngine(model, str(folder), None, spec)
    return TextPolicy(spec, model, BackboneSource(str(folder), None, settings), engine=engine)


def moved(policy: TextPolicy, seed: int = 0) -> TextPolicy:
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=draw)
    return policy


def write(policy: TextPolicy, count: int = 8, seed: int | None = 0) -> list[Response]:
    prompts = policy.encode([LETTERS[: 1 + i % 5] for i in range(count)])
    size = count, policy.spec.max_new_tokens
    return policy.generate(
        prompts, None if seed is None else np.random.default_rng(seed).random(size)
    )


def tokens_of(responses: list[Response]) -> list[list[int]]:
    return [list(response.response) for response in responses]


def logprobs_of(responses: list[Response]) -> Tensor:
    return torch.cat([response.logprobs for response in responses])


# What it gives.


@pytest.mark.parametrize("train", list(SETTINGS))
@pytest.mark.parametrize("network", [llama, gpt2])
def test_it_writes_with_the_weights_of_now(
    network: Callable[[int], Any], train: str, tmp_path: Path, vllm: type[StandIn]
) -> None:
    policy = policy_on(saved(tmp_path / "model", network(SIZE)), SETTINGS[train])
    before = tokens_of(write(policy))

    for round_ in (1, 2):
        moved(policy, seed=round_)
        responses = write(policy)
        assert torch.allclose(
            logprobs_of(responses), policy.evaluate(responses).logprobs, atol=1e-4
        )
        assert tokens_of(responses) != before
        before = tokens_of(responses)
    assert len(vllm.made) == 1
    assert vllm.made[0].num_resets == 3


def test_it_writes_with_lent_weights_while_they_are_lent(folder: Path) -> None:
    policy = policy_on(folder)
    own = tokens_of(write(policy))

    with policy.lent_to({n: 0.3 * t for n, t in policy.backbone_state().items()}):
        assert tokens_of(write(policy)) != own
    assert tokens_of(write(policy)) == own


def test_a_response_holds_what_vllm_said_and_no_more(folder: Path) -> None:
    policy = policy_on(folder)
    responses = write(policy, 40)

    for response in responses:
        assert response.ended == (response.response[-1] in policy.model.end_ids)
        assert response.ended or len(response.response) == 6
        assert not response.exact
        assert (response.states, response.trunk, response.kept) == (None, None, None)
        assert response.logprobs.shape == (len(response.response),)
    assert {response.ended for response in responses} == {True, False}
    assert [r.prompt for r in responses] == policy.encode([LETTERS[: 1 + i % 5] for i in range(40)])
    assert policy.values_of(responses).shape == (sum(map(len, tokens_of(responses))),)


def test_uniforms_decide_what_is_drawn_and_rows_draw_apart(folder: Path) -> None:
    policy = policy_on(folder)

    assert tokens_of(write(policy, seed=0)) == tokens_of(write(policy, seed=0))
    assert tokens_of(write(policy, seed=0)) != tokens_of(write(policy, seed=1))
    same = policy.generate(policy.encode(["ab"] * 20), np.random.default_rng(0).random((20, 6)))
    assert len({tuple(tokens) for tokens in tokens_of(same)}) > 10


def test_without_uniforms_it_takes_the_most_probable_tokens(folder: Path) -> None:
    policy = policy_on(folder)
    local = LocalEngine(policy.model, policy.spec.sampling, 6)
    responses = write(policy, seed=None)

    assert tokens_of(responses) == tokens_of(
        local.generate([response.prompt for response in responses], None)
    )


@pytest.mark.parametrize("sampling", [Sampling(top_k=4), Sampling(0.8, 9, 0.7)])
def test_the_tokens_that_could_be_drawn_are_those_that_vllm_left(
    sampling: Sampling, folder: Path, vllm: type[StandIn]
) -> None:
    policy = moved(policy_on(folder, sampling=sampling))
    responses = write(policy)

    assert torch.allclose(logprobs_of(responses), policy.evaluate(responses).logprobs, atol=1e-4)
    whole = LocalEngine(policy.model, sampling, 6)
    local = whole.generate([r.prompt for r in responses], None)
    greedy = write(policy, seed=None)
    if sampling.top_p == 1:
        for ours, theirs in zip(greedy, local, strict=True):
            assert ours.kept is not None
            assert theirs.kept is not None
            assert torch.equal(ours.kept, theirs.kept)
    assert vllm.made[0].options["max_logprobs"] == 20


def test_vllm_is_told_to_stay_in_this_process_and_to_leave_memory(
    folder: Path, vllm: type[StandIn]
) -> None:
    write(policy_on(folder))

    assert os.environ[engines.IN_PROCESS] == "0"
    assert vllm.made[0].options["logprobs_mode"] == "processed_logprobs"
    assert vllm.made[0].options["max_model_len"] == 512 + 6
    assert 0 < vllm.made[0].options["gpu_memory_utilization"] < 0.5


def test_policies_of_one_model_share_one_vllm(folder: Path, vllm: type[StandIn]) -> None:
    one, other = policy_on(folder), moved(policy_on(folder))

    first, second = tokens_of(write(one)), tokens_of(write(other))

    assert len(vllm.made) == 1
    assert first != second
    assert tokens_of(write(one)) == first


@pytest.mark.parametrize("train", list(SETTINGS))
def test_what_is_handed_over_is_what_training_changes(train: str, folder: Path) -> None:
    policy = moved(policy_on(folder, SETTINGS[train]))
    names = {name for name, _ in trained_weights(policy.model)}
    plain = dict(load_language_model(folder, FULL).network.named_parameters())

    assert names <= set(plain)
    if train == "full":
        assert names == set(plain)
    elif train == "last_n":
        assert {name.split(".")[2] for name in names} == {"2"}
    else:
        assert {name.split(".")[-2] for name in names} == {"q_proj", "v_proj"}
        assert len(names) == 6


# What it is off by.


@pytest.fixture
def sharper(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(StandIn, "sharpness", 2.5)
    return 2.5


def test_the_mismatch_is_measured_and_its_weights_are_cut(folder: Path, sharper: float) -> None:
    policy = policy_on(folder)
    plans = [EpisodePlan(i, i) for i in range(16)]
    rollout = collect_episodes(policy, EnvSlots(Writing, 16), plans, np.random.default_rng(0))

    judged, metrics = TokenMethod(policy, None, 8).judge(rollout, 0.0)

    ours = policy.evaluate(rollout.responses).logprobs
    sharp = torch.cat(
        [
            (policy.model.scores(r) * sharper).log_softmax(-1)[
                range(len(r.response)), list(r.response)
            ]
            for r in rollout.responses
        ]
    )
    assert torch.allclose(judged.logprobs, ours, atol=1e-4)
    assert torch.allclose(rollout.logprobs, sharp, atol=1e-3)
    assert metrics["sampler_mismatch_mean"] == pytest.approx(
        float((ours - sharp).abs().mean()), abs=1e-3
    )
    assert metrics["sampler_mismatch_mean"] > 0.1
    weights = (ours - sharp).exp().clamp(max=MAX_WEIGHT)
    assert torch.allclose(judged.weights, weights, atol=1e-2)
    assert judged.weights.max() <= MAX_WEIGHT


def test_weighted_draws_of_a_sampler_that_is_off_count_as_draws_of_the_policy(
    folder: Path, sharper: float
) -> None:
    policy = policy_on(folder, tokens=1)
    slots = EnvSlots(lambda: Writing(prompts=("ab",)), 8)
    plans = [EpisodePlan(i, 0) for i in range(120)]
    rollout = collect_episodes(policy, slots, plans, np.random.default_rng(0))

    judged, _ = TokenMethod(policy, None, 120).judge(rollout, 0.0)

    scores = policy.model.scores(Response(rollout.responses[0].prompt, [2]))[0].detach()
    tokens = torch.tensor([r.response[0] for r in rollout.responses])
    drawn = (scores * sharper).softmax(-1)[tokens]  # how often the sampler draws it
    meant = scores.softmax(-1)[tokens]
    whole = judged.weights < MAX_WEIGHT
    assert set(whole.tolist()) == {True, False}
    assert torch.allclose((drawn * judged.weights)[whole], meant[whole], atol=1e-4)
    assert (drawn * judged.weights <= meant + 1e-4).all()
    assert (drawn - meant).abs().max() > 0.1


def test_ppo_learns_from_what_a_sampler_that_is_off_wrote(folder: Path, sharper: float) -> None:
    policy = policy_on(folder, tokens=4)
    slots = EnvSlots(Writing, 32)
    config = PPOConfig(
        iterations=8,
        epochs=2,
        minibatch_size=16,
        learning_rate=3e-3,
        entropy_coef=0.0,
        evaluate_every=8,
    )
    paid: list[float] = []

    def collect(iteration: int) -> Rollout:
        plans = [EpisodePlan(i, i % 8) for i in range(32)]
        rollout = collect_episodes(policy, slots, plans, generator(0, "toy", iteration))
        paid.append(float(rollout.episode_returns.mean()))
        return rollout

    method = TokenMethod(policy, None, config.minibatch_size)
    task = Task(collect, validate=lambda: {"return": 0.0}, method=method)
    state = ppo_state(policy, config, backbone_learning_rate=3e-3)
    train_ppo(policy, task, config, seed=0, hooks=Silent(), state=state)

    assert paid[-1] > paid[0] + 1.5


# What is refused, and where it is made.


def test_a_machine_without_vllm_is_told_to_install_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "vllm")

    with pytest.raises(ModelError, match="`pip install vllm`"):
        policy_on(folder)


def test_a_machine_without_a_gpu_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(ModelError, match="no GPU"):
        policy_on(folder)


def test_an_encoder_decoder_and_random_weights_are_refused(folder: Path) -> None:
    spec = TextPolicySpec()

    with pytest.raises(ModelError, match="does not run 'folder'"):
        VLLMEngine(writer(bart()), "folder", None, spec)
    with pytest.raises(ModelError, match="does not run 'random:tiny'"):
        VLLMEngine(load_language_model("random:tiny", FULL), "random:tiny", None, spec)


def test_top_p_alone_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"generation\.top_k too"):
        policy_on(folder, sampling=Sampling(top_p=0.9))


def test_what_vllm_refuses_is_said_in_our_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise ValueError("No available memory for the cache blocks.")

    monkeypatch.setattr(sys.modules["vllm"], "LLM", refuse)

    with pytest.raises(ModelError, match=r"cannot run .*No available memory"):
        write(policy_on(folder))


@pytest.mark.parametrize("engine", ["vllm", "local"])
def test_the_experiment_names_the_engine(engine: str, folder: Path) -> None:
    experiment = Experiment(
        name="toy",
        task=TaskConfig(id="toy"),
        backbone=BackboneConfig(
            model=str(folder),
            train="lora",
            lora=LoraConfig(rank=2, target_modules=("q_proj",)),
            dtype="float32",
            device="cpu",
        ),
        policy=PolicyConfig(hidden_sizes=(8,)),
        generation=GenerationConfig(engine=engine, template="plain", max_new_tokens=3, top_k=5),
    )
    slots = EnvSlots(Writing, 2)

    policy = make_text_policy(experiment, slots)

    assert isinstance(policy.engine, VLLMEngine if engine == "vllm" else LocalEngine)
    responses = write(policy)
    assert all(len(r.response) <= 3 and r.kept is not None for r in responses)
    assert all(r.exact == (engine == "local") for r in responses)
    assert policy.source.settings.dtype == "float32"
