"""Parameters as they were at a moment, in the host's memory, for work that need not hold up the device."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from riverrun.averaging.in_turn import InTurn


class HostCopy:
    """Copies in the host's memory, page-locked where they come from a GPU, and a thread that works on them.

    The device waits until they are made before it changes the parameters again; the processor does not.

    Attributes:
        tensors: the copies, in the order and the dtypes of the parameters; undefined before the first `take`.
    """

    def __init__(self, params: Sequence[Tensor]) -> None:
        self.tensors = [
            torch.empty(param.shape, dtype=param.dtype, pin_memory=param.is_cuda) for param in params
        ]
        self._turns = InTurn()
        self._stream = torch.cuda.Stream(params[0].device) if params[0].is_cuda else None

    def take(self, params: Sequence[Tensor], work: Callable[[list[Tensor]], None]) -> None:
        """Copy the parameters as they are now, then have the thread work on the copies."""
        self.settle()
        if self._stream is None:
            self._copy(params)
            self._turns.do(lambda: work(self.tensors))
            return
        training = torch.cuda.current_stream(params[0].device)
        self._stream.wait_stream(training)
        landed = torch.cuda.Event()
        with torch.cuda.stream(self._stream):
            self._copy(params)
            landed.record(self._stream)
        for param in params:
            param.record_stream(self._stream)
        training.wait_event(landed)  # what changes the parameters comes after the copy

        def when_landed() -> None:
            landed.synchronize()
            work(self.tensors)

        self._turns.do(when_landed)

    def settle(self) -> None:
        """Wait until the work is done; raises what went wrong with it."""
        self._turns.settle()

    @torch.no_grad()
    def _copy(self, params: Sequence[Tensor]) -> None:
        for copy, param in zip(self.tensors, params, strict=True):
            copy.copy_(param, non_blocking=True)
