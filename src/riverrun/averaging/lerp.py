"""Moving fp32 averages towards parameters of any floating dtype, at the speed of the memory."""

from collections.abc import Sequence

import torch
from torch import Tensor

CHUNK = 2**20
"""Elements converted to fp32 at a time: 4 MiB stay in a processor's caches and hide the cost of the calls."""


class Lerp:
    """``average.lerp_(param, share)`` over lists, with memory of its own to convert what is not in fp32."""

    def __init__(self) -> None:
        self._stages: dict[torch.device, Tensor] = {}

    @torch.no_grad()
    def __call__(self, averages: Sequence[Tensor], params: Sequence[Tensor], share: float) -> None:
        """Move each average, in fp32, by ``share`` of the way to its parameter."""
        if share == 1.0:  # a copy, whatever was there before: lerp would keep a NaN
            for average, param in zip(averages, params, strict=True):
                average.copy_(param)
            return
        ready = [
            (average, param)
            for average, param in zip(averages, params, strict=True)
            if param.dtype == torch.float32
        ]
        if ready:
            torch._foreach_lerp_([average for average, _ in ready], [param for _, param in ready], share)
        if len(ready) < len(params):
            for average, param in zip(averages, params, strict=True):
                if param.dtype != torch.float32 and param.numel():
                    self._staged(average, param, share)

    def _staged(self, average: Tensor, param: Tensor, share: float) -> None:
        """For a parameter not in fp32, converted a chunk at a time.

        One operation on both dtypes is 5 to 14 times slower on CPU, or refused; converting the whole
        parameter would allocate.
        """
        pieces = [(average, param)]
        if param.numel() > CHUNK:
            if param.is_contiguous() and average.is_contiguous():
                average, param = average.view(-1), param.view(-1)
            rows = max(1, CHUNK // param[0].numel())
            pieces = list(zip(torch.split(average, rows), torch.split(param, rows), strict=True))
        largest = max(CHUNK, pieces[0][1].numel())  # a row that cannot be cut may be larger
        stage = self._stages.get(param.device)
        if stage is None or stage.numel() < largest:
            stage = self._stages[param.device] = torch.empty(
                largest, dtype=torch.float32, device=param.device
            )
        for target, source in pieces:
            staged = stage[: source.numel()].view(source.shape)
            target.lerp_(staged.copy_(source), share)
