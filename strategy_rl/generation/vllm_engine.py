"""Responses written by vLLM on a GPU, in this process. vLLM is imported where it is used alone.

What it draws from is nearly the policy's distribution: its kernels and number format differ. So
its responses are not `exact`: they are read again before training, and importance weights correct
what differs.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from strategy_rl.backbone import BackboneSettings, LanguageModel
from strategy_rl.errors import InputError, ModelError
from strategy_rl.generation.engine import Response
from strategy_rl.generation.policy import TextPolicySpec
from strategy_rl.generation.sampling import pack
from strategy_rl.models import RANDOM_TINY

MEMORY_SHARE = 0.3  # of the GPU, for vLLM's copy of the weights and its cache; the rest trains
MOST_LOGPROBS = 20  # vLLM's own limit; more are given where it is raised
IN_PROCESS = "VLLM_ENABLE_V1_MULTIPROCESSING"  # 0: weights are handed over without pickling


@dataclass(frozen=True)
class VLLMEngine:
    """vLLM beside the model that is being trained, whose weights it takes over before it writes.

    All engines of a process that name one model share one vLLM. One seed and one batch give the
    same texts again on the same machine; batches of another shape may not, for vLLM's sums depend
    on it.

    Attributes:
        model: Whose weights are written with.
        name: Its folder or Hugging Face id.
        revision: Branch, tag or commit on the hub.
        spec: How tokens are drawn, and how many.

    Raises:
        ModelError: There is no vLLM, no GPU, or vLLM does not run such a model.
        InputError: Tokens are drawn in a way that it does not tell enough about.
    """

    model: LanguageModel
    name: str
    revision: str | None
    spec: TextPolicySpec

    def __post_init__(self) -> None:
        _require_vllm()
        sampling = self.spec.sampling
        if self.model.has_encoder or self.name == RANDOM_TINY:
            raise ModelError(
                f"generation.engine is vllm, which does not run {self.name!r}; expected a decoder "
                "in a folder or on the hub; set generation.engine to local"
            )
        if sampling.top_p < 1 and not sampling.top_k:
            raise InputError(
                f"generation.top_p is {sampling.top_p} with generation.engine vllm, which names "
                "the tokens that could be drawn only among a top_k; set generation.top_k too"
            )

    def generate(
        self, prompts: Sequence[Sequence[int]], uniforms: np.ndarray | None
    ) -> list[Response]:
        """One response a prompt, in their order; a row's first uniform is the seed of its draws."""
        llm = self._synchronised()
        seeds = [None] * len(prompts) if uniforms is None else _seeds(uniforms)
        outputs = llm.generate(
            [{"prompt_token_ids": list(prompt)} for prompt in prompts],
            [self._parameters(seed) for seed in seeds],
            use_tqdm=False,
        )
        return [
            self._response(prompt, output.outputs[0])
            for prompt, output in zip(prompts, outputs, strict=True)
        ]

    def _synchronised(self) -> Any:
        """The vLLM with the weights of now: a copy on the GPU takes far less than writing does."""
        spec = self.spec
        longest = spec.prompt.max_tokens + spec.max_new_tokens
        logprobs = max(MOST_LOGPROBS, spec.sampling.top_k)
        llm = _shared(self.name, self.revision, self.model.settings, longest, logprobs)
        target = llm.llm_engine.model_executor.driver_worker.model_runner.model
        target.load_weights(trained_weights(self.model))
        llm.reset_prefix_cache()  # made with the weights of before
        return llm

    def _parameters(self, seed: int | None) -> Any:
        """A request's settings; without a seed the most probable token is taken each time."""
        sampling = self.spec.sampling
        return import_module("vllm").SamplingParams(
            temperature=0.0 if seed is None else sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            max_tokens=self.spec.max_new_tokens,
            stop_token_ids=list(self.model.end_ids),
            seed=seed,
            logprobs=sampling.top_k,  # besides the drawn token's
            detokenize=False,
        )

    def _response(self, prompt: Sequence[int], output: Any) -> Response:
        tokens = list(output.token_ids)
        drawn = [told[token].logprob for told, token in zip(output.logprobs, tokens, strict=True)]
        return Response(
            prompt=prompt,
            response=tokens,
            ended=tokens[-1] in self.model.end_ids,
            logprobs=torch.tensor(drawn, device=self.model.device),
            kept=self._kept(output.logprobs) if self.spec.sampling.top_k else None,
            exact=False,
        )

    def _kept(self, told: Sequence[dict[int, Any]]) -> Tensor:
        """Which tokens could be drawn: those that were left a probability."""
        kept = torch.zeros(len(told), self.model.head_weight.shape[0], dtype=torch.bool)
        for row, logprobs in enumerate(told):
            kept[row, [token for token, of in logprobs.items() if of.logprob > -np.inf]] = True
        return pack(kept).to(self.model.device)


@torch.no_grad()
def trained_weights(model: LanguageModel) -> Iterator[tuple[str, Tensor]]:
    """Weights that training changes, by their names in a Hugging Face folder, adapters merged."""
    for name, module in model.network.named_modules():
        if isinstance(module, LoraLayer):
            base: Tensor = module.get_base_layer().weight
            changes = [module.get_delta_weight(adapter) for adapter in module.active_adapters]
            yield f"{name}.weight", torch.stack([base.float(), *changes]).sum(0)
    for name, parameter in model.trainable().items():
        if "lora_" not in name:
            yield name, parameter.detach()


def _seeds(uniforms: np.ndarray) -> list[int]:
    """A seed a row, from the 53 bits of its first draw."""
    return [int(first * 2**53) for first in uniforms[:, 0]]


def _require_vllm() -> None:
    if importlib.util.find_spec("vllm") is None:
        raise ModelError(
            "generation.engine is vllm, but vllm is not installed; `pip install vllm`, or set "
            "generation.engine to local"
        )
    if not torch.cuda.is_available():
        raise ModelError(
            "generation.engine is vllm, but there is no GPU that torch can use; `pip install vllm` "
            "brings a torch for NVIDIA GPUs; or set generation.engine to local"
        )


@lru_cache(maxsize=1)
def _shared(
    name: str, revision: str | None, settings: BackboneSettings, longest: int, logprobs: int
) -> Any:
    """One vLLM for all policies that are alike but for the weights that learn."""
    os.environ[IN_PROCESS] = "0"  # before the import, which reads it
    try:
        return import_module("vllm").LLM(
            model=name,
            revision=revision,
            max_model_len=longest,
            max_logprobs=logprobs,
            logprobs_mode="processed_logprobs",  # of the distribution that was drawn from
            gpu_memory_utilization=MEMORY_SHARE,
        )
    except (ValueError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"vllm cannot run {name!r}: {type(error).__name__}: {reason}; set generation.engine to "
            "local, or leave more memory of the GPU free"
        ) from error
