"""The root-mean-square norm (Zhang and Sennrich 2019), with few passes over memory on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight, over the last dimension of x [..., width]; weight is [width]."""
    if x.device.type == "cpu" and x.dtype == torch.float32:
        normed: Tensor = _RMSNorm.apply(x, weight, eps)  # type: ignore[no-untyped-call]
        return normed
    return F.rms_norm(x, weight.shape, weight, eps)


class _RMSNorm(torch.autograd.Function):
    """With its gradient written out: torch has no fused kernel on a CPU and derives every small step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        unit = x * scale
        ctx.save_for_backward(unit, weight, scale)
        return unit * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, weight, scale = ctx.saved_tensors
        by_weight = (gradient * unit).flatten(0, -2).sum(0)
        by_unit = gradient * weight
        # The norm takes away the part of the gradient that lies along x itself.
        along = (by_unit * unit).mean(dim=-1, keepdim=True)
        return torch.addcmul(by_unit, unit, along, value=-1).mul_(scale), by_weight, None
