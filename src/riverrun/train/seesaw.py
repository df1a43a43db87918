"""Seesaw: a batch-size ramp that stands in for a cosine.

Meterez et al., 2025, "Seesaw: Accelerating Training by Balancing Learning Rate and Batch Size Scheduling". Where the
LR would fall by a factor c, it falls by sqrt(c) and the batch grows by c.

Derivation. Adam is taken for normalised SGD: a step of lr * g / sqrt(E|g|^2). Where noise dominates, E|g|^2 is
proportional to 1 / batch, so this is SGD with the LR lr * sqrt(batch). SGD's progress per sample, and with it the
noise it ends with, depends on its LR over its batch: here lr / sqrt(batch). A cosine at a constant batch takes that
ratio down stair by stair, to c**-k after k of them; so does the LR times c**(-k/2) with the batch times c**k, in
fewer updates. It holds below the critical batch size.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from itertools import count
from typing import Any

from riverrun.errors import SettingError
from riverrun.schedules import Cosine


@dataclass(frozen=True, kw_only=True)
class Seesaw:
    """Parts of a recipe, and how far it goes.

    Attributes:
        schedule: the table `[schedule]`, of kind "stairs".
        ramps: `batch.ramps`.
        steps: updates until the total is consumed.
        samples: what they consume, the total or less than one batch over.
    """

    schedule: dict[str, Any]
    ramps: list[dict[str, Any]]
    steps: int
    samples: int


def seesaw(*, sequences: int, warmup: int, total: int, floor: float = 0.1, factor: float = 1.1) -> Seesaw:
    """The recipe that stands in for a warm-up and a cosine over samples.

    Stair k is taken by the first update that starts where the cosine, read at the samples consumed, has fallen to
    factor**-k. The batch becomes b_k = round(sequences * factor**k), and the multiplier of the peak LR
    factor**-k * sqrt(b_k / sequences): whole batches do not show in lr / sqrt(batch). A stair that rounds to the
    batch there is lowers the LR alone; of several within one update the last counts. The last stair is the last one
    above the floor.

    Args:
        sequences: the batch to begin with.
        warmup: updates of the warm-up, at that batch.
        total: samples at which the cosine reaches its floor.
        floor: the end of the cosine, as a fraction of the peak.
        factor: c; smaller stairs follow the cosine more closely.

    Raises:
        SettingError: a value is out of its range, or the cosine falls by less than one stair.
    """
    _check(sequences, warmup, total, floor, factor)
    cosine = Cosine(warmup=warmup * sequences, total=total, floor=floor)  # its steps are samples here
    step, samples, batch = warmup, warmup * sequences, sequences
    values: dict[int, float] = {}
    sizes: dict[int, int] = {}
    for k in count(1):
        level = factor**-k
        if level < floor:
            break
        fallen = bisect_left(range(total), -level, lo=warmup * sequences, key=lambda n: -cosine(n))
        updates = _updates(fallen - samples, batch)
        if samples + updates * batch >= total:
            break
        step, samples = step + updates, samples + updates * batch
        whole = round(sequences / level)
        if whole != batch:
            sizes[step] = batch = whole
        values[step] = level * math.sqrt(batch / sequences)
    if not values:
        raise SettingError(
            f"factor: got {factor:g}; the cosine to {floor:g} has no update left when it has fallen by that. Take a "
            "smaller factor or floor, or a larger total"
        )
    updates = _updates(total - samples, batch)
    return Seesaw(
        schedule={
            "kind": "stairs",
            "warmup": f"{warmup} steps",
            "at": [f"{at} steps" for at in values],
            "values": list(values.values()),
        },
        ramps=[{"at": f"{at} steps", "sequences": size} for at, size in sizes.items()],
        steps=step + updates,
        samples=samples + updates * batch,
    )


def _updates(samples: int, batch: int) -> int:
    """Updates that consume at least so many samples."""
    return max(0, -(-samples // batch))


def _check(sequences: int, warmup: int, total: int, floor: float, factor: float) -> None:
    if sequences < 1:
        raise SettingError(f"sequences: got {sequences}; must be at least 1")
    if warmup < 0:
        raise SettingError(f"warmup: got {warmup} steps; must be at least 0")
    if total <= warmup * sequences:
        raise SettingError(
            f"total: got {total} samples; must be above the {warmup * sequences} that the warm-up takes"
        )
    if not 0 <= floor < 1:
        raise SettingError(f"floor: got {floor:g}; must be at least 0 and less than 1")
    if not factor > 1:
        raise SettingError(f"factor: got {factor:g}; must be more than 1, e.g. 1.1")
