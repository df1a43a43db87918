import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from riverrun.models.rms_norm import rms_norm


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 9), st.integers(1, 40), st.sampled_from([1e-6, 1.0]), st.integers(0, 100))
def test_values_and_gradients_are_torchs(rows, width, eps, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, rows, width, generator=generator, requires_grad=True)
    weight = torch.randn(width, generator=generator, requires_grad=True)
    upstream = torch.randn(2, rows, width, generator=generator)
    ours, theirs = rms_norm(x, weight, eps), F.rms_norm(x, (width,), weight, eps)
    torch.testing.assert_close(ours, theirs)
    for mine, torchs in zip(
        torch.autograd.grad(ours, (x, weight), upstream),
        torch.autograd.grad(theirs, (x, weight), upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, torchs, atol=2e-5, rtol=1e-4)


def test_a_row_of_zeros_stays_finite():
    x = torch.zeros(1, 3, 4, requires_grad=True)
    rms_norm(x, torch.ones(4), 1e-5).sum().backward()
    assert x.grad.isfinite().all()
