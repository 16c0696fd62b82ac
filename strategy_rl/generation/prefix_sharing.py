"""Reads the candidates of a context without reading the context again for each.

`read_in_one_row` keeps the context in the key-value cache; the candidates follow as one row, and a
mask keeps them from seeing each other. A model that does not take such a mask has `read_in_rows`: a
row for each candidate, over copies of the cache. `read_whole` is the plain way, for any model.
Only the last token of a candidate is not fed: nothing follows it.

B contexts, R rows, L tokens of a padded batch, D states, N tokens of all candidates, H hidden size.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from strategy_rl.backbone import Decoding, LanguageModel, Row
from strategy_rl.generation.micro_batches import cut_by_tokens

Ids: TypeAlias = Sequence[int]
Offered: TypeAlias = Sequence[Sequence[Ids]]  # of each context its candidates

_ROW_TOKENS = 512  # in longer rows what the mask hides takes too much of the time


class States(NamedTuple):
    """What the model made of the tokens: `hidden[places[i]]` is the state before token i.

    Attributes:
        hidden: (D, H) float32; candidates of one context share the state before their first token.
        places: (N,) int64, candidate after candidate.
    """

    hidden: Tensor
    places: Tensor


def read_whole(
    model: LanguageModel, contexts: Sequence[Ids], candidates: Offered, most_tokens: int
) -> States:
    """The context again before each candidate: K (C + c) tokens.

    Args:
        model: Reads.
        contexts: Token ids, at least one each.
        candidates: Of each context, with at least one token each.
        most_tokens: Of one forward pass, more or less; it bounds the memory.
    """
    rows = [Row(c, ids) for c, group in zip(contexts, candidates, strict=True) for ids in group]
    states: list[Tensor] = [torch.empty(0)] * len(rows)
    for numbers in cut_by_tokens(rows, range(len(rows)), most_tokens):
        read = model.states([rows[i] for i in numbers])
        parts = torch.split(read, [len(rows[i].response) for i in numbers])
        for number, part in zip(numbers, parts, strict=True):
            states[number] = part
    hidden = torch.cat(states)
    return States(hidden, torch.arange(len(hidden), device=hidden.device))


def read_in_one_row(
    model: LanguageModel, contexts: Sequence[Ids], candidates: Offered, most_tokens: int
) -> States:
    """C + K c tokens over one cache; arguments as in `read_whole`.

    Raises:
        ValueError: The model's attention has a window, which the mask would open.
    """
    decoding = model.begin(contexts)
    if any(decoding.cache.is_sliding):
        raise ValueError("the attention has a window")
    fed = [[ids[:-1] for ids in group] for group in candidates]
    size = min(most_tokens, _ROW_TOKENS)
    parts = [fed] if len(fed) > 1 else [[part] for part in _cut(fed[0], size)]
    later = [_behind(model, decoding, part) for part in parts]
    return States(torch.cat([decoding.hidden, *later]), _places(candidates, model.device))


def read_in_rows(
    model: LanguageModel, contexts: Sequence[Ids], candidates: Offered, most_tokens: int
) -> States:
    """C + K c tokens over K copies of the cache; arguments as in `read_whole`."""
    decoding = model.begin(contexts)
    fed = [(owner, ids[:-1]) for owner, group in enumerate(candidates) for ids in group]
    width = decoding.mask.shape[1] + max(len(ids) for _, ids in fed)
    size = max(1, most_tokens // width)
    parts = [fed[start : start + size] for start in range(0, len(fed), size)]
    later = [_beside(model, copy.deepcopy(decoding), part) for part in parts]
    return States(torch.cat([decoding.hidden, *later]), _places(candidates, model.device))


def _behind(model: LanguageModel, decoding: Decoding, candidates: Offered) -> Tensor:
    """States after candidates one behind the other, (D, H); the cache is left as it was."""
    ids, lengths = _padded([[i for ids in group for i in ids] for group in candidates], model)
    owners = [[n for n, ids in enumerate(group, 1) for _ in ids] for group in candidates]
    places = [[place for ids in group for place in range(len(ids))] for group in candidates]
    owner, place = _padded(owners, model)[0], _padded(places, model)[0]
    size = ids.shape[1]
    order = torch.arange(size, device=model.device)
    own = (owner[:, :, None] == owner[:, None]) & (order[:, None] >= order)  # padding sees padding
    seen = decoding.mask[:, None].expand(-1, size, -1)
    positions = decoding.mask.sum(1, keepdim=True) + place
    hidden = _read_on(model, decoding, ids, torch.cat([seen, own], 2)[:, None], positions)
    decoding.cache.crop(-size)
    return hidden[order < lengths[:, None]]


def _beside(model: LanguageModel, decoding: Decoding, fed: Sequence[tuple[int, Ids]]) -> Tensor:
    """States after rows behind copies of their contexts, (D, H)."""
    decoding.keep(torch.tensor([owner for owner, _ in fed], device=model.device))
    ids, lengths = _padded([ids for _, ids in fed], model)
    own = torch.arange(ids.shape[1], device=model.device) < lengths[:, None]
    mask = torch.cat([decoding.mask, own], 1)
    positions = (mask.cumsum(1) - 1)[:, decoding.mask.shape[1] :]
    return _read_on(model, decoding, ids, mask.long(), positions)[own]


def _read_on(
    model: LanguageModel, decoding: Decoding, ids: Tensor, mask: Tensor, positions: Tensor
) -> Tensor:
    """Last states (R, L, H) float32 of tokens (R, L) behind what the cache holds."""
    if not ids.shape[1]:
        return decoding.hidden.new_empty(*ids.shape, decoding.hidden.shape[-1])
    decoder: Any = model.network.get_decoder()  # type: ignore[operator]
    with torch.autocast(model.device.type, torch.bfloat16, enabled=model.is_half):
        read = decoder(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=decoding.cache,
            use_cache=True,
        )
    hidden: Tensor = read.last_hidden_state
    return hidden.float()


def _places(candidates: Offered, device: torch.device) -> Tensor:
    """Where the state before each token is: of the contexts' states, or of those that follow."""
    places: list[int] = []
    following = len(candidates)
    for context, group in enumerate(candidates):
        for ids in group:
            places += [context, *range(following, following + len(ids) - 1)]
            following += len(ids) - 1
    return torch.tensor(places, device=device)


def _cut(candidates: Sequence[Ids], most_tokens: int) -> Iterator[list[Ids]]:
    """Candidates in order, cut where they would pass so many tokens."""
    part: list[Ids] = []
    size = 0
    for ids in candidates:
        if part and size + len(ids) > most_tokens:
            yield part
            part, size = [], 0
        part.append(ids)
        size += len(ids)
    yield part


def _padded(rows: Sequence[Ids], model: LanguageModel) -> tuple[Tensor, Tensor]:
    """Rows side by side, 0 on the right of each, (R, L); and their lengths, (R,)."""
    lengths = torch.tensor([len(row) for row in rows], device=model.device)
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    padded = nn.utils.rnn.pad_sequence(tensors, batch_first=True)
    return padded.to(model.device), lengths
