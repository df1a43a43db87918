"""Schedule-Free AdamW: gradients at y, steps of z, and the average x to ship.

Defazio et al., 2024, "The Road Less Scheduled", through the package `schedulefree`. With beta the first of the
betas and Adam's normalised gradient g at y, an update is

    z <- z - lr (g + weight_decay y)
    x <- (1 - c) x + c z        c = lr_max^2 / (the sum of lr_max^2 over all updates), lr_max the largest LR so far
    y <- (1 - beta) z + beta x

The package keeps y in the model and z in its state, and solves x from the two. Its switches between modes write x
over y and y over x, with rounding each time. Here it stays in training mode for good, and x is computed into tensors
of its own: what is evaluated cannot change what is trained.

The LR, warm-up included, is written before each update as for every other optimizer. The package's own warm-up would
multiply its LR by s / warmup at update s, which is what a schedule's warm-up from 0 does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from riverrun.errors import SettingError
from riverrun.train.recipe import Optimizer

NAME: Final = "schedule-free-adamw"
"""In recipes."""

READOUT: Final = "schedule-free"
"""The readout x; y is "raw"."""

# The package writes a group's `scheduled_lr` too, for logging; no update reads it.
_COUNTERS = {"k": int, "weight_sum": float, "lr_max": float}
_PREFIX = "optimizer.schedule-free."


def build_schedule_free(groups: list[dict[str, Any]], settings: Optimizer) -> torch.optim.Optimizer:
    """The optimizer in training mode, with the state that it would make at its first update.

    Raises:
        SettingError: the package is missing, or the first of the betas is 0, from which no x can be solved.
    """
    try:
        from schedulefree import AdamWScheduleFree
    except ImportError:
        raise SettingError(
            f"optimizer.name: {NAME!r} needs the package schedulefree; pip install 'riverrun[schedule-free]'"
        ) from None
    if not settings.betas[0]:
        raise SettingError(
            f"optimizer.betas: got {list(settings.betas)}; the first must be above 0 with {NAME!r}, as in [0.9, 0.95]"
        )
    optimizer: torch.optim.Optimizer = AdamWScheduleFree(
        groups,
        lr=settings.peak_lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        warmup_steps=0,
    )
    for group in optimizer.param_groups:
        group["train_mode"] = True
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "z": parameter.detach().clone(memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }
    return optimizer


@torch.no_grad()
def solve_average(y: Iterable[Tensor], z: Iterable[Tensor], settings: Optimizer) -> list[Tensor]:
    """x = y + (1 - 1 / beta) (z - y) in new tensors, bit for bit what the package's `eval()` would write."""
    weight = 1 - 1 / settings.betas[0]
    return [torch.lerp(live, iterate, weight) for live, iterate in zip(y, z, strict=True)]


def counter_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the package counts beside its tensors, by name in a checkpoint; float64 is exact, all groups agree."""
    group = optimizer.param_groups[0]
    return {_PREFIX + name: torch.tensor(group[name], dtype=torch.float64) for name in _COUNTERS}


def set_counters(optimizer: torch.optim.Optimizer, values: Mapping[str, Tensor]) -> None:
    """Go on from what `counter_tensors` gave, found among other tensors."""
    for group in optimizer.param_groups:
        for name, kind in _COUNTERS.items():
            group[name] = kind(values[_PREFIX + name].item())
