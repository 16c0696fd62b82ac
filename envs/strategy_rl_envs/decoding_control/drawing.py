"""How tokens are drawn. Pure functions of tensors; B rows, V tokens of the vocabulary.

Every row is computed from its own scores, setting and number: its neighbours do not move it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from strategy_rl_envs.decoding_control.knobs import Setting

_FIRST_LOOK = 256  # most probable tokens that are sorted before the whole vocabulary is


@dataclass(frozen=True)
class Controls:
    """Settings of B rows as tensors.

    Attributes:
        temperature: (B,) float32; 0 takes the most probable token.
        top_p: (B,) float64.
        penalty: (B,) float32.
        keyword_bonus: (B,) float32.
        end_bonus: (B,) float32.
    """

    temperature: Tensor
    top_p: Tensor
    penalty: Tensor
    keyword_bonus: Tensor
    end_bonus: Tensor

    @classmethod
    def of(cls, settings: Sequence[Setting], device: torch.device | str = "cpu") -> Controls:
        """Those of one setting a row."""

        def column(name: str, dtype: torch.dtype) -> Tensor:
            values = [getattr(setting, name) for setting in settings]
            return torch.tensor(values, dtype=dtype, device=device)

        return cls(
            column("temperature", torch.float32),
            column("top_p", torch.float64),
            column("repetition_penalty", torch.float32),
            column("keyword_bonus", torch.float32),
            column("end_bonus", torch.float32),
        )

    def take(self, rows: Tensor) -> Controls:
        """Those of some rows."""
        return Controls(*(getattr(self, field.name)[rows] for field in fields(self)))


def draw(
    logits: Tensor,
    ids: Tensor,
    controls: Controls,
    uniforms: Tensor,
    keyword_ids: Sequence[Sequence[int]],
    end_ids: Sequence[int],
) -> Tensor:
    """One token a row, int64 (B,).

    Args:
        logits: Float32 (B, V), as the model gives them.
        ids: Int64 (B, L): the tokens of prompt and text; shorter rows repeat any of theirs.
        controls: How each row is drawn.
        uniforms: Float64 (B,) in [0, 1).
        keyword_ids: The tokens that `keyword_bonus` is for, by row.
        end_ids: The tokens that `end_bonus` is for.
    """
    scores = penalised(logits, ids, controls.penalty)
    scores = raised(scores, keyword_ids, controls.keyword_bonus)
    scores = raised(scores, [end_ids] * len(scores), controls.end_bonus)
    tokens = scores.argmax(-1)
    hot = (controls.temperature > 0).nonzero().squeeze(-1)
    if len(hot):
        own = controls.take(hot)
        heated = scores[hot] / own.temperature[:, None]
        tokens[hot] = pick(nucleus(heated, own.top_p), uniforms[hot])
    return tokens


def penalised(logits: Tensor, ids: Tensor, penalty: Tensor) -> Tensor:
    """Scores of tokens that stand in `ids`, divided by the penalty; negative ones times it.

    Args:
        logits: Float32 (B, V).
        ids: Int64 (B, L).
        penalty: (B,); 1 changes nothing.

    Source: Keskar et al. 2019, section 4.1, with the negative scores as transformers has them.
    """
    if bool((penalty == 1).all()):
        return logits
    seen = logits.gather(1, ids)
    factor = penalty[:, None]
    return logits.scatter(1, ids, torch.where(seen < 0, seen * factor, seen / factor))


def raised(scores: Tensor, ids: Sequence[Sequence[int]], bonus: Tensor) -> Tensor:
    """Scores with a row's bonus on its tokens.

    Args:
        scores: Float32 (B, V).
        ids: Different tokens, by row.
        bonus: (B,); 0 changes nothing.
    """
    rows = [row for row, value in enumerate(bonus.tolist()) if value and ids[row]]
    if not rows:
        return scores
    scores = scores.clone()
    for row in rows:
        scores[row, list(ids[row])] += bonus[row]
    return scores


def nucleus(scores: Tensor, top_p: Tensor) -> Tensor:
    """Scores with -inf where a token is not among the fewest that hold `top_p`.

    Tokens with the same score as the last of them stay in too, so that ids do not matter.

    Args:
        scores: Float32 (B, V), already divided by the temperature.
        top_p: Float64 (B,) in (0, 1].

    Source: Holtzman et al. 2020, section 3.1.
    """
    cut = (top_p < 1).nonzero().squeeze(-1)
    if not len(cut):
        return scores
    least = torch.full_like(top_p, -torch.inf, dtype=scores.dtype)
    least[cut] = _least_kept(scores[cut], top_p[cut])
    return scores.masked_fill(scores < least[:, None], -torch.inf)


def _least_kept(scores: Tensor, top_p: Tensor) -> Tensor:
    """The smallest score that is kept, (B,).

    Few tokens hold most of the probability, and to sort few of a large vocabulary is far cheaper.
    """
    total = scores.double().logsumexp(-1)
    look = min(_FIRST_LOOK, scores.shape[-1])
    ordered = scores.topk(look).values
    held = (ordered.double() - total[:, None]).exp().cumsum(-1)
    count = (held < top_p[:, None]).sum(-1)
    least = ordered.gather(1, count.clamp(max=look - 1)[:, None]).squeeze(1)
    more = (count == look).nonzero().squeeze(-1)
    if look < scores.shape[-1] and len(more):
        ordered = scores[more].sort(dim=-1, descending=True).values
        held = (ordered.double() - total[more, None]).exp().cumsum(-1)
        count = (held < top_p[more, None]).sum(-1).clamp(max=scores.shape[-1] - 1)
        least[more] = ordered.gather(1, count[:, None]).squeeze(1)
    return least


def pick(scores: Tensor, uniforms: Tensor) -> Tensor:
    """The first token up to which the probabilities sum to more than the row's number, (B,).

    Args:
        scores: Float32 (B, V); -inf cannot be drawn.
        uniforms: Float64 (B,) in [0, 1).
    """
    # Summed in float64: in float32 the tail of a large vocabulary would be lost.
    cumulative = scores.softmax(-1).cumsum(-1, dtype=torch.float64)
    wanted = uniforms * cumulative[:, -1]
    return torch.searchsorted(cumulative, wanted[:, None], right=True).squeeze(1)


def surprisals(logits: Tensor, tokens: Tensor) -> Tensor:
    """Minus the log-probability of each token to the model as it is, nats, (B,).

    Args:
        logits: Float32 (B, V).
        tokens: Int64 (B,).
    """
    return logits.logsumexp(-1) - logits.gather(1, tokens[:, None]).squeeze(1)
