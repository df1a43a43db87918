"""Causal attention with rotary positions: torch's fused kernel, and plain products in blocks, faster on CPUs.

Shapes: B sequences, T positions, H query heads, K key and value heads (K divides H), D features a head.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from riverrun.models.config import AttentionKind, DecoderConfig

# Queries per block. Larger blocks compute more of what the mask throws away, smaller ones call more kernels.
BLOCK = 256


def causal_attention(
    projected: Tensor, heads: int, cosine: Tensor, sine: Tensor, kind: AttentionKind
) -> Tensor:
    """softmax(query key^T / sqrt(D)) value, each position seeing itself and those before it.

    Args:
        projected: [B, T, H + 2 K, D]: query, key and value heads; each key head serves H / K successive queries.
        heads: H.
        cosine: [T, D], of `rotary_tables`, by which queries and keys are turned first.
        sine: the same.
        kind: "fused" is scaled_dot_product_attention; "plain" multiplies, masks and normalises block by
            block; "auto" is "plain" on a CPU and "fused" elsewhere.

    Returns:
        [B, T, H, D].
    """
    if kind == "plain" or (kind == "auto" and projected.device.type == "cpu"):
        mixed: Tensor = _PlainAttention.apply(projected, heads, cosine, sine)  # type: ignore[no-untyped-call]
        return mixed
    shared = (projected.shape[2] - heads) // 2
    by_head = projected.transpose(1, 2)
    turning, value = by_head.split([heads + shared, shared], dim=1)
    # Turned in fp32: in bf16 the tables would be rounded, and positions with them. Compiled, it costs nothing.
    wide = turning.to(torch.promote_types(turning.dtype, cosine.dtype))
    query, key = rotate(wide, cosine, sine).to(turning.dtype).split([heads, shared], dim=1)
    fused = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=shared < heads)
    return fused.transpose(1, 2)


def rotary_tables(config: DecoderConfig) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines of RoPE (Su et al. 2021), both [context, D].

    Features i and i + D/2 are a pair, turned by position * theta ** (-2i / D), as in Hugging Face's Llama.
    """
    half = config.head_width // 2
    frequencies = config.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.outer(torch.arange(config.context, dtype=torch.float64), frequencies)
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat((cosine, cosine), dim=-1).float(), torch.cat((-sine, sine), dim=-1).float()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn each feature pair of x [..., T, D] by its position's angle; with -sine, turn it back."""
    # Rolling by half puts each feature's partner in its place; the sign of the exchange is in the sines.
    return torch.addcmul(x * cosine.to(x.dtype), x.roll(x.shape[-1] // 2, dims=-1), sine.to(x.dtype))


class _PlainAttention(torch.autograd.Function):
    """The whole of `causal_attention`, `BLOCK` queries at a time.

    A block of queries multiplies only the keys up to its own end, so that nearly half of the products are
    saved and the tiles stay in the cache. Heads come first in memory, [heads, B, T, D], so that queries, keys,
    values and their gradients are slices of one tensor; autograd would copy and join them.
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, heads: int, cosine: Tensor, sine: Tensor) -> Tensor:
        batch, length, all_heads, features = projected.shape
        shared = (all_heads - heads) // 2
        by_head = projected.permute(2, 0, 1, 3).contiguous()
        turned = rotate(by_head[: heads + shared], cosine, sine)
        turned[:heads] *= features**-0.5
        query, key, value = turned[:heads], turned[heads:], by_head[heads + shared :]
        if shared < heads:
            key = key.repeat_interleave(heads // shared, dim=0)
            value = value.repeat_interleave(heads // shared, dim=0)
        query, key, value = query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1)
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
        ctx.save_for_backward(query, key, value, cosine, sine, *weights)
        ctx.shape = (batch, shared)
        return mixed.view(heads, batch, length, features).permute(1, 2, 0, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        query, key, value, cosine, sine, *weights = ctx.saved_tensors
        batch, shared = ctx.shape
        rows, length, features = query.shape
        heads = rows // batch
        gradient = gradient.permute(2, 0, 1, 3).reshape(rows, length, features)
        total = query.new_empty(3, rows, length, features)
        # From the last block to the first: the last reaches every key, and sets what the others add to.
        for start in reversed(range(0, length, BLOCK)):
            end = min(start + BLOCK, length)
            weight, upstream = weights.pop(), gradient[:, start:end]
            through = upstream @ value[:, :end].transpose(1, 2)
            through = torch._softmax_backward_data(through, weight, -1, weight.dtype)
            total[0, :, start:end] = through @ key[:, :end]
            for kept, part in (
                (total[1], through.transpose(1, 2) @ query[:, start:end]),
                (total[2], weight.transpose(1, 2) @ upstream),
            ):
                if end == length:
                    kept.copy_(part)
                else:
                    kept[:, :end] += part
        total[0] *= features**-0.5
        by_head = total.view(3 * heads, batch, length, features)
        if shared < heads:
            serving = total[1:].view(2, shared, heads // shared, batch, length, features).sum(dim=2)
            by_head = torch.cat((by_head[:heads], serving.flatten(0, 1)))
        by_head[: heads + shared] = rotate(by_head[: heads + shared], cosine, -sine)
        return by_head.permute(1, 2, 0, 3), None, None, None
