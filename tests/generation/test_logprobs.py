import math
import weakref
from typing import NamedTuple

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from strategy_rl.generation.logprobs import CHUNK_SCORES, Head, TokenLogprobs, token_logprobs
from strategy_rl.generation.sampling import Sampling, kept_tokens, pack, unpack

N, H, V = 20, 8, 37
TEMPERATURE = 0.7


class Case(NamedTuple):
    hidden: torch.Tensor
    head: Head
    tokens: torch.Tensor
    kept: torch.Tensor | None  # packed
    upstream: torch.Tensor  # (2, N): what the loss says of log-probabilities and entropies


def make_case(*, learns=False, bias=False, scale=1.0, cut=False, rows=N) -> Case:
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    weight = random(V, H).requires_grad_(learns)
    head = Head(weight, random(V).requires_grad_(learns) if bias else None, scale)
    hidden = random(rows, H).requires_grad_()
    logits = (dense_logits(hidden, head) / TEMPERATURE).detach()
    kept = kept_tokens(logits, Sampling(top_k=9, top_p=0.8)) if cut else None
    tokens = torch.randint(V, (rows,), generator=generator)
    if kept is not None:
        tokens = logits.masked_fill(~kept, -math.inf).argmax(-1)
    packed = None if kept is None else pack(kept)
    return Case(hidden, head, tokens, packed, random(2, rows))


def dense_logits(hidden, head):
    logits = hidden * head.scale @ head.weight.float().T
    return logits if head.bias is None else logits + head.bias


def dense(case: Case, temperature: float = TEMPERATURE) -> TokenLogprobs:
    """The plain way, by autograd through the whole table; e**-1e9 is 0."""
    logits = dense_logits(case.hidden, case.head) / temperature
    if case.kept is not None:
        logits = logits.masked_fill(~unpack(case.kept, V), -1e9)
    logs = logits.log_softmax(-1)
    entropy = -(logs.exp() * logs).sum(-1)
    return TokenLogprobs(logs.gather(1, case.tokens[:, None]).squeeze(1), entropy)


def ours(case: Case, chunk_rows=7, entropy_gradient=False) -> TokenLogprobs:
    return token_logprobs(
        case.hidden,
        case.head,
        case.tokens,
        temperature=TEMPERATURE,
        kept=case.kept,
        chunk_rows=chunk_rows,
        entropy_gradient=entropy_gradient,
    )


def gradients(case: Case, spoken: TokenLogprobs, with_entropy: bool) -> list[torch.Tensor]:
    loss = (case.upstream[0] * spoken.logprobs).sum()
    if with_entropy:
        loss = loss + (case.upstream[1] * spoken.entropy).sum()
    parts = [case.hidden, case.head.weight, case.head.bias]
    learning = [part for part in parts if part is not None and part.requires_grad]
    return list(torch.autograd.grad(loss, learning))


SHAPES = [
    {},
    {"bias": True, "scale": 0.35},
    {"cut": True},
    {"learns": True},
    {"learns": True, "bias": True, "scale": 0.35, "cut": True},
]


@pytest.mark.parametrize("chunk_rows", [1, 7, N, None])
@pytest.mark.parametrize("entropy_gradient", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_the_whole_table(shape, entropy_gradient, chunk_rows):
    case = make_case(**shape)
    expected, spoken = dense(case), ours(case, chunk_rows, entropy_gradient)
    torch.testing.assert_close(spoken.logprobs, expected.logprobs, atol=1e-5, rtol=0)
    torch.testing.assert_close(spoken.entropy, expected.entropy, atol=1e-5, rtol=0)
    theirs = gradients(case, expected, entropy_gradient)
    mine = gradients(case, spoken, entropy_gradient)
    assert len(mine) == 1 + shape.get("learns", False) * (1 + shape.get("bias", False))
    for our, their in zip(mine, theirs, strict=True):
        torch.testing.assert_close(our, their, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("learns", [False, True])
def test_the_entropy_is_a_constant_unless_its_gradient_is_asked_for(learns):
    case = make_case(learns=learns)
    assert not ours(case).entropy.requires_grad
    assert ours(case, entropy_gradient=True).entropy.requires_grad


@pytest.mark.parametrize("learns", [False, True])
def test_the_entropy_alone_can_be_followed(learns):
    case = make_case(learns=learns)
    slope = torch.autograd.grad(ours(case, entropy_gradient=True).entropy.sum(), case.hidden)
    expected = torch.autograd.grad(dense(case).entropy.sum(), case.hidden)
    torch.testing.assert_close(slope, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("entropy_gradient", [False, True])
def test_gradients_are_the_differences_that_a_small_step_makes(entropy_gradient):
    case = make_case(scale=0.5)
    (slope,) = gradients(case, ours(case, 7, entropy_gradient), entropy_gradient)

    def loss(hidden):
        spoken = dense(
            case._replace(hidden=hidden, head=Head(case.head.weight.double(), None, 0.5))
        )
        total = case.upstream[0] @ spoken.logprobs.float()
        return total + case.upstream[1] @ spoken.entropy.float() * entropy_gradient

    step = torch.zeros(N, H)
    for row, column in ((0, 0), (11, 3), (19, 7)):
        step.zero_()[row, column] = 1e-2
        with torch.no_grad():
            difference = loss(case.hidden + step) - loss(case.hidden - step)
        assert float(slope[row, column]) == pytest.approx(float(difference) / 2e-2, abs=2e-3)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("learns", [False, True])
def test_without_gradients_the_values_are_the_same(mode, learns):
    case = make_case(learns=learns, cut=True)
    expected = ours(case)
    with mode():
        spoken = ours(case)
    assert not spoken.logprobs.requires_grad
    assert spoken.logprobs.equal(expected.logprobs)
    assert spoken.entropy.equal(expected.entropy)


@pytest.mark.parametrize("entropy_gradient", [False, True])
@pytest.mark.parametrize("learns", [False, True])
def test_a_token_that_had_no_rival_is_certain_and_teaches_nothing(learns, entropy_gradient):
    case = make_case(learns=learns)
    case = case._replace(kept=pack(torch.nn.functional.one_hot(case.tokens, V)))
    spoken = ours(case, 7, entropy_gradient)
    assert spoken.logprobs.tolist() == [0.0] * N
    assert spoken.entropy.tolist() == [0.0] * N
    for gradient in gradients(case, spoken, entropy_gradient):
        assert int(gradient.count_nonzero()) == 0


def test_a_stored_bfloat16_head_is_multiplied_in_float32():
    case = make_case(bias=True)
    half = Head(case.head.weight.bfloat16(), case.head.bias.bfloat16())
    widened = Head(half.weight.float(), half.bias.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = half.logits(case.hidden)
        spoken = ours(case._replace(head=half))
        slope = torch.autograd.grad(spoken.logprobs.sum(), case.hidden)[0]
    expected = ours(case._replace(head=widened))
    assert logits.dtype is torch.float32
    torch.testing.assert_close(logits, dense_logits(case.hidden, widened), atol=1e-5, rtol=0)
    torch.testing.assert_close(spoken.logprobs, expected.logprobs, atol=1e-6, rtol=0)
    theirs = torch.autograd.grad(expected.logprobs.sum(), case.hidden)[0]
    torch.testing.assert_close(slope, theirs, atol=1e-5, rtol=0)


def test_bfloat16_states_get_bfloat16_gradients():
    case = make_case()
    hidden = case.hidden.detach().bfloat16().requires_grad_()
    spoken = ours(case._replace(hidden=hidden))
    assert spoken.logprobs.dtype is torch.float32
    assert torch.autograd.grad(spoken.logprobs.sum(), hidden)[0].dtype is torch.bfloat16


def test_scores_far_apart_stay_finite():
    case = make_case(cut=True)
    spoken = ours(case._replace(head=Head(case.head.weight * 1e4)), 7, entropy_gradient=True)
    (slope,) = gradients(case, spoken, True)
    assert all(bool(part.isfinite().all()) for part in (*spoken, slope))


def test_no_tokens_are_no_error():
    case = make_case(rows=0)
    spoken = ours(case)
    assert spoken.logprobs.shape == (0,)
    assert torch.autograd.grad(spoken.logprobs.sum(), case.hidden)[0].shape == (0, H)


class Largest(TorchDispatchMode):
    """Notes the elements of the largest memory that any operation gives back."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.size = max(self.size, leaf.untyped_storage().nbytes() // leaf.itemsize)
        return out


@pytest.mark.parametrize("entropy_gradient", [False, True])
@pytest.mark.parametrize("learns", [False, True])
def test_no_tensor_is_larger_than_a_chunk_of_the_vocabulary(learns, entropy_gradient):
    rows, chunk = 150, 60  # more than H, so that the weight and its gradient are no larger
    case = make_case(learns=learns, cut=True, rows=rows)
    with Largest() as largest:
        gradients(case, ours(case, chunk, entropy_gradient), entropy_gradient)
    assert largest.size == chunk * math.ceil(V / 8) * 8 < rows * V  # whole bytes of kept tokens
    with Largest() as largest:
        gradients(case, dense(case), entropy_gradient)
    assert largest.size >= rows * V


class Held(TorchDispatchMode):
    """Notes how many chunks' worth of scores are in memory at once."""

    def __init__(self, size):
        super().__init__()
        self.size, self.most, self.alive = size, 0, weakref.WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.numel() == self.size:
            self.alive.add(out.untyped_storage())
            self.most = max(self.most, len({storage.data_ptr() for storage in self.alive}))
        return out


@pytest.mark.parametrize("entropy_gradient", [False, True])
@pytest.mark.parametrize("learns", [False, True])
def test_no_chunk_is_in_memory_beside_the_next(learns, entropy_gradient):
    case = make_case(learns=learns)
    with Held(5 * V) as held:
        gradients(case, ours(case, 5, entropy_gradient), entropy_gradient)
    assert held.most == 3  # log-probabilities, probabilities, their product


def test_by_default_a_chunk_is_as_large_as_the_limit_allows():
    rows, vocabulary = 400, 2**15
    hidden, head = torch.randn(rows, 2), Head(torch.randn(vocabulary, 2))
    tokens = torch.zeros(rows, dtype=torch.long)
    with Largest() as largest:
        token_logprobs(hidden, head, tokens, temperature=1.0, kept=None)
    assert largest.size == CHUNK_SCORES // vocabulary * vocabulary < rows * vocabulary
