"""Cross entropy of a linear map's outputs, a chunk of positions at a time: the logits are never held whole.

Shapes: N positions, W features of the hidden states, V rows of the unembedding.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

# Logits of a chunk, at most: 256 MiB in fp32. Fewer would leave a GPU idle, more take memory from the microbatch.
CHUNK = 2**26


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    reduction: Literal["mean", "sum"] = "mean",
    positions: int | None = None,
) -> Tensor:
    """Cross entropy of `hidden @ weight.T` against `targets`, in nats; softmax and loss at least in fp32.

    The gradients of both tensors are computed with the loss, so nothing is computed twice and nothing as large
    as the logits outlives its chunk: what waits for the backward pass has the sizes of `hidden` and `weight`.
    Products are in autocast's dtype where that is on, else in the weight's. The weight's gradient adds up in
    fp32. Only once differentiable.

    Args:
        hidden: [N, W].
        weight: [V, W], of any floating dtype.
        targets: [N] row numbers, all of which count.
        reduction: "mean" or "sum" over the positions.
        positions: of a chunk; None means what `CHUNK` allows.

    Returns:
        A scalar in fp32, or in float64 where the products are.
    """
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    positions = positions or chunk_positions(weight.shape[0])
    if torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad):
        total: Tensor = _LinearCrossEntropy.apply(hidden, weight, targets, dtype, positions)  # type: ignore[no-untyped-call]
    else:
        total = _total(hidden, weight, targets, dtype, positions)
    return total / targets.numel() if reduction == "mean" else total


def chunk_positions(rows: int) -> int:
    """Positions whose logits make a chunk: where there are so many, a multiple of 256, which fills a GPU's tiles."""
    fitting = max(1, CHUNK // rows)
    return fitting - fitting % 256 if fitting > 256 else fitting


class _LinearCrossEntropy(torch.autograd.Function):
    """The sum over all positions, with both gradients computed on the way."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype, positions: int
    ) -> Tensor:
        matrix = weight.to(dtype)
        by_weight = torch.zeros_like(weight, dtype=_at_least_fp32(dtype))
        losses, by_hidden = [], []
        for part, aims in zip(hidden.split(positions), targets.split(positions), strict=True):
            loss, gradient = _chunk(part.to(dtype), matrix, aims, by_weight)
            losses.append(loss)
            by_hidden.append(gradient)
        ctx.save_for_backward(torch.cat(by_hidden), by_weight)
        ctx.hidden_dtype, ctx.weight_dtype = hidden.dtype, weight.dtype
        return torch.stack(losses).sum()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            # once_differentiable sees nothing wrong where the loss itself is what is differentiated.
            raise RuntimeError(
                "linear_cross_entropy: can be differentiated only once; for second derivatives take "
                "torch.nn.functional.cross_entropy of Decoder.forward's logits"
            )
        by_hidden, by_weight = ctx.saved_tensors
        scaled = by_hidden.to(ctx.hidden_dtype) * upstream.to(ctx.hidden_dtype)
        return scaled, (by_weight * upstream).to(ctx.weight_dtype), None, None, None


def _chunk(part: Tensor, matrix: Tensor, aims: Tensor, by_weight: Tensor) -> tuple[Tensor, Tensor]:
    """Summed loss and gradient of a chunk's hidden states; adds to the gradient of the weight.

    A function, so that what is as large as the chunk's logits is gone before the next chunk.
    """
    log_probabilities = _log_probabilities(part, matrix)
    aims = aims.unsqueeze(1)
    of_targets = log_probabilities.gather(1, aims)
    # Probabilities, less one at the target: not p - 1 but expm1(log p), and rounded after it.
    by_logits = log_probabilities.exp_().to(part.dtype)
    by_logits.scatter_(1, aims, of_targets.expm1().to(part.dtype))
    by_weight += by_logits.T @ part
    return -of_targets.sum(), by_logits @ matrix


def _total(hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype, positions: int) -> Tensor:
    """The sum over all positions, and nothing besides."""
    matrix = weight.to(dtype)
    losses = [
        -_log_probabilities(part.to(dtype), matrix).gather(1, aims.unsqueeze(1)).sum()
        for part, aims in zip(hidden.split(positions), targets.split(positions), strict=True)
    ]
    return torch.stack(losses).sum()


def _log_probabilities(part: Tensor, matrix: Tensor) -> Tensor:
    return F.log_softmax(part @ matrix.T, dim=-1, dtype=_at_least_fp32(part.dtype))


def _at_least_fp32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
