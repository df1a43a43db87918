"""Decays planned with a fitted law: what one from here would end at, and which one is best for a given total."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from riverrun.forecast.curve import Floats, rates_of
from riverrun.forecast.fitting import Fit
from riverrun.forecast.gains import Gain, check_law, gain
from riverrun.forecast.prediction import LEVEL, Prediction, predict
from riverrun.schedules import SHAPES, Decayed, Schedule
from riverrun.schedules.shapes import NEEDS_POSITIVE_FLOOR

FLAT = 1e-3
"""Nats: starts whose loss is no further from the best are as good as it."""
FRACTIONS = tuple(float(fraction) for fraction in np.geomspace(0.01, 0.6, 22))
"""Lengths of decays that are tried, of the total."""
USUAL = ("linear", 0.1, 0.1)
"""The decay that others are compared with, as `WSD` has it by default: shape, floor, and length over total."""


@dataclass(frozen=True, eq=False)
class DecayNow:
    """A decay over the next ``length`` updates, the position ``end`` it leads to, and the loss there."""

    length: int
    end: int
    loss: Prediction


def decays_now(
    fit: Fit,
    base: Schedule,
    peak_lr: float,
    at: int,
    lengths: Sequence[int],
    *,
    shape: str = "linear",
    floor: float = 0.1,
    series: str | None = None,
    level: float = LEVEL,
) -> list[DecayNow]:
    """What decays from one position of a run would end at.

    Args:
        fit: of a law that sees the learning rate.
        base: the run's schedule.
        peak_lr: its peak, in the unit of the fitted curves.
        at: the position the decays start from, at least 1.
        lengths: in updates; a decay of none has the loss that the run itself has at ``at``.
        shape, floor: as for `riverrun.schedules.Schedule.decay`.
        series, level: as for `riverrun.forecast.prediction.predict`.

    Raises:
        ValueError: a law that does not see the learning rate, or an argument outside its range.
    """
    check_law(fit)
    if at < 1:
        raise ValueError(f"at: got {at}; must be a position of the run, at least 1")
    found = []
    for length in lengths:
        rates = rates_of(base.decay(at=at, steps=length, shape=shape, floor=floor), peak_lr, at + length)
        loss = predict(fit, rates, [at + length], series=series, level=level)
        found.append(DecayNow(length, at + length, loss))
    return found


@dataclass(frozen=True)
class Candidate:
    """A decay that ends at the total: its start, length, shape and floor, and the loss expected at its end."""

    start: int
    length: int
    shape: str
    floor: float
    expected: float

    def schedule(self, base: Schedule) -> Decayed:
        """The schedule itself."""
        return base.decay(at=self.start, steps=self.length, shape=self.shape, floor=self.floor)


@dataclass(frozen=True, eq=False)
class BestDecay:
    """The best decay for a total, and how much better than others it is.

    Attributes:
        best: its start refined between those of the grid.
        loss: at its end.
        flat: first and last start whose expected loss, at the best's shape and floor, is within `FLAT` of its. The
            optimum is flat as a rule: a decay that starts anywhere between them is as good.
        usual: the decay of `USUAL`.
        gain: how much lower the best's loss is than the usual's.
        candidates: all decays evaluated, the best first.
    """

    best: Candidate
    loss: Prediction
    flat: tuple[int, int]
    usual: Candidate
    gain: Gain
    candidates: tuple[Candidate, ...]

    @property
    def per_shape(self) -> tuple[Candidate, ...]:
        """The best candidate of every shape, the best shape first."""
        first: dict[str, Candidate] = {}
        for candidate in self.candidates:
            first.setdefault(candidate.shape, candidate)
        return tuple(first.values())


def best_decay(
    fit: Fit,
    base: Schedule,
    peak_lr: float,
    total: int,
    *,
    earliest: int = 0,
    shapes: Sequence[str] = tuple(SHAPES),
    floors: Sequence[float] = (0.0, 0.1),
    fractions: Sequence[float] = FRACTIONS,
    series: str | None = None,
    level: float = LEVEL,
) -> BestDecay:
    """The decay of a run that has the lowest expected loss at a given total.

    Every shape, floor and length is tried, and the start of the best one then refined. Shapes that never reach zero are
    left out at the floor 0. Decays that would start before ``earliest``, or within the warm-up, start there.

    Args:
        fit: of a law that sees the learning rate.
        base: the schedule that is decayed.
        peak_lr: its peak, in the unit of the fitted curves.
        total: the position at which the decay ends.
        earliest: the first position at which the decay may start, such as that of the run's last checkpoint.
        shapes, floors: as for `riverrun.schedules.Schedule.decay`.
        fractions: lengths of decays over the total, more than 0 and at most 1.
        series, level: as for `riverrun.forecast.prediction.predict`.

    Raises:
        ValueError: a law that does not see the learning rate, no room for a decay, or an argument outside its range.
    """
    check_law(fit)
    name = fit.series(series)
    earliest = max(earliest, base.warmup)
    if earliest >= total:
        raise ValueError(
            f"total: got {total:,}; must be more than {earliest:,}, the first position a decay can start from"
        )
    if not len(fractions) or not all(0 < fraction <= 1 for fraction in fractions):
        raise ValueError(f"fractions: got {list(fractions)}; each must be more than 0 and at most 1")
    longest = total - earliest
    lengths = sorted({min(max(round(fraction * total), 1), longest) for fraction in fractions})
    if not shapes:
        raise ValueError(f"shapes: got none; must be one at least, such as {', '.join(SHAPES)}")
    kinds = [kind for kind in product(shapes, floors) if kind[1] > 0 or kind[0] not in NEEDS_POSITIVE_FLOOR]
    if not kinds:
        raise ValueError(f"floors: got {list(floors)}; {', '.join(shapes)} need one that is more than 0")
    trunk = rates_of(base, peak_lr, total)

    def rates(start: int, shape: str, floor: float) -> Floats:
        ahead = base.decay(at=start, steps=total - start, shape=shape, floor=floor)
        return np.concatenate([trunk[:start], peak_lr * ahead(np.arange(start + 1, total + 1))])

    def at(length: int, shape: str, floor: float) -> Candidate:
        start = total - length
        expected = float(fit.losses(rates(start, shape, floor), np.array([total]), name)[0])
        return Candidate(start, length, shape, floor, expected)

    grid = [at(length, *kind) for kind in kinds for length in lengths]
    tried = sorted(grid, key=lambda candidate: candidate.expected)
    first = tried[0]
    family = [one for one in grid if (one.shape, one.floor) == (first.shape, first.floor)]
    best = _refined(lambda length: at(length, first.shape, first.floor), family)
    family = sorted({one.length: one for one in (*family, best)}.values(), key=lambda one: one.length)
    flat = _flat(lambda length: at(length, first.shape, first.floor), family, best)
    usual = at(min(max(round(USUAL[2] * total), 1), longest), *USUAL[:2])
    chosen = rates(best.start, best.shape, best.floor)
    return BestDecay(
        best=best,
        loss=predict(fit, chosen, [total], series=name, level=level),
        flat=flat,
        usual=usual,
        gain=gain(fit, chosen, rates(usual.start, usual.shape, usual.floor), series=name, level=level),
        candidates=(best, *(one for one in tried if one != best)),
    )


def _refined(at: Callable[[int], Candidate], family: list[Candidate]) -> Candidate:
    """The best length between the neighbours of the best in a family of increasing lengths."""
    from scipy.optimize import minimize_scalar

    place = min(range(len(family)), key=lambda n: family[n].expected)
    low, high = family[max(place - 1, 0)].length, family[min(place + 1, len(family) - 1)].length
    if high - low < 2:
        return family[place]
    found = minimize_scalar(
        lambda log: at(round(np.exp(log))).expected,
        bounds=(np.log(low), np.log(high)),
        method="bounded",
        options={"xatol": max(1e-3, 0.5 / high)},
    )
    return min(at(round(np.exp(found.x))), family[place], key=lambda one: one.expected)


def _flat(at: Callable[[int], Candidate], family: list[Candidate], best: Candidate) -> tuple[int, int]:
    """First and last start around the best that are within `FLAT` of it; a family of increasing lengths."""
    limit = best.expected + FLAT
    place = next(n for n, one in enumerate(family) if one.length == best.length)
    edges = []
    for side in (family[place::-1], family[place:]):
        inside = best.length
        for one in side:
            if one.expected > limit:
                outside = one.length
                # Lengths between them, to a percent.
                while abs(outside - inside) > max(1, 0.01 * inside):
                    middle = round((outside + inside) / 2)
                    if at(middle).expected > limit:
                        outside = middle
                    else:
                        inside = middle
                break
            inside = one.length
        edges.append(inside)
    shortest, longest = edges
    total = best.start + best.length
    return total - longest, total - shortest
