"""A contender: PPO on tokens by TRL's experimental PPOTrainer, last shipped with TRL 1.12.0.

    python -m venv VENV && VENV/bin/pip install torch==2.13.0 trl==1.12.0 transformers==5.23.0 peft
    VENV/bin/python experiments/benchmarks/token_ppo_rival.py --model FOLDER [--threads 2]

An update: every prompt is answered with exactly as many new tokens, there is no end token, and all
of them are trained, one minibatch an epoch, all weights, float32. The first update is a warm-up.

The trainer asks for four models. Policy and reference are the given one; the reference is the copy
that it makes itself. The reward is a rule on token ids, which costs nothing. The value model is, as
in its documentation, the given one once more with a score head: it learns, and so it has gradients
and two moments an own weight. `--value tiny` takes the same rule for it, which gives a useless
critic but shows what is left of the cost without one. Off, to the rival's advantage: gradient
checkpointing, saving, evaluation, sampled completions and every logger.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers
import trl
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl.experimental.ppo import PPOConfig, PPOTrainer

PAD = "<|endoftext|>"  # not the end token: the trainer would cut responses there


class ParityBody(nn.Module):
    """Stands for a network: says of each token whether its id is odd, (B, L, 1)."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(self, input_ids: Tensor, **_: object) -> SimpleNamespace:
        """The ids of prompts with their responses, (B, L), which have to be of full length."""
        assert input_ids.shape[1] == self.length, f"{input_ids.shape[1]} tokens, not {self.length}"
        return SimpleNamespace(hidden_states=((input_ids % 2).float().unsqueeze(-1),))


class Parity(nn.Module):
    """A reward or value model in the form that the trainer takes apart."""

    base_model_prefix = "body"

    def __init__(self, length: int) -> None:
        super().__init__()
        self.body = ParityBody(length)
        self.score = nn.Linear(1, 1)


class Clock(transformers.TrainerCallback):
    """Marks the end of every update, in seconds: wall clock, processor, generation so far."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float, float]] = []
        self.generating = 0.0

    def timed(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        """A generation whose time is counted."""

        def wrapped(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            output = generate(*args, **options)
            self.generating += time.perf_counter() - start
            return output

        return wrapped

    def on_step_end(self, *args: object, **options: object) -> None:
        """An update is over."""
        self.marks.append((time.perf_counter(), time.process_time(), self.generating))

    def figures(self, tokens: int) -> dict[str, float]:
        """What the updates after the first took, for `tokens` response tokens an update."""
        passed = [last - first for first, last in zip(self.marks[0], self.marks[-1], strict=True)]
        wall, cpu, generating = passed
        updates = len(self.marks) - 1
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "tokens_per_second": tokens * updates / wall,
            "tokens_per_cpu_second": tokens * updates / cpu,
            "seconds_per_update": wall / updates,
            "generating_share": generating / wall,
            "peak_mb": peak / (2**20 if sys.platform == "darwin" else 2**10),
        }


def prompts(args: argparse.Namespace, vocabulary: int) -> list[dict[str, list[int]]]:
    """Prompts of equal length, of tokens drawn evenly but for the first ids, often special."""
    rng = random.Random(0)
    ids = range(vocabulary // 100, vocabulary)
    return [{"input_ids": rng.choices(ids, k=args.prompt_tokens)} for _ in range(args.prompts)]


def configuration(args: argparse.Namespace, folder: str) -> PPOConfig:
    """The trainer's settings; whatever is not named is as it has them."""
    return PPOConfig(
        output_dir=folder,
        per_device_train_batch_size=args.prompts,
        local_rollout_forward_batch_size=args.prompts,
        total_episodes=args.prompts * (args.updates + 1),
        num_mini_batches=1,
        num_ppo_epochs=args.epochs,
        response_length=args.new_tokens,
        temperature=1.0,
        num_sample_generations=0,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        eval_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )


def make_trainer(args: argparse.Namespace, folder: str, clock: Clock) -> PPOTrainer:
    """A trainer with its models."""
    tokenizer = AutoTokenizer.from_pretrained(args.model, pad_token=PAD, padding_side="left")
    policy = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    length = args.prompt_tokens + args.new_tokens
    if args.value == "tiny":
        value: nn.Module = Parity(length)
    else:
        value = AutoModelForSequenceClassification.from_pretrained(
            args.model, num_labels=1, dtype=torch.float32
        )
    policy.generate = clock.timed(policy.generate)
    return PPOTrainer(
        args=configuration(args, folder),
        processing_class=tokenizer,
        model=policy,
        ref_model=None,  # it copies the policy
        reward_model=Parity(length),
        value_model=value,
        train_dataset=prompts(args, policy.config.vocab_size),
        callbacks=[clock],
    )


def main() -> None:
    """Train and print one line of JSON, the last of the output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a Hugging Face folder")
    parser.add_argument("--value", choices=["model", "tiny"], default="model")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--prompt-tokens", type=int, default=32)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--updates", type=int, default=3, help="after the warm-up")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        make_trainer(args, folder, clock).train()
    figures: dict[str, object] = dict(clock.figures(args.prompts * args.new_tokens))
    versions = {"trl": trl.__version__, "transformers": transformers.__version__}
    print(json.dumps(figures | {"threads": args.threads, "value": args.value} | versions))


if __name__ == "__main__":
    main()
