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
        by_feature = (gradient * unit).flatten(0, -2)
        # The part of the gradient along x itself, which the norm takes away.
        along = torch.mv(by_feature, weight).div_(weight.shape[0]).view_as(scale)
        return torch.addcmul(gradient * weight, unit, along, value=-1).mul_(scale), by_feature.sum(0), None
