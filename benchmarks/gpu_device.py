"""Time and memory of what runs on a device."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import TypeVar

import torch

Made = TypeVar("Made")


def seconds(device: torch.device, work: Callable[[], object]) -> float:
    """How long the device takes for some work: between CUDA events on a GPU, by the clock elsewhere."""
    if device.type != "cuda":
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize(device)
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000


def begin_peak(device: torch.device) -> None:
    """Count the most memory from now on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> int | None:
    """The most bytes that tensors took since `begin_peak`; None where torch does not count them."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def forget(device: torch.device) -> None:
    """Give back the memory of what nobody refers to any more, and what was compiled for it."""
    torch.compiler.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def largest_that_fits(microbatch: int, device: torch.device, attempt: Callable[[int], Made]) -> Made:
    """What `attempt` gives for the microbatch, or for the first of its halves, quarters, ... that fits in memory."""
    while True:
        try:
            return attempt(microbatch)
        except torch.OutOfMemoryError:
            if microbatch == 1:
                raise
        # Outside of the handler, whose traceback holds what was allocated.
        forget(device)
        microbatch //= 2
