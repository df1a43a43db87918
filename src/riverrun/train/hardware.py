"""Kinds of GPU: what a plan counts with, and what kind the one in this machine is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from riverrun.errors import SettingError, nearest

_GIB = 2**30
_TERA = 1e12


@dataclass(frozen=True, kw_only=True)
class GPU:
    """One kind of GPU.

    Attributes:
        name: as `riverrun plan --gpu` takes it.
        memory: bytes that torch reports, a little below what is printed on the box.
        peak_flops: dense bf16 FLOP/s with fp32 accumulation, from the maker's data sheet, without sparsity.
        memory_bandwidth: bytes a second, from the data sheet; of the slowest variant.
        price: dollars an hour. An assumption, a round figure, and no one's quote.
        reported: a pattern of the names by which torch reports it.
    """

    name: str
    memory: int
    peak_flops: float
    memory_bandwidth: float
    price: float
    reported: str


def _gpu(name: str, gibibytes: float, teraflops: float, terabytes: float, price: float, reported: str) -> GPU:
    return GPU(
        name=name,
        memory=int(gibibytes * _GIB),
        peak_flops=teraflops * _TERA,
        memory_bandwidth=terabytes * _TERA,
        price=price,
        reported=reported,
    )


# GiB, TFLOP/s, TB/s, dollars an hour. A pattern higher up is tried first.
GPUS: tuple[GPU, ...] = (
    _gpu("b200", 178.3, 2250, 7.7, 5.50, r"\bB200\b"),
    _gpu("h200", 139.8, 989, 4.8, 3.80, r"\bH200\b(?! NVL)"),
    _gpu("h100-pcie", 79.1, 756, 2.0, 2.50, r"\bH100 PCIe\b"),
    _gpu("h100-nvl", 93.1, 835, 3.9, 2.80, r"\bH100 NVL\b"),
    _gpu("h100", 79.1, 989, 3.35, 3.00, r"\bH100\b(?=.*\bHBM3\b)|\bH100$"),
    _gpu("a100-80gb", 79.1, 312, 1.935, 1.80, r"\bA100\b(?=.*\b80GB\b)"),
    _gpu("a100-40gb", 39.4, 312, 1.555, 1.30, r"\bA100\b(?=.*\b40GB\b)"),
    _gpu("l40s", 44.4, 362, 0.864, 1.00, r"\bL40S\b"),
    _gpu("l4", 22.0, 121, 0.300, 0.60, r"\bL4\b"),
    _gpu("a10g", 22.0, 70, 0.600, 0.75, r"\bA10G\b"),
    _gpu("rtx-a6000", 47.4, 154.8, 0.768, 0.60, r"\bRTX A6000\b"),
    _gpu("rtx-5090", 31.3, 209.5, 1.792, 0.70, r"\bRTX 5090\b(?! (D|Laptop))"),
    _gpu("rtx-4090", 23.5, 165.2, 1.008, 0.40, r"\bRTX 4090\b(?! (D|Laptop))"),
    _gpu("rtx-3090", 23.6, 71, 0.936, 0.25, r"\bRTX 3090\b(?! (Ti|Laptop))"),
)


def gpu_named(name: str) -> GPU:
    """The kind called "h100", "a100-80gb", "rtx-4090", in upper or lower case, with hyphens, spaces or underscores.

    Raises:
        SettingError: there is none of that name; it names the nearest.
    """
    wanted = re.sub(r"[\s_]+", "-", name.strip().lower())
    kinds = {gpu.name: gpu for gpu in GPUS}
    if wanted not in kinds:
        raise SettingError(f"--gpu: got {name!r}, which is no kind of GPU known here{nearest(wanted, kinds)}")
    return kinds[wanted]


def peak_flops(device_name: str) -> float | None:
    """Dense bf16 FLOP/s of what `torch.cuda.get_device_name` calls so; None for a kind that is not known.

    A slice of a GPU (MIG) is none of them: its share of the peak is not in its name.

    >>> peak_flops("NVIDIA H100 80GB HBM3")
    989000000000000.0
    """
    if re.search(r"\bMIG\b", device_name):
        return None
    for gpu in GPUS:
        if re.search(gpu.reported, device_name):
            return gpu.peak_flops
    return None
