"""What several claims are measured on."""

from __future__ import annotations

from functools import cache

import numpy as np

from riverrun.schedules import Constant
from riverrun.theory.comparison import HORIZONS
from riverrun.theory.problem import Regression
from riverrun.theory.slopes import HALF
from riverrun.theory.spectrum import Eigenvalues, Floats, PowerLaw
from riverrun.theory.tuning import lr_grid, sweep

REGIMES = ((1.5, 2.5), (2.0, 3.0), (1.5, 2.0))
"""(capacity, source) with a < b <= 2a, where an anytime schedule reaches the minimax rate."""
HARD = (2.0, 1.5)
"""b < a."""
EASY = ((1.2, 3.0), (1.3, 4.5), (1.5, 4.5))
"""b > 2a."""


def power_law(exponents: tuple[float, float], dimension: int = 10**9) -> Regression:
    """A power law that no horizon used here comes to the end of, noise 1, batch 1."""
    capacity, source = exponents
    return Regression(spectrum=PowerLaw(capacity=capacity, source=source, dimension=dimension))


def few_modes(
    exponents: tuple[float, float], dimension: int, *, noise: float = 1.0, batch: int = 1
) -> Regression:
    """The first modes of a power law as a spectrum of its own: a problem of finite dimension, and meant so."""
    capacity, source = exponents
    numbers = np.arange(1, dimension + 1, dtype=np.float64)
    spectrum = Eigenvalues(numbers**-capacity, numbers ** ((capacity - source) / 2))
    return Regression(spectrum=spectrum, noise=noise, batch=batch)


def named(exponents: tuple[float, float], gamma: float | None = None) -> str:
    """ "a=1.5 b=2.5 gamma=0.4"."""
    capacity, source = exponents
    return f"a={capacity:g} b={source:g}" + ("" if gamma is None else f" gamma={gamma:.3g}")


@cache
def constant_sweep(exponents: tuple[float, float]) -> tuple[Floats, dict[str, Floats]]:
    """A constant LR swept up to the stability limit, read at `HORIZONS`: the LRs [L], and risks [L, P] by name."""
    problem = power_law(exponents)
    lrs = lr_grid(problem, 2**-16)
    return lrs, sweep(problem, Constant(), lrs, HORIZONS, [HALF])
