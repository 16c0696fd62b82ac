"""A pretrained language model that writes: tokens in, the state before each next token out.

Decoders continue their prompt; of encoder-decoder models the encoder reads the prompt and the
decoder begins with its start token. Shapes: B rows, L tokens, H hidden size, N tokens of all rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, EncoderDecoderCache

from strategy_rl.backbone.boundary import Boundary, blocks_of, largest_difference, split_of
from strategy_rl.backbone.pretrained import Pretrained, ordinary_id
from strategy_rl.backbone.settings import BackboneSettings
from strategy_rl.errors import ModelError

_SAME_STATE = 1e-4  # of float32 hidden states by two ways
_SAME_LOGITS = 5e-3  # of the largest logit
_SAME_HALF_LOGITS = 0.05  # where the network may have rounded it to bfloat16


@dataclass(frozen=True)
class Row:
    """One prompt, what was written after it, and what the frozen part made of both.

    Attributes:
        prompt: Token ids.
        response: Token ids, the end token included where it came.
        trunk: (L, H) by the frozen blocks, for every token that is fed; None: not kept.
        encoded: (P, H) by the encoder, for every token of the prompt; None: no encoder, or it
            learns.
    """

    prompt: Sequence[int]
    response: Sequence[int]
    trunk: Tensor | None = None
    encoded: Tensor | None = None


@dataclass
class Decoding:
    """Texts being written, with what the model remembers of them.

    Attributes:
        hidden: (B, H) float32: the state from which the next token is predicted.
        trunk: (B, L, H): what the frozen blocks made of the tokens fed last; None: all learns.
        fed: (B, L) bool: which of these are tokens, not padding.
        encoded: (B, P, H) by the encoder, and which of these are tokens; None without one.
    """

    cache: Any
    mask: Tensor
    hidden: Tensor
    trunk: Tensor | None
    fed: Tensor
    encoded: tuple[Tensor, Tensor] | None = None

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the rows alone."""
        self.cache.batch_select_indices(rows)
        self.mask, self.hidden = self.mask[rows], self.hidden[rows]
        if self.encoded is not None:
            self.encoded = self.encoded[0][rows], self.encoded[1][rows]


class LanguageModel(Pretrained):
    """A causal or encoder-decoder model with its tokenizer, of which some weights learn.

    Weights that learn are float32; frozen ones have the format of the settings. Everything that
    learns in bfloat16 runs under autocast.

    Attributes:
        end_ids: Tokens that end a text; the first is the one that SFT teaches.
        reuses_trunk: Whether the frozen blocks need to read a token only once.
    """

    def __init__(
        self, network: nn.Module, tokenizer: Any, settings: BackboneSettings, *, half: bool = False
    ) -> None:
        super().__init__(network, tokenizer, settings)
        self.has_encoder = bool(network.config.is_encoder_decoder)  # type: ignore[union-attr]
        self.end_ids = _end_ids(network, tokenizer)
        self._half = half
        self._filler = ordinary_id(tokenizer)
        self._decoder: nn.Module = network.get_decoder()  # type: ignore[operator]
        self._takes_positions = (
            "position_ids" in inspect.signature(self._decoder.forward).parameters
        )
        self._head_copy: Tensor | None = None
        self.eval()
        self._boundary = self._find_boundary()
        self._check_head()

    @property
    def reuses_trunk(self) -> bool:
        """Whether the frozen blocks need to read a token only once."""
        return self._boundary is not None

    @property
    def encoder_learns(self) -> bool:
        """Whether what the encoder says of a prompt changes with training."""
        return self.has_encoder and any(
            p.requires_grad
            for p in self.network.get_encoder().parameters()  # type: ignore[operator]
        )

    @property
    def is_half(self) -> bool:
        """Whether anything is computed in bfloat16."""
        return self._half or any(p.dtype is torch.bfloat16 for p in self.network.parameters())

    @property
    def is_exact(self) -> bool:
        """Whether tokens read at once get the states of tokens written one by one.

        Up to float32 rounding; in bfloat16 only what the frozen blocks keep is the same again.
        """
        if not self.is_half:
            return True
        return self._boundary is not None and self._boundary.is_float

    # The head.

    @property
    def head_weight(self) -> Tensor:
        """(V, H) float32: what turns a state into the scores of all tokens."""
        weight: Tensor = self.network.get_output_embeddings().weight  # type: ignore[operator]
        if weight.dtype is torch.float32:
            return weight
        if self._head_copy is None or self._head_copy.device != weight.device:
            self._head_copy = weight.detach().float()
        return self._head_copy

    @property
    def head_bias(self) -> Tensor | None:
        """(V,) or None."""
        bias = getattr(self.network.get_output_embeddings(), "bias", None)  # type: ignore[operator]
        extra = getattr(self.network, "final_logits_bias", None)  # BART's
        if extra is not None:
            extra = extra.reshape(-1)
            bias = extra if bias is None else bias + extra
        return None if bias is None else bias.float()

    @property
    def head_scale(self) -> float:
        """What states are multiplied by before the head: T5 with tied embeddings scales them."""
        config = self.network.config
        scales = str(config.model_type) in ("t5", "mt5", "umt5")  # type: ignore[union-attr]
        tied = getattr(config, "scale_decoder_outputs", config.tie_word_embeddings)  # type: ignore[union-attr]
        return float(self.hidden_size**-0.5) if scales and tied else 1.0

    def save_full(self, directory: Path) -> None:
        """See `Pretrained.save_full`; what the model says of its end tokens is written too."""
        super().save_full(directory)
        settings = getattr(self.network, "generation_config", None)
        if settings is not None:
            settings.save_pretrained(directory)

    # Writing.

    @torch.no_grad()
    def begin(self, prompts: Sequence[Sequence[int]]) -> Decoding:
        """Read prompts; `hidden` is then the state before the first token of each response."""
        encoded = self._encode(prompts) if self.has_encoder else None
        contexts = [[self._start_id()]] * len(prompts) if self.has_encoder else prompts
        ids, mask = self._padded(contexts, left=True)
        cache = self._empty_cache()
        hidden = self._run(ids, mask, cache, encoded)
        return Decoding(cache, mask, hidden[:, -1].float(), self._seen(), mask, encoded)

    @torch.no_grad()
    def advance(self, decoding: Decoding, tokens: Tensor) -> None:
        """Feed one token a row, (B,); `hidden` is then the state before the next one."""
        one = torch.ones_like(tokens[:, None], dtype=torch.bool)
        decoding.mask = torch.cat([decoding.mask, one], 1)
        hidden = self._run(tokens[:, None], decoding.mask, decoding.cache, decoding.encoded)
        decoding.hidden, decoding.trunk, decoding.fed = hidden[:, -1].float(), self._seen(), one

    # Reading what was written.

    def states(self, rows: Sequence[Row]) -> Tensor:
        """The state before each token of the responses, with gradient where it learns.

        Rows that keep what the frozen part made of them are run through the rest alone.

        Returns:
            float32 of shape (N, H), row after row.
        """
        contexts = [[self._start_id()] if self.has_encoder else list(r.prompt) for r in rows]
        texts = [c + list(r.response)[:-1] for c, r in zip(contexts, rows, strict=True)]
        ids, _ = self._padded(texts, left=False)  # causal: what is on the right is not seen
        encoded = self._encoded_of(rows) if self.has_encoder else None
        trunk = self._trunk_of(rows, ids.shape[1])
        hidden = self._run(ids, None, None, encoded, trunk)
        starts = torch.tensor([len(c) - 1 for c in contexts], device=ids.device)
        lengths = torch.tensor([len(r.response) for r in rows], device=ids.device)
        places = torch.arange(ids.shape[1], device=ids.device)
        chosen = (places >= starts[:, None]) & (places < (starts + lengths)[:, None])
        return hidden[chosen].float()

    @torch.no_grad()
    def trunk_of(self, row: Row) -> tuple[Tensor | None, Tensor | None]:
        """What the frozen part makes of a row: `Row.trunk` and `Row.encoded`."""
        self.states([row])
        seen = self._seen()
        encoded = self._encode([row.prompt])[0][0] if self.has_encoder else None
        return (None if seen is None else seen[0]), encoded

    @torch.no_grad()
    def scores(self, row: Row) -> Tensor:
        """Scores of all tokens before each one of the response, by the network itself: (T, V).

        Slow, and by another way than `states`: to compare with.
        """
        response = torch.tensor([list(row.response)], device=self.device)
        context = [self._start_id()] if self.has_encoder else list(row.prompt)
        ids = torch.cat([torch.tensor([context], device=self.device), response[:, :-1]], 1)
        inputs = {"input_ids": ids}
        if self.has_encoder:
            inputs = {"input_ids": torch.tensor([list(row.prompt)], device=self.device)}
            inputs["decoder_input_ids"] = ids
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_half):
            logits: Tensor = self.network(**inputs).logits
        return logits[0, len(context) - 1 :].float()

    # Inside.

    def _empty_cache(self) -> Any:
        if self.has_encoder:  # the configuration may count the encoder's blocks
            return EncoderDecoderCache(DynamicCache(), DynamicCache())
        return DynamicCache(config=self.network.config)

    def _run(
        self,
        ids: Tensor,
        mask: Tensor | None,
        cache: Any,
        encoded: tuple[Tensor, Tensor] | None,
        trunk: Tensor | None = None,
    ) -> Tensor:
        """Last states (B, L, H); `mask` covers what the cache holds as well, None hides nothing."""
        inputs: dict[str, Any] = {"input_ids": ids}
        if mask is not None:
            inputs["attention_mask"] = mask.long()
            if self._takes_positions:
                positions = (mask.cumsum(1) - 1).clamp(min=0)
                inputs["position_ids"] = positions[:, -ids.shape[1] :]
        inputs |= {"past_key_values": cache, "use_cache": cache is not None}
        if encoded is not None:
            inputs |= {
                "encoder_hidden_states": encoded[0],
                "encoder_attention_mask": encoded[1].long(),
            }
        with self._format():
            if trunk is None or self._boundary is None:
                return self._decoder(**inputs).last_hidden_state  # type: ignore[no-any-return]
            return self._boundary.above(trunk, **inputs).last_hidden_state  # type: ignore[no-any-return]

    def _format(self) -> Any:
        if not self._half:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _encode(self, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        ids, mask = self._padded(prompts, left=False)
        encoder: Any = self.network.get_encoder()  # type: ignore[operator]
        with self._format():
            return encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask

    def _encoded_of(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        kept = [row.encoded for row in rows]
        if self.encoder_learns or any(tensor is None for tensor in kept):
            return self._encode([row.prompt for row in rows])
        _, mask = self._padded([row.prompt for row in rows], left=False)
        return nn.utils.rnn.pad_sequence(kept, batch_first=True), mask  # type: ignore[arg-type]

    def _trunk_of(self, rows: Sequence[Row], width: int) -> Tensor | None:
        kept = [row.trunk for row in rows]
        if self._boundary is None or any(tensor is None for tensor in kept):
            return None
        first = kept[0]
        assert first is not None
        trunk = first.new_zeros(len(rows), width, first.shape[-1])
        for number, tensor in enumerate(kept):
            assert tensor is not None
            trunk[number, : len(tensor)] = tensor
        return trunk

    def _seen(self) -> Tensor | None:
        return None if self._boundary is None else self._boundary.seen

    def _padded(self, rows: Sequence[Sequence[int]], *, left: bool) -> tuple[Tensor, Tensor]:
        """Ids and bool mask, (B, L) each."""
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self._filler)
        mask = torch.zeros(len(rows), width, dtype=torch.bool)
        for number, row in enumerate(rows):
            place = slice(width - len(row), None) if left else slice(None, len(row))
            ids[number, place] = torch.tensor(row, dtype=torch.long)
            mask[number, place] = True
        return ids.to(self.device), mask.to(self.device)

    def _start_id(self) -> int:
        start = self.network.config.decoder_start_token_id  # type: ignore[union-attr]
        if start is None:
            raise ModelError("the model's config.json names no decoder_start_token_id; add it")
        return int(start)  # type: ignore[arg-type]

    def _find_boundary(self) -> Boundary | None:
        """The boundary, where running the upper blocks alone gives the same states."""
        blocks = blocks_of(self._decoder)
        first = 0 if blocks is None else split_of(self._decoder, blocks)
        if blocks is None or not first or self.encoder_learns:
            return None
        boundary = Boundary(self._decoder, blocks, first)
        self._boundary = None
        row = Row(self._some_ids(5), self._some_ids(7))  # unlike each other: places matter then
        with torch.no_grad():
            whole = self.states([row])
            seen = boundary.seen
            assert seen is not None
            self._boundary = boundary
            parts = self.states([Row(row.prompt, row.response, trunk=seen[0])])
        scale = max(1.0, float(whole.abs().max()))
        if largest_difference(whole, parts) < _SAME_STATE * scale:
            return boundary
        boundary.remove()
        return None

    def _some_ids(self, count: int) -> list[int]:
        size = self.network.get_output_embeddings().weight.shape[0]  # type: ignore[operator]
        return [(self._filler + 3 * i) % size for i in range(count)]

    @torch.no_grad()
    def _check_head(self) -> None:
        """Refuse a network whose scores are more than a linear head of its last states.

        Raises:
            ModelError: They are.
        """
        if hasattr(self.network.get_output_embeddings(), "base_layer"):  # type: ignore[operator]
            raise ModelError(
                "backbone.lora.target_modules names the layer of the scores, which takes no "
                "adapter here; leave it out"
            )
        row = Row(self._some_ids(5), self._some_ids(3))
        theirs = self.scores(row)
        ours = self.states([row]) * self.head_scale @ self.head_weight.T
        if self.head_bias is not None:
            ours = ours + self.head_bias
        off = largest_difference(theirs, ours)
        limit = _SAME_HALF_LOGITS if self.is_half else _SAME_LOGITS
        if off > limit * float(theirs.abs().max()):
            kind = self.network.config.model_type  # type: ignore[union-attr]
            raise ModelError(
                f"a model of type {kind!r} makes its scores in a way that is not known here: they "
                f"differ by {off:.2g} from a linear head's; use a Llama, Qwen, GPT-2, T5 or BART"
            )


def _end_ids(network: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokenizer's end token, then those of the model's own generation settings."""
    settings = getattr(network, "generation_config", None)
    given = getattr(settings, "eos_token_id", None)
    listed = given if isinstance(given, list) else [given]
    found = [i for i in (tokenizer.eos_token_id, *listed) if i is not None]
    if not found:
        raise ModelError("the tokenizer names no end token (eos_token), so no text would ever end")
    return tuple(dict.fromkeys(found))
