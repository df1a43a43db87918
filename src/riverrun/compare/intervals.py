"""Means over seeds, and how far they can be trusted: intervals by Student's t."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and the interval that holds the true mean with 95% confidence, in the values' unit.

    With one seed, nothing is known of the spread: the interval is the whole line, and so decides nothing. So it
    is where a value is not finite, or where there is none; the mean is NaN then.

    Attributes:
        mean, low, high: low <= mean <= high, where the mean is a number.
        count: how many seeds.
    """

    mean: float
    low: float
    high: float
    count: int

    @property
    def half_width(self) -> float:
        """Infinite where the interval is the whole line."""
        return (self.high - self.low) / 2


def interval(values: Iterable[float]) -> Interval:
    """The 95% interval of the mean of independent, normally distributed values: mean +- t s / sqrt(n).

    s is the standard deviation with n - 1 degrees of freedom, and t the 97.5% quantile of Student's t with as
    many. The seeds are few, so the normal distribution's 1.96 would be far too small: t is 4.30 for three.
    """
    sample = np.asarray(list(values), dtype=np.float64)
    count = len(sample)
    if count == 0 or not np.isfinite(sample).all():
        return Interval(math.nan, -math.inf, math.inf, count)
    mean = float(sample.mean())
    if count == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    half = float(stats.t.ppf(0.975, count - 1) * sample.std(ddof=1) / math.sqrt(count))
    return Interval(mean, mean - half, mean + half, count)


def paired_differences(ours: Mapping[int, float], theirs: Mapping[int, float]) -> dict[int, float]:
    """Seed -> ours - theirs, for the seeds of both.

    A seed stands for initial weights and data order; its good or bad luck is common to both and cancels.
    """
    return {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())}


def in_mnats(difference: Interval) -> str:
    """A difference in nats as thousandths of a nat: "+7.4 ± 2.3", "+7.4" for one seed, "-" for no number.

    After ± is half the interval.
    """
    if math.isnan(difference.mean):
        return "-"
    mean = round(1000 * difference.mean, 1) + 0.0  # adding 0 turns -0.0 into 0.0
    half = f" ± {1000 * difference.half_width:.1f}" if math.isfinite(difference.half_width) else ""
    return f"{mean:+.1f}{half}"
