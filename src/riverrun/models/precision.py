"""The arithmetic of the forward and backward passes. Parameters and optimizer state are always fp32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Precision = Literal["auto", "fp32", "medium", "bf16"]
ResolvedPrecision = Literal["fp32", "medium", "bf16"]


def resolve_precision(precision: Precision, device: torch.device | str) -> ResolvedPrecision:
    """The precision that "auto" stands for on `device`; any other choice is itself.

    "auto" is bf16 where the processor multiplies bf16 natively (a GPU that says so, a CPU with AVX512-BF16 or
    AMX), else "medium" on a CPU, where it is at least as fast as fp32, else fp32.

    Raises:
        ValueError: `precision` is not a known choice.
    """
    if precision not in ("auto", "fp32", "medium", "bf16"):
        raise ValueError(f'precision: got {precision!r}; must be "auto", "fp32", "medium" or "bf16".')
    if precision != "auto":
        return precision
    kind = torch.device(device).type
    if kind == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if kind == "cpu":
        return "bf16" if cpu_multiplies_bf16() else "medium"
    return "fp32"


def cpu_multiplies_bf16() -> bool:
    """Whether this CPU has instructions for bf16 products (AVX512-BF16 or AMX)."""
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


@contextmanager
def arithmetic(precision: ResolvedPrecision, device: torch.device | str) -> Iterator[None]:
    """Run forward and backward passes inside this context; leave it before the optimizer's step.

    - "fp32": every product in fp32.
    - "medium": fp32 tensors, matrix products as `torch.set_float32_matmul_precision("medium")` does them: on
      a CPU by oneDNN, rounding to bf16 only where the CPU has AMX; on a GPU with TF32 or bf16 inside.
    - "bf16": autocast. Matrix products in bf16 with fp32 accumulation; residual stream, norms' sums, and
      loss in fp32. Weights are cast once per context, hence the optimizer's step outside.
    """
    previous = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest" if precision == "fp32" else "medium")
    try:
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        torch.set_float32_matmul_precision(previous)
