import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from riverrun.models import arithmetic, linear_cross_entropy
from riverrun.models.cross_entropy import CHUNK, chunk_positions

POSITIONS, WIDTH, ROWS = 50, 12, 37


@pytest.fixture
def draw():
    """Hidden states, an unembedding and targets, drawn in float64."""

    def drawn(dtype, positions=POSITIONS, width=WIDTH, rows=ROWS):
        generator = torch.Generator().manual_seed(3)
        hidden = torch.randn(positions, width, generator=generator, dtype=torch.float64)
        weight = torch.randn(rows, width, generator=generator, dtype=torch.float64)
        targets = torch.randint(rows, (positions,), generator=generator)
        return hidden.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), targets

    return drawn


class Largest(TorchDispatchMode):
    """Counts the elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        results = operation(*arguments, **(keywords or {}))
        for result in results if isinstance(results, list | tuple) else [results]:
            if isinstance(result, torch.Tensor):
                self.elements = max(self.elements, result.numel())
        return results


def with_gradients(loss, *tensors):
    return loss.detach(), *torch.autograd.grad(loss, tensors)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("positions", [1, 7, 25, 49, 50, 51, None])
def test_loss_and_gradients_are_those_of_whole_logits(draw, dtype, reduction, positions):
    hidden, weight, targets = draw(dtype)
    ours = linear_cross_entropy(hidden, weight, targets, reduction, positions)
    theirs = F.cross_entropy(hidden @ weight.T, targets, reduction=reduction)
    for mine, torchs in zip(
        with_gradients(3 * ours, hidden, weight), with_gradients(3 * theirs, hidden, weight), strict=True
    ):
        assert mine.dtype == torchs.dtype
        torch.testing.assert_close(mine, torchs)


@pytest.mark.parametrize("weight_dtype", [torch.float32, torch.bfloat16])
def test_autocast_multiplies_in_bf16_and_adds_up_in_fp32(draw, weight_dtype):
    """Weights are fp32, or bf16 as sharding with mixed precision hands them over."""
    hidden, weight, targets = draw(torch.float32, positions=3000)
    lent = weight.detach().to(weight_dtype).requires_grad_()
    with arithmetic("bf16", "cpu"):
        loss = linear_cross_entropy(hidden, lent, targets, "sum", positions=10)
    found = with_gradients(loss, hidden, lent)
    exact = with_gradients(F.cross_entropy(hidden @ weight.T, targets, reduction="sum"), hidden, weight)
    assert [tensor.dtype for tensor in found] == [torch.float32, torch.float32, weight_dtype]
    # 300 chunks: a sum in bf16 would stop growing, some hundredfold further off.
    for mine, reference, tolerance in zip(found, exact, (1e-3, 1e-2, 5e-3), strict=True):
        assert (mine.float() - reference).norm() < tolerance * reference.norm()


def test_bf16_tensors_need_no_autocast(draw):
    hidden, weight, targets = draw(torch.bfloat16)
    loss, by_hidden, by_weight = with_gradients(linear_cross_entropy(hidden, weight, targets), hidden, weight)
    assert (loss.dtype, by_hidden.dtype, by_weight.dtype) == (torch.float32, torch.bfloat16, torch.bfloat16)
    reference = F.cross_entropy((hidden @ weight.T).float(), targets)
    torch.testing.assert_close(loss, reference, rtol=1e-3, atol=0)


def test_without_gradients_it_is_the_same_loss(draw):
    hidden, weight, targets = draw(torch.float32)
    with_them = linear_cross_entropy(hidden, weight, targets, "sum", positions=7)
    with torch.no_grad():
        without = linear_cross_entropy(hidden, weight, targets, "sum", positions=7)
    assert not without.requires_grad
    assert torch.equal(with_them, without)


@pytest.mark.parametrize("gradients", [True, False])
def test_the_logits_are_never_whole(draw, gradients):
    hidden, weight, targets = draw(torch.float32, positions=512, rows=400)
    with torch.set_grad_enabled(gradients), Largest() as largest:
        loss = linear_cross_entropy(hidden, weight, targets, positions=64)
        if gradients:
            loss.backward()
    assert largest.elements == 64 * 400


def test_what_waits_for_the_backward_pass_is_as_large_as_hidden_states_and_weight(draw):
    hidden, weight, targets = draw(torch.float32, positions=512, rows=400)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()), lambda _: None):
        linear_cross_entropy(hidden, weight, targets, "sum", positions=64)
    assert sorted(kept) == sorted([hidden.numel(), weight.numel()])


def test_chunks_suit_the_device():
    assert chunk_positions(32_128) == 2048
    assert chunk_positions(CHUNK + 1) == 1
    assert chunk_positions(2**20) == 64


def test_a_second_derivative_is_refused(draw):
    """And not taken as if the gradient were a constant, which would be wrong in silence."""
    hidden, weight, targets = draw(torch.float64)
    before = torch.ones_like(hidden, requires_grad=True)
    loss = linear_cross_entropy(hidden * before**2, weight, targets)
    with pytest.raises(RuntimeError, match="only once"):
        torch.autograd.grad(loss, before, create_graph=True)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compilers_see_one_graph(draw, backend, precision):
    hidden, weight, targets = draw(torch.float32)
    compiled = torch.compile(linear_cross_entropy, backend=backend, fullgraph=True)
    results = []
    for function in (linear_cross_entropy, compiled):
        with arithmetic(precision, "cpu"):
            loss = function(hidden, weight, targets, "sum", 7)
        results.append(with_gradients(loss, hidden, weight))
        with torch.no_grad(), arithmetic(precision, "cpu"):
            torch.testing.assert_close(function(hidden, weight, targets, "sum", 7), loss)
    for eager, traced in zip(*results, strict=True):
        torch.testing.assert_close(traced, eager)
