"""Our SFT of texts, which a kill cannot hurt, learns what TRL's `SFTTrainer` learns."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from trl import SFTConfig as TRLConfig
from trl import SFTTrainer

from strategy_rl import sft, token_lessons
from strategy_rl.config import SFTConfig
from strategy_rl.demonstrations import RawDemonstrations, WrittenDemonstrations
from strategy_rl.generation import Response, TextPolicy
from strategy_rl.seeding import generator
from strategy_rl.sft import Validation, sft_state, train_sft
from strategy_rl.training import Silent
from tests.generation.writers import END, letters_tokenizer, text_policy

LETTERS = "abcdefgh"
PAIRS = [
    *(("a", "hedge"), ("bad", "be"), ("cab", ""), ("face", "g"), ("hhh", "cafe")),
    *(("de", "ahead"), ("gaf", "bee"), ("b", "deaf")),
]
BATCH, EPOCHS, RATE, DECAY, MOST_NORM = 4, 4, 1e-2, 0.1, 0.4
STEPS = EPOCHS * len(PAIRS) // BATCH


@dataclass
class Learnt:
    """Losses of the optimizer's steps, and the weights after the last."""

    losses: list[float]
    weights: dict[str, Tensor]


def demonstrations_of(policy: TextPolicy) -> WrittenDemonstrations:
    prompts, texts = map(list, zip(*PAIRS, strict=True))
    encoded = RawDemonstrations(prompts, [None] * len(prompts), texts).encode(policy)
    assert isinstance(encoded, WrittenDemonstrations)
    return encoded


def ours(policy: TextPolicy, micro_tokens: int, monkeypatch: pytest.MonkeyPatch) -> Learnt:
    """`train_sft` on the pairs, cut into forward passes of so many tokens."""
    demonstrations = demonstrations_of(policy)
    losses: list[float] = []
    step = sft.step_optimizer

    def noted(optimizer: Any, parameters: Any, loss: float, *rest: Any) -> Tensor:
        losses.append(loss)
        return step(optimizer, parameters, loss, *rest)

    monkeypatch.setattr(sft, "step_optimizer", noted)
    monkeypatch.setattr(token_lessons, "MICRO_BATCH_TOKENS", micro_tokens)
    config = SFTConfig(
        epochs=EPOCHS,
        batch_size=BATCH,
        weight_decay=DECAY,
        warmup_share=0.25,
        schedule="cosine",
        max_grad_norm=MOST_NORM,
        early_stopping=None,
    )
    validation, state = Validation(demonstrations), sft_state(policy, config, RATE)
    train_sft(policy, demonstrations, validation, config, seed=0, hooks=Silent(), state=state)
    return Learnt(losses, policy.backbone_state())


def row_of(response: Response) -> dict[str, list[int]]:
    """Token ids as TRL takes them, so that nothing depends on how it would cut the texts."""
    mask = [0] * len(response.prompt) + [1] * len(response.response)
    return {"input_ids": [*response.prompt, *response.response], "completion_mask": mask}


def theirs(network: Any, rows: list[dict[str, list[int]]], folder: Path, micro: int) -> Learnt:
    """`SFTTrainer` on rows in their order, `micro` of them a forward pass."""
    config = TRLConfig(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=BATCH // micro,
        train_sampling_strategy="sequential",
        completion_only_loss=True,
        packing=False,
        max_length=None,
        optim="adamw_torch",
        learning_rate=RATE,
        weight_decay=DECAY,
        lr_scheduler_type="cosine",
        warmup_steps=STEPS // 4,
        max_grad_norm=MOST_NORM,
        logging_steps=1,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
    )
    trainer = SFTTrainer(
        model=network,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=letters_tokenizer(LETTERS),
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    learnt = {n: p.detach().clone() for n, p in network.named_parameters() if p.requires_grad}
    return Learnt(losses, learnt)


def in_our_order(demonstrations: WrittenDemonstrations) -> list[dict[str, list[int]]]:
    """The rows of every epoch as `train_sft` shuffles them; each epoch fills whole batches."""
    return [
        row_of(demonstrations.responses[i])
        for epoch in range(EPOCHS)
        for i in generator(0, "sft-order", epoch).permutation(len(demonstrations))
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("train", "micro_tokens", "micro_rows"),
    [("full", 4096, 4), ("full", 20, 1), ("last_n", 20, 2), ("lora", 4096, 2)],
)
def test_losses_and_weights_are_those_of_sft_trainer_on_the_same_batches(
    train: str, micro_tokens: int, micro_rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    policy = text_policy(LETTERS, train, max_new_tokens=8)
    network, start = deepcopy(policy.model.network), policy.backbone_state()
    rows = in_our_order(demonstrations_of(policy))
    assert all(row["input_ids"][-1] == END for row in rows)

    found = ours(policy, micro_tokens, monkeypatch)
    expected = theirs(network, rows, tmp_path, micro_rows)

    assert len(found.losses) == STEPS
    assert found.losses == pytest.approx(expected.losses, abs=1e-5)
    assert found.losses[-1] < found.losses[0] - 0.1
    assert found.weights.keys() == expected.weights.keys()
    for name, weight in found.weights.items():
        torch.testing.assert_close(weight, expected.weights[name], rtol=0, atol=1e-5, msg=name)
    moved = max(float((w - start[n]).abs().max()) for n, w in found.weights.items())
    assert moved > 1e-3  # hundreds of times what is allowed
