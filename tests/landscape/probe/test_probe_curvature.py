"""Products with the Hessian, against differences of gradients and against the whole Hessian of a tiny model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from riverrun.landscape.probe.curvature import Curvature
from riverrun.landscape.probe.lanczos import largest_eigenpairs
from riverrun.models import Decoder, DecoderConfig
from riverrun.models.twice_differentiable import twice_differentiable, twice_differentiable_attention

CPU = torch.device("cpu")
LLAMA = DecoderConfig(family="llama", layers=2, width=8, heads=2, context=6, vocabulary=11, tied=True, mlp=8)
CONFIGS = {
    "llama, tied": LLAMA,
    "llama, grouped": replace(LLAMA, tied=False, kv_heads=1),
    "olmo": replace(LLAMA, family="olmo"),
}


@pytest.fixture(params=CONFIGS, ids=list(CONFIGS))
def config(request):
    return CONFIGS[request.param]


def drawn(config, sequences=5, dtype=torch.float64):
    weights = parameters_to_vector(Decoder(config, seed=1).parameters()).detach().to(dtype)
    tokens = np.random.default_rng(0).integers(0, config.vocabulary, (sequences, config.context + 1))
    return weights, tokens


def test_the_twice_differentiable_decoder_is_the_decoder(config):
    usual, other = Decoder(config, seed=1), twice_differentiable(config)
    other.load_state_dict(usual.state_dict())
    assert [name for name, _ in usual.named_parameters()] == [name for name, _ in other.named_parameters()]
    _, tokens = drawn(config)
    inputs = torch.from_numpy(tokens[:, :-1])
    with torch.no_grad(), twice_differentiable_attention():
        torch.testing.assert_close(usual(inputs), other(inputs))


def test_the_gradient_is_that_of_the_mean_loss_of_the_usual_decoder(config):
    weights, tokens = drawn(config, dtype=torch.float32)
    model = Decoder(config, seed=None)
    vector_to_parameters(weights.clone(), model.parameters())
    batch = torch.from_numpy(tokens)
    model.loss(batch[:, :-1], batch[:, 1:]).backward()
    expected = parameters_to_vector(parameter.grad for parameter in model.parameters())
    torch.testing.assert_close(
        Curvature(config, weights, tokens, CPU).gradient(), expected, atol=1e-6, rtol=1e-4
    )


def test_a_product_is_the_derivative_of_the_gradient(config):
    weights, tokens = drawn(config)
    direction = torch.randn(len(weights), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    step = 1e-6

    def gradient(at):
        return Curvature(config, at, tokens, CPU).gradient()

    expected = (gradient(weights + step * direction) - gradient(weights - step * direction)) / (2 * step)
    found = Curvature(config, weights, tokens, CPU).product(direction)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_many_sequences_are_taken_in_parts_that_add_up(monkeypatch):
    weights, tokens = drawn(LLAMA, sequences=7)
    direction = torch.ones_like(weights)
    whole = Curvature(LLAMA, weights, tokens, CPU).product(direction)
    monkeypatch.setattr("riverrun.landscape.probe.curvature._TOKENS_AT_ONCE", 3 * LLAMA.context)
    torch.testing.assert_close(Curvature(LLAMA, weights, tokens, CPU).product(direction), whole)


def test_the_eigenvalues_are_those_of_the_whole_hessian(config):
    config = replace(config, layers=1)  # the whole Hessian takes a product for each weight
    weights, tokens = drawn(config, dtype=torch.float32)
    size = len(weights)
    exact = Curvature(config, weights.double(), tokens, CPU)
    hessian = torch.stack([exact.product(row) for row in torch.eye(size, dtype=torch.float64)])
    expected = np.linalg.eigvalsh(hessian.numpy())[::-1][:4]
    curvature = Curvature(config, weights, tokens, CPU)
    found = largest_eigenpairs(curvature.product, size, 4, limit=120, tolerance=1e-4)
    np.testing.assert_allclose(found.values, expected, rtol=1e-3)
