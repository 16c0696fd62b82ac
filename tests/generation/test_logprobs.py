"""Chunked log-probabilities against the dense way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from strategy_rl.generation.logprobs import Head, token_logprobs
from strategy_rl.generation.sampling import pack

N, H, V = 13, 6, 40


def parts(learns: bool = False, bias: bool = False) -> tuple[Tensor, Head, Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(N, H, requires_grad=True)
    weight = torch.randn(V, H, requires_grad=learns)
    shift = torch.randn(V, requires_grad=learns) if bias else None
    return hidden, Head(weight, shift, scale=0.7), torch.randint(0, V, (N,))


def kept_with(tokens: Tensor) -> Tensor:
    kept = torch.rand(N, V) < 0.3
    kept[torch.arange(N), tokens] = True
    return kept


def dense(
    hidden: Tensor, head: Head, tokens: Tensor, temperature: float, kept: Tensor | None
) -> tuple[Tensor, Tensor]:
    logits = hidden * head.scale @ head.weight.T
    if head.bias is not None:
        logits = logits + head.bias
    logits = logits / temperature
    if kept is not None:
        logits = torch.where(kept, logits, torch.tensor(-1e9))
    logs = logits.log_softmax(-1)
    return logs[torch.arange(len(tokens)), tokens], -(logs.exp() * logs).sum(-1)


def gradients(loss: Tensor, *tensors: Tensor | None) -> list[Tensor]:
    wanted = [t for t in tensors if t is not None and t.requires_grad]
    return list(torch.autograd.grad(loss, wanted))


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("chunk_rows", [1, 7, 100])
def test_values_and_gradients_are_those_of_the_dense_way(
    learns: bool, bias: bool, cut: bool, chunk_rows: int
) -> None:
    hidden, head, tokens = parts(learns, bias)
    kept = kept_with(tokens) if cut else None
    weights = torch.randn(N)
    ours = token_logprobs(
        hidden,
        head,
        tokens,
        temperature=0.6,
        kept=None if kept is None else pack(kept),
        chunk_rows=chunk_rows,
    )
    logprobs, entropy = dense(hidden, head, tokens, 0.6, kept)
    torch.testing.assert_close(ours.logprobs, logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.entropy, entropy, atol=1e-5, rtol=1e-5)
    mine = gradients((ours.logprobs * weights).sum(), hidden, head.weight, head.bias)
    theirs = gradients((logprobs * weights).sum(), hidden, head.weight, head.bias)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert not ours.entropy.requires_grad


@pytest.mark.parametrize("learns", [False, True])
def test_the_entropy_has_its_gradient_where_it_is_asked_for(learns: bool) -> None:
    hidden, head, tokens = parts(learns)
    ours = token_logprobs(hidden, head, tokens, entropy_gradient=True, chunk_rows=4)
    _, entropy = dense(hidden, head, tokens, 1.0, None)
    (mine,), (theirs,) = (gradients(x.sum(), hidden) for x in (ours.entropy, entropy))
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_the_gradient_is_the_slope() -> None:
    hidden, head, tokens = parts()
    hidden, head = hidden.detach().double(), Head(head.weight.double())
    step = 1e-3 * torch.randn(N, H, dtype=torch.float64)

    def total(states: Tensor) -> Tensor:
        return token_logprobs(states, head, tokens).logprobs.double().sum()

    states = hidden.float().requires_grad_()
    (slope,) = gradients(total(states), states)
    rise = total((hidden + step).float()) - total((hidden - step).float())
    assert float((slope.double() * step).sum() * 2) == pytest.approx(float(rise), rel=1e-2)


def test_a_single_kept_token_has_no_entropy_and_no_gradient() -> None:
    hidden, head, tokens = parts()
    kept = torch.zeros(N, V, dtype=torch.bool)
    kept[torch.arange(N), tokens] = True
    ours = token_logprobs(hidden, head, tokens, kept=pack(kept))
    assert ours.logprobs.abs().max() == 0
    assert ours.entropy.abs().max() == 0
    assert gradients(ours.logprobs.sum(), hidden)[0].abs().max() < 1e-6


def test_a_bfloat16_head_is_multiplied_in_float32() -> None:
    hidden, head, tokens = parts()
    half = Head(head.weight.bfloat16())
    exact = Head(half.weight.float())
    ours, theirs = (token_logprobs(hidden, h, tokens).logprobs for h in (half, exact))
    assert ours.equal(theirs)
    assert ours.dtype is torch.float32


class LargestTensor(TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("learns", [False, True])
def test_there_is_never_a_table_of_all_tokens_by_all_rows(learns: bool) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(200, H, requires_grad=True)
    head = Head(torch.randn(500, H, requires_grad=learns))
    tokens = torch.randint(0, 500, (200,))
    with LargestTensor() as seen:
        token_logprobs(hidden, head, tokens, chunk_rows=8).logprobs.sum().backward()
    assert seen.elements == 8 * 500
    assert hidden.grad is not None


def test_nothing_is_made_for_a_backward_pass_that_will_not_be() -> None:
    hidden, head, tokens = parts()
    with torch.inference_mode():
        assert not token_logprobs(hidden.detach(), head, tokens).logprobs.requires_grad
