"""Averages in place of the live weights, for the length of a ``with`` block."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def applied(
    params: Iterable[Tensor], values: Iterable[Tensor], *, keep: torch.device | None = None
) -> Iterator[list[Tensor]]:
    """Put ``values`` into the live ``params``; on leaving, put the raw weights back bit for bit.

    The raw weights return however the block ends. The parameters stay the same tensors, so tied weights,
    compiled models and optimizers do not notice. What the block writes to the parameters is lost: evaluate in
    it, do not train. Blocks may nest; each gives back what it found.

    Args:
        params: the live parameters, of any dtype and layout.
        values: tensors of the same shapes, such as ``Track.average``; cast to the parameters' dtypes.
        keep: where the raw weights lie meanwhile; beside the parameters by default.

    Yields:
        The raw weights, which code that saves a checkpoint within the block must take instead of ``params``.

    Raises:
        ValueError: the tensors differ in number or shape; nothing has been changed then.
    """
    params, values = list(params), list(values)
    if [p.shape for p in params] != [v.shape for v in values]:
        raise ValueError(
            f"values: got {len(values)} tensors; must be {len(params)} of the parameters' shapes"
        )
    raw = [param.detach().to(keep or param.device, copy=True) for param in params]
    try:
        _copy(params, values)
        yield raw
    finally:
        _copy(params, raw)


@torch.no_grad()
def _copy(targets: list[Tensor], sources: list[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
