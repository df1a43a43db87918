"""Rates: by which power of T the risk falls, for T -> infinity with a power-law spectrum of unbounded dimension.

a is the capacity (lambda_i = i^-a), b the source (lambda_i w*_i^2 = i^-b), both above 1, and the learning rate is
c t^-gamma, 0 <= gamma < 1. With x = (1 - gamma) / a: the bias falls as T^-x(b-1); the variance of the modes learned so
far falls as T^-(1-x) in an average and as T^-gamma in the last iterate; what the early updates' noise left in modes not
learned yet falls as T^-x(2a-1) once gamma >= 1/2 (below that it is never the largest), and no average removes it.
Derivations: docs/theory-derivations.md.
"""

from __future__ import annotations

import math


def averaged_exponent(capacity: float, source: float, gamma: float) -> float:
    """The exponent of an average over a fixed share of the run, min{x(b-1), 1-x, [gamma >= 1/2] x(2a-1)}."""
    x = _check(capacity, source, gamma)
    memory = x * (2 * capacity - 1) if gamma >= 0.5 else math.inf
    return min(x * (source - 1), 1 - x, memory)


def last_exponent(capacity: float, source: float, gamma: float) -> float:
    """The exponent of the last iterate, min{x(b-1), gamma, [gamma >= 1/2] x(2a-1)}; 0 at a constant rate."""
    x = _check(capacity, source, gamma)
    memory = x * (2 * capacity - 1) if gamma >= 0.5 else math.inf
    return min(x * (source - 1), gamma, memory)


def published_best_gamma(capacity: float, source: float) -> float:
    """max(0, 1 - a/b): the best gamma of *Anytime Pretraining*, stated under the assumption of bounded risk."""
    _check(capacity, source, 0.0)
    return max(0.0, 1 - capacity / source)


def best_gamma(capacity: float, source: float) -> float:
    """max(0, min(1/2, 1 - a/b)): this project's refinement; it differs from the published one for b > 2a.

    Above 1/2 the noise of early updates, which averaging cannot remove, outweighs all else.
    """
    return min(0.5, published_best_gamma(capacity, source))


def minimax_exponent(capacity: float, source: float) -> float:
    """(b-1)/b, the exponent of `lower_bound`: no schedule and no average falls faster."""
    _check(capacity, source, 0.0)
    return (source - 1) / source


def anytime_exponent(capacity: float, source: float) -> float:
    """The best that one horizon-free power schedule with an average reaches: `averaged_exponent` at `best_gamma`.

    (b-1)/a for b <= a, the minimax (b-1)/b for a < b <= 2a, (2a-1)/(2a) above (there up to a logarithm).
    """
    return averaged_exponent(capacity, source, best_gamma(capacity, source))


def tuned_constant_exponent(capacity: float, source: float) -> float:
    """A constant LR with an average, the LR tuned for each T: (b-1)/max(a, b)."""
    _check(capacity, source, 0.0)
    return (source - 1) / max(capacity, source)


def tuned_constant_lr_exponent(capacity: float, source: float) -> float:
    """By which power of T the LR that `tuned_constant_exponent` needs falls: -max(0, 1 - a/b)."""
    return -published_best_gamma(capacity, source)


def tuned_last_exponent(capacity: float, source: float, decay: float = 0.0) -> float:
    """The last iterate of a decay (T-t)^decay near its end, the peak LR tuned for each T.

    (b-1) / (b-1 + max(1, a/(decay+1))), for b >= a: decay 0 is a constant LR, 1 linear, 2 cosine, infinity
    exponential. A logarithm comes in where a = decay + 1. Measured for b <= 2a; the constant's form holds for b < a
    too.
    """
    _check(capacity, source, 0.0)
    if decay < 0:
        raise ValueError(f"decay: got {decay:g}; must be at least 0")
    return (source - 1) / (source - 1 + max(1.0, capacity / (decay + 1)))


def _check(capacity: float, source: float, gamma: float) -> float:
    """(1 - gamma) / capacity, of arguments in their ranges."""
    for name, value in (("capacity", capacity), ("source", source)):
        if not 1 < value < math.inf:
            raise ValueError(f"{name}: got {value!r}; must be more than 1")
    if not 0 <= gamma < 1:
        raise ValueError(f"gamma: got {gamma!r}; must be at least 0 and less than 1")
    return (1 - gamma) / capacity
