"""Where the frozen blocks of a decoder end and those that learn begin.

What the frozen blocks make of a token never changes, so it is kept when a text is generated and
the blocks above are run on it alone, in every epoch. Works by hooks on the library's own modules.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Boundary:
    """Stands before the first block that learns; sees what comes, or puts something in its place.

    Attributes:
        seen: What last came, (B, L, H), in the frozen blocks' own number format.
    """

    def __init__(self, decoder: nn.Module, blocks: nn.ModuleList, first: int) -> None:
        self.seen: Tensor | None = None
        self._given: Tensor | None = None
        self._upper = _without_lower_blocks(decoder, blocks, first)
        block = blocks[first]
        self._dtype = next(block.parameters()).dtype
        self._hook = block.register_forward_pre_hook(self._meet, with_kwargs=True)

    def remove(self) -> None:
        """Leave the network as it was."""
        self._hook.remove()
        self.seen = None

    @property
    def is_float(self) -> bool:
        """Whether the blocks above compute in float32."""
        return self._dtype is torch.float32

    def _meet(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = kwargs["hidden_states"] if not args else args[0]
        hidden = given if self._given is None else self._given
        self.seen = hidden.detach()
        hidden = hidden.to(self._dtype)
        if args:
            return (hidden, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": hidden}

    def above(self, given: Tensor, **inputs: Any) -> Any:
        """Run the upper blocks on what the lower ones once gave.

        Args:
            given: Shape (B, L, H).
            inputs: As the whole decoder takes them.
        """
        self._given = given
        try:
            return self._upper(**inputs)
        finally:
            self._given = None


def split_of(decoder: nn.Module, blocks: nn.ModuleList) -> int:
    """Number of lowest blocks that are frozen; 0 where anything learns outside the blocks."""
    inside = {id(p) for p in blocks.parameters()}
    if any(p.requires_grad and id(p) not in inside for p in decoder.parameters()):
        return 0
    learning = [
        i for i, block in enumerate(blocks) if any(p.requires_grad for p in block.parameters())
    ]
    return learning[0] if learning else 0


def blocks_of(decoder: nn.Module) -> nn.ModuleList | None:
    """The decoder's list of blocks, its first list of modules; None where there is none."""
    return next((m for m in decoder.modules() if isinstance(m, nn.ModuleList)), None)


def halve_frozen(
    network: nn.Module, decoder: nn.Module, blocks: nn.ModuleList | None, first: int | None
) -> None:
    """Turn frozen weights into bfloat16.

    Args:
        network: The whole model.
        decoder: The part of it that writes.
        blocks: The decoder's.
        first: Number of the first block that learns in float32 with all that follows it; None:
            adapters learn, and they fit onto weights of any format.
    """
    if first is None or blocks is None:
        for parameter in network.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.bfloat16()
        return
    for module in (*blocks[:first], *_parts_of(network, decoder)):
        module.bfloat16()


def recompute_in_backward(blocks: Iterable[nn.Module]) -> None:
    """Keep of each block only what goes into it; for gradients its forward pass is run again.

    The library's own switch acts in training mode alone, which undoes the cache.
    """
    for block in blocks:
        block.forward = _recomputed(block.forward)


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run


def _parts_of(network: nn.Module, decoder: nn.Module) -> list[nn.Module]:
    """Embeddings, and the encoder where there is one: what comes before the decoder's blocks."""
    found: list[nn.Module] = [m for m in decoder.modules() if isinstance(m, nn.Embedding)]
    if network.config.is_encoder_decoder:  # type: ignore[union-attr]
        found.append(network.get_encoder())  # type: ignore[operator]
    return found


def _without_lower_blocks(decoder: nn.Module, blocks: nn.ModuleList, first: int) -> nn.Module:
    """The decoder with its upper blocks alone; every weight is shared."""
    if decoder is blocks:
        return nn.ModuleList(blocks[first:])
    twin = copy.copy(decoder)
    config = getattr(decoder, "config", None)
    if getattr(config, "layer_types", None):  # looked up by a block's place: its attention window
        own: Any = copy.copy(config)
        own.layer_types = own.layer_types[first:]
        twin.config = own
    twin._modules = {
        name: child
        if child is None or all(blocks is not module for module in child.modules())
        else _without_lower_blocks(child, blocks, first)
        for name, child in decoder._modules.items()
    }
    return twin


@torch.no_grad()
def largest_difference(one: Tensor, other: Tensor) -> float:
    """Of two tensors of one shape."""
    return float((one.float() - other.float()).abs().max())
