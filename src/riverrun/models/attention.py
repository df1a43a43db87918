"""Causal attention: torch's fused kernel, and plain matrix products in blocks, which CPUs run faster.

Shapes: B sequences, T positions, H query heads, K key and value heads (K divides H), D features a head.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from riverrun.models.config import AttentionKind

# Queries per block. Larger blocks compute more of what the mask throws away, smaller ones call more kernels.
BLOCK = 256


def causal_attention(query: Tensor, key: Tensor, value: Tensor, kind: AttentionKind) -> Tensor:
    """softmax(query key^T / sqrt(D)) value, each position seeing itself and those before it.

    Args:
        query: [B, T, H, D].
        key: [B, T, K, D]; each key head serves H / K successive query heads.
        value: [B, T, K, D].
        kind: "fused" is scaled_dot_product_attention; "plain" multiplies, masks and normalises block by
            block; "auto" is "plain" on a CPU and "fused" elsewhere.

    Returns:
        [B, T, H, D].
    """
    batch, length, heads, features = query.shape
    shared = heads // key.shape[2]
    if kind == "fused" or (kind == "auto" and query.device.type != "cpu"):
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        fused = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=shared > 1)
        return fused.transpose(1, 2)
    if shared > 1:
        key, value = key.repeat_interleave(shared, dim=2), value.repeat_interleave(shared, dim=2)
    by_head = [x.permute(2, 0, 1, 3).reshape(-1, length, features) for x in (query, key, value)]
    mixed: Tensor = _BlockedAttention.apply(*by_head)  # type: ignore[no-untyped-call]
    return mixed.view(heads, batch, length, features).permute(1, 2, 0, 3)


class _BlockedAttention(torch.autograd.Function):
    """Causal attention over [N, T, D] tensors, `BLOCK` queries at a time.

    A block of queries multiplies only the keys up to its own end, so that nearly half of the products are
    saved and the tiles stay in the cache. The backward pass is written out because autograd's would fill and add a
    whole gradient for every slice.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        length, features = query.shape[1:]
        query = query * features**-0.5
        size = min(BLOCK, length)
        mask = torch.full((size, size), -math.inf, dtype=query.dtype, device=query.device).triu_(1)
        mixed = torch.empty_like(query)
        weights = []
        for start in range(0, length, BLOCK):
            end = min(start + BLOCK, length)
            scores = query[:, start:end] @ key[:, :end].transpose(1, 2)
            scores[:, :, start:] += mask[: end - start, : end - start]
            weights.append(scores.softmax(dim=-1))
            mixed[:, start:end] = weights[-1] @ value[:, :end]
        ctx.save_for_backward(query, key, value, *weights)
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, *weights = ctx.saved_tensors
        length, features = query.shape[1:]
        query_gradient = torch.empty_like(query)
        key_gradient, value_gradient = torch.empty_like(key), torch.empty_like(value)
        # From the last block to the first: the last reaches every key, and sets what the others add to.
        for start in reversed(range(0, length, BLOCK)):
            end = min(start + BLOCK, length)
            weight, upstream = weights.pop(), gradient[:, start:end]
            through = upstream @ value[:, :end].transpose(1, 2)
            through = torch._softmax_backward_data(through, weight, -1, weight.dtype)
            query_gradient[:, start:end] = through @ key[:, :end]
            for total, part in (
                (key_gradient, through.transpose(1, 2) @ query[:, start:end]),
                (value_gradient, weight.transpose(1, 2) @ upstream),
            ):
                if end == length:
                    total.copy_(part)
                else:
                    total[:, :end] += part
        return query_gradient.mul_(features**-0.5), key_gradient, value_gradient
