import pytest
import torch

from riverrun.models.attention import BLOCK, causal_attention


@pytest.mark.parametrize("length", [1, 7, BLOCK, BLOCK + 1, 2 * BLOCK + 30])
@pytest.mark.parametrize(("heads", "shared"), [(2, 2), (4, 2), (3, 1)])
def test_plain_blocks_give_the_fused_kernels_values_and_gradients(length, heads, shared):
    generator = torch.Generator().manual_seed(length)

    def draw(count):
        return torch.randn(2, length, count, 8, generator=generator, dtype=torch.float64, requires_grad=True)

    inputs = [draw(heads), draw(shared), draw(shared)]
    upstream = torch.randn(2, length, heads, 8, generator=generator, dtype=torch.float64)
    results = []
    for kind in ("plain", "fused"):
        mixed = causal_attention(*inputs, kind)
        results.append([mixed, *torch.autograd.grad(mixed, inputs, upstream)])
    for plain, fused in zip(*results, strict=True):
        torch.testing.assert_close(plain, fused)


def test_only_the_inputs_that_need_gradients_get_them():
    query, key, value = (torch.randn(1, 4, 2, 4) for _ in range(3))
    query.requires_grad_()
    causal_attention(query, key, value, "plain").sum().backward()
    assert query.grad is not None
    assert key.grad is None
