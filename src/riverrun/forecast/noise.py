"""How residuals scatter: their size, how long neighbours err alike, and the curves' noise made anew from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from riverrun.forecast.curve import Floats

MISFIT = 1e-3
"""How far from real curves a law is in any case, relative to the loss: however little they scatter and however many
points they have, they do not tell its parameters more exactly. The laws here come to between .4e-3 and 2e-3."""
MISFIT_OF_AVERAGES = 5e-2
"""The same for averages, which laws see as the decays that they amount to to first order: they shall tell how much a
decay gives, and leave its finer ways to decays."""
_SMALLEST = 2e-5
_FEW = 0.05


@dataclass(frozen=True)
class Noise:
    """The residuals of a series, relative to the loss.

    Attributes:
        size: their standard deviation, from quantiles, so that outliers do not count.
        memory: how many neighbouring points tell as much as one that errs alone would; at least 1.
        misfit: how far the law is from such curves in any case.
    """

    size: float
    memory: float
    misfit: float = MISFIT

    @property
    def effective(self) -> float:
        """What a fit that takes points as independent should put in for the size."""
        return float(np.hypot(self.size * np.sqrt(self.memory), self.misfit))


FIRST_GUESS = Noise(1e-3, 8.0)
FIRST_GUESS_OF_AVERAGES = Noise(2e-3, 8.0, MISFIT_OF_AVERAGES)


def noise_of(residuals: Sequence[Floats], free: float = 0.0, misfit: float = MISFIT) -> Noise:
    """The noise of a series.

    Args:
        residuals: one array per curve, in the order of the steps.
        free: how many parameters were fitted to them, which takes as much from the residuals.
        misfit: see `Noise`.
    """
    together = np.concatenate(residuals)
    size = 1.4826 * float(np.median(np.abs(together)))
    # The median overlooks a decay that is fitted badly within a long trunk; a part of the usual estimate sees it.
    size = max(size, 0.7 * float(np.sqrt(np.mean(np.clip(together, -4 * size, 4 * size) ** 2))), _SMALLEST)
    memory = max(1.0, min(_memory(residuals), together.size / 6))
    informed = max(0.3, 1 - free * memory / together.size)
    return Noise(size / np.sqrt(informed), memory, misfit)


def _memory(residuals: Sequence[Floats]) -> float:
    """1 + 2 (autocorrelations), summed until they are small (Geyer's positive sequence, over all curves)."""
    longest = max(one.size for one in residuals)
    power = sum(float(one @ one) for one in residuals) / sum(one.size for one in residuals)
    memory = 1.0
    for lag in range(1, longest // 2):
        pairs = [(one[lag:], one[:-lag]) for one in residuals if one.size > 2 * lag]
        count = sum(late.size for late, _ in pairs)
        if not count or power == 0:
            break
        alike = sum(float(late @ early) for late, early in pairs) / count / power
        if alike < _FEW:
            break
        memory += 2 * alike
    return memory
