"""Linear regression as the labs pose it: a spectrum, label noise, a batch size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from riverrun.theory.spectrum import Modes, Spectrum


@dataclass(frozen=True, kw_only=True)
class Regression:
    """y = <w*, x> + noise with Gaussian features x ~ N(0, H), learned from w = 0 by one pass of SGD.

    Each update takes ``batch`` new samples: w <- w - (lr / batch) sum (<w, x> - y) x. The risk is the excess
    E<w - w*, x>^2 = sum_i lambda_i E[(w - w*)_i^2], without a factor of a half.

    Args:
        spectrum: eigenvalues of H, and the target in their basis.
        noise: the labels' variance given x, at least 0.
        batch: samples per update, at least 1.

    Raises:
        ValueError: an argument is out of range.
    """

    spectrum: Spectrum
    noise: float = 1.0
    batch: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"noise: got {self.noise!r}; must be a finite variance, at least 0")
        if not (isinstance(self.batch, int) and self.batch >= 1):
            raise ValueError(f"batch: got {self.batch!r}; must be a whole number, at least 1")

    @cached_property
    def modes(self) -> Modes:
        """The binned modes."""
        return self.spectrum.binned()

    @cached_property
    def largest_lr(self) -> float:
        """The stability limit: below this constant LR, and only below it, the second moments stay bounded.

        The LR at which (1/B) sum_i lr lambda_i / (2 - lr lambda_i (1 + 1/B)) is 1. The feedback through the batch
        is rank one, so an eigenvalue of 1 of the recursion is a root of this secular equation; the left side
        grows with the LR up to its first pole.
        """
        modes, batch = self.modes, self.batch
        trace = modes.square / modes.rate
        low, high = 0.0, 2 / (modes.rate.max() * (1 + 1 / batch))
        for _ in range(200):
            lr = (low + high) / 2
            if not low < lr < high:
                break
            gain = (lr * trace / (2 - lr * modes.rate * (1 + 1 / batch))).sum() / batch
            low, high = (lr, high) if gain < 1 else (low, lr)
        return low

    @property
    def moderate_lr(self) -> float:
        """0.7 / trace, the "e_m" of the tables: about half of the stability limit at batch 1."""
        return 0.7 / self.modes.trace

    def least_dimension(self, summed_lr: float) -> float | None:
        """The modes that a run of this summed LR needs, 10 (sum of LRs)^(1/capacity); None without a power law.

        A run learns the modes with lambda_i * summed_lr > 1. With fewer modes than ten times those it comes to
        the end of its spectrum, and its risk falls like that of a problem of finite dimension.
        """
        exponent = self.spectrum.capacity_exponent
        return None if exponent is None else 10 * float(summed_lr) ** (1 / exponent)
