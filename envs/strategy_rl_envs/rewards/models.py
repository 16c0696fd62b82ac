"""Rewards that a model gives. Knows no task; torch and transformers are imported on first use.

The setting `model` is a Hugging Face id or a folder; it is loaded once a process and read from
safetensors alone, without code of its own. Nothing is fetched unless `download: true`. Costs are
those of the model: on one CPU core about 16 ms a text of 40 tokens with 22 million weights.
An output without a word gets the low end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from strategy_rl_envs.kit.errors import SettingError, choices
from strategy_rl_envs.rewards.function import reward
from strategy_rl_envs.rewards.pretrained import Loaded, batches, load, run, start_token
from strategy_rl_envs.rewards.tokens import frozen_tokens


@reward(batched=True, bounds=(0.0, 1.0))
def embedding_similarity(
    output: Sequence[str],
    reference: Sequence[str | None],
    *,
    model: str = "",
    pooling: Literal["mean", "first"] = "mean",
    prefix: str = "",
    device: str = "cpu",
    download: bool = False,
) -> list[float | None]:
    """Cosine of the sentence vectors of output and reference, from -1..1 moved to 0..1.

    Range: 0 to 1; encoders often give 0.8 and more to any two texts, so a reward needs a shift.
    Cost: two texts through the encoder. Source: Reimers and Gurevych 2019. `pooling` (the mean of
    the last layer's vectors, or the first one) and `prefix` ("query: " for E5) as the model's card
    says.
    """
    loaded = load("AutoModel", model, device, download)
    texts = [text for pair in zip(output, reference, strict=True) for text in pair]
    wanted = sorted({text for text in texts if text is not None and frozen_tokens(text)})
    vectors = dict(zip(wanted, _vectors(loaded, wanted, pooling, prefix), strict=True))
    return [
        None if theirs is None or theirs not in vectors else _similarity(vectors, ours, theirs)
        for ours, theirs in zip(output, reference, strict=True)
    ]


@reward(batched=True, bounds=(0.0, 1.0))
def classifier_score(
    output: Sequence[str],
    source: Sequence[str | None] | None = None,
    reference: Sequence[str | None] | None = None,
    *,
    model: str = "",
    label: str = "",
    first: Literal["none", "source", "reference"] = "none",
    device: str = "cpu",
    download: bool = False,
) -> list[float | None]:
    """Probability that a text classifier gives the output's being `label`.

    With one number as the model's answer, its logistic. `first` puts the source or the reference
    before the output, as models of entailment want it; it abstains where that is missing.

    Range: 0 to 1. Cost: one text through the classifier. Source: the model's card.
    """
    loaded = load("AutoModelForSequenceClassification", model, device, download)
    place = _label_place(loaded.network.config, model, label)
    before = {"none": [""] * len(output), "source": source, "reference": reference}[first]
    if before is None:
        return [None] * len(output)
    scores: list[float | None] = [None if text is None else 0.0 for text in before]
    pairs = {
        i: (text,) if first == "none" else (earlier, text)
        for i, (earlier, text) in enumerate(zip(before, output, strict=True))
        if earlier is not None and frozen_tokens(text)
    }
    for i, score in zip(pairs, _classified(loaded, list(pairs.values()), place), strict=True):
        scores[i] = score
    return scores


@reward(batched=True, bounds=(0.0, 1.0))
def fluency(
    output: Sequence[str], *, model: str = "", device: str = "cpu", download: bool = False
) -> list[float]:
    """How well a causal language model foresees the output, token by token.

    1 + mean log-likelihood of a token / log(size of the vocabulary), not below 0: 0 is no better
    than guessing among all tokens, 1 is certainty. The first token counts where the model has a
    token to begin with. Repetition is easily foreseen: weigh it against `repetition`.

    Range: 0 to 1. Cost: one text through the model. Source: cross-entropy by its greatest value.
    """
    loaded = load("AutoModelForCausalLM", model, device, download)
    _refuse_foresight(loaded, model)
    asked = sorted({text for text in output if frozen_tokens(text)})
    scores = dict(zip(asked, _foreseen(loaded, asked), strict=True))
    return [scores.get(text, 0.0) for text in output]


def _similarity(vectors: Mapping[str, Any], ours: str, theirs: str) -> float:
    if ours not in vectors:
        return 0.0
    return _unit((1 + float(vectors[ours] @ vectors[theirs])) / 2)


def _vectors(loaded: Loaded, texts: Sequence[str], pooling: str, prefix: str) -> Iterator[Any]:
    """A unit vector for each text."""
    import torch

    for batch in batches(loaded, [(prefix + text,) for text in texts]):
        hidden = run(loaded, batch).last_hidden_state
        if pooling == "first":
            pooled = hidden[:, 0]
        else:
            mask = batch["attention_mask"].unsqueeze(-1)
            pooled = (hidden * mask).sum(1) / mask.sum(1)
        yield from torch.nn.functional.normalize(pooled, dim=-1)


def _classified(
    loaded: Loaded, pairs: Sequence[tuple[str, ...]], place: int | None
) -> Iterator[float]:
    """Probability of the label at `place`; None: the model gives a single number."""
    for batch in batches(loaded, pairs):
        logits = run(loaded, batch).logits
        shares = logits.sigmoid()[:, 0] if place is None else logits.softmax(-1)[:, place]
        yield from map(_unit, shares.tolist())


def _foreseen(loaded: Loaded, texts: Sequence[str]) -> Iterator[float]:
    """Mean log-likelihood of a token, from -log(vocabulary)..0 to 0..1."""
    start = start_token(loaded.tokenizer)
    for batch in batches(loaded, [(text,) for text in texts], start, size=4):
        logprobs = run(loaded, batch).logits[:, :-1].log_softmax(-1)
        following, mask = batch["input_ids"][:, 1:], batch["attention_mask"][:, 1:]
        found = logprobs.gather(-1, following.unsqueeze(-1)).squeeze(-1)
        means = (found * mask).sum(1) / mask.sum(1).clamp(min=1)
        scored = (mask.sum(1) > 0).tolist()
        widest = math.log(logprobs.shape[-1])
        for mean, any_scored in zip(means.tolist(), scored, strict=True):
            yield _unit(1 + mean / widest) if any_scored else 0.0


def _refuse_foresight(loaded: Loaded, model: str) -> None:
    """A masked model loads as a causal one too, but its answer to a token depends on the next."""
    import torch

    ids = torch.tensor([[0, 1], [0, 2]], device=loaded.network.device)
    one, other = run(loaded, {"input_ids": ids}).logits[:, 0]
    if (one - other).abs().max() > 1e-3 * one.abs().max():
        raise SettingError(
            f"model: {model!r} sees the tokens that follow; fluency needs a causal language model"
        )


def _label_place(config: Any, model: str, label: str) -> int | None:
    if config.num_labels == 1:
        return None
    names = {str(name): int(place) for place, name in config.id2label.items()}
    if label not in names:
        raise SettingError(f"label: {model!r} has no label {label!r}; {choices(label, names)}")
    return names[label]


def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)  # in this order NaN stays NaN, for the caller to refuse
