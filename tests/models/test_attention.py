import math

import pytest
import torch

from riverrun.models.attention import BLOCK, causal_attention, rotary_tables


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(1)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.fixture
def tables(tiny):
    cosine, sine = rotary_tables(tiny(context=2 * BLOCK + 30))
    return cosine.double(), sine.double()


@pytest.mark.parametrize("length", [1, 7, BLOCK, BLOCK + 1, 2 * BLOCK + 30])
@pytest.mark.parametrize(("heads", "shared"), [(2, 2), (4, 2), (3, 1)])
def test_plain_blocks_give_the_fused_kernels_values_and_gradients(draw, tables, length, heads, shared):
    projected = draw(2, length, heads + 2 * shared, 8).requires_grad_()
    upstream = draw(2, length, heads, 8)
    cosine, sine = (table[:length] for table in tables)
    results = []
    for kind in ("plain", "fused"):
        mixed = causal_attention(projected, heads, cosine, sine, kind)
        results.append([mixed, *torch.autograd.grad(mixed, projected, upstream)])
    for plain, fused in zip(*results, strict=True):
        torch.testing.assert_close(plain, fused)


def test_only_distances_count(draw, tables):
    """Rotary positions: the same heads from position 100 on give the same mixture as from position 0 on."""
    cosine, sine = tables
    projected = draw(1, 20, 6, 8)
    here = causal_attention(projected, 2, cosine[:20], sine[:20], "plain")
    there = causal_attention(projected, 2, cosine[100:120], sine[100:120], "plain")
    torch.testing.assert_close(here, there, atol=1e-6, rtol=1e-6)


def test_rotary_angles_are_the_papers(tiny):
    cosine, sine = rotary_tables(tiny(width=32, heads=4, rope_theta=100.0))
    for position, pair in ((0, 0), (1, 0), (7, 3), (47, 2)):
        angle = position * 100.0 ** (-2 * pair / 8)
        assert cosine[position, [pair, pair + 4]].tolist() == pytest.approx([math.cos(angle)] * 2, abs=1e-6)
        assert sine[position, [pair, pair + 4]].tolist() == pytest.approx(
            [-math.sin(angle), math.sin(angle)], abs=1e-6
        )
