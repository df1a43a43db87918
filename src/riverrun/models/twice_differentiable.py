"""The decoder in torch's own operations, which can be differentiated twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from riverrun.models.config import DecoderConfig
from riverrun.models.decoder import Decoder, RMSNorm


def twice_differentiable(config: DecoderConfig) -> Decoder:
    """A decoder of the same function and parameters as `Decoder(config)`, for Hessian-vector products.

    On a CPU, the usual decoder's attention and RMSNorm have their gradients written out, and those cannot be
    differentiated again. The weights are left for the caller to fill. Call and differentiate it within
    `twice_differentiable_attention`, for the fused kernels cannot either.
    """
    model = Decoder(replace(config, attention="fused"), seed=None)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, RMSNorm):
                setattr(parent, name, nn.RMSNorm(child.weight.shape[0], child.eps))
    return model


@contextmanager
def twice_differentiable_attention() -> Iterator[None]:
    """Have scaled_dot_product_attention be matrix products and a softmax."""
    with sdpa_kernel(SDPBackend.MATH):
        yield
