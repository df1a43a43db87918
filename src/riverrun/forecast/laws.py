"""Laws: the loss at a position as a function of the learning rates up to it.

Written with the river valley in mind. The river's floor falls with the summed LR; above it the LR holds the loss up,
and each change of the LR moves that height, not at once but along a kernel:

    L(t) = L0 + A u^-alpha + B u^-delta sum_k (h(eta_k) - h(eta_(k-1))) K(k, t),    u = S1(t) / S_ref

- `MultiPowerLaw` (Luo et al. 2025): h(eta) = eta / eta_ref, delta = 0, K = 1 - (1 + C eta_k^-gamma S_k(t))^-beta, with
  S_k(t) the LR summed over updates k .. t. With eta_0 = 0 its published form "- B sum (eta_(k-1) - eta_k) ..." is this.
- `RiverLaw`, this package's: the same with h(eta) = (eta / eta_ref)^p, heights that fall as the run goes on, and u from
  the sum of (eta / eta_ref)^rho: at a high LR the river flows more slowly than in proportion.
- `MomentumLaw` (Tissue et al. 2024): K = (1 - lambda^(t-k+1)), h and delta as in the multi-power law.
- `PowerLaw`: L0 + A (t / t_ref)^-alpha. It does not see the LR: the baseline.

Parameters are the coordinates that a fit works in, of order one, and logarithms of what must be positive. S_ref, t_ref
and eta_ref are those of the data (`Scale`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from riverrun.errors import nearest
from riverrun.forecast.curve import Curve, Floats
from riverrun.forecast.seen import Seen

# A decay to zero: what is said of an LR of zero is said of this part of the reference.
_SMALLEST = 1e-6
_RELAXATION = 1000.0
"""Updates at the reference LR whose relaxation the parameter "log c" measures."""


@dataclass(frozen=True)
class Prior:
    """What is known of a parameter before any data: about ``mean``, give or take ``sd``."""

    mean: float
    sd: float


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A coordinate of a law: its name, the range it is kept in, where fits start, and its prior if it has one."""

    name: str
    low: float
    high: float
    starts: tuple[float, ...]
    prior: Prior | None = None


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The units of the parameters.

    Attributes:
        lr: eta_ref, the highest LR.
        summed: S_ref, the LR summed over the longest curve.
        step: t_ref, its last position.
        loss: a typical loss; heights above the river have a prior relative to it.
    """

    lr: float
    summed: float
    step: float
    loss: float


def scale_of(curves: list[Curve]) -> Scale:
    """The units for some curves."""
    return Scale(
        lr=max(float(curve.lr[: curve.steps[-1]].max()) for curve in curves),
        summed=max(float(curve.lr[: curve.steps[-1]].sum()) for curve in curves),
        step=max(float(curve.steps[-1]) for curve in curves),
        loss=float(np.median(np.concatenate([curve.losses for curve in curves]))),
    )


FLOOR = Parameter(name="L0", low=0.0, high=50.0, starts=())
"""The loss without end and without LR. Its starts come from the data."""
_SIZE = Parameter(name="log A", low=-12.0, high=6.0, starts=())
_ALPHA = Parameter(name="log alpha", low=-4.0, high=1.1, starts=(-1.2, -0.6), prior=Prior(-0.75, 0.35))
"""The exponents published for 25M to 400M parameters are .43 to .51."""


class Law(ABC):
    """A law; see the module. Laws have no state: what was fitted is a vector beside them."""

    name: ClassVar[str]
    parameters: ClassVar[tuple[Parameter, ...]]
    """L0 first."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters, in order."""
        return tuple(parameter.name for parameter in self.parameters)

    @abstractmethod
    def losses(self, values: Floats, seen: Seen, scale: Scale) -> tuple[Floats, Floats]:
        """The losses [n] at the positions, and their derivatives [n, parameters]."""

    def natural(self, values: Floats, scale: Scale) -> dict[str, float]:
        """The constants as the law's paper writes them, in the curves' units of the LR."""
        return dict(zip(self.names, map(float, values), strict=True))


class PowerLaw(Law):
    """L0 + A (t / t_ref)^-alpha, which is the same for all schedules."""

    name = "power"
    parameters = (FLOOR, _SIZE, _ALPHA)

    def losses(self, values: Floats, seen: Seen, scale: Scale) -> tuple[Floats, Floats]:
        """See `Law.losses`."""
        floor, size, alpha = values
        river, slopes = _river(size, alpha, np.log(seen.steps / scale.step))
        return floor + river, np.stack([np.ones_like(river), *slopes], axis=1)

    def natural(self, values: Floats, scale: Scale) -> dict[str, float]:
        """L0, A, alpha."""
        return _natural_river(values, scale.step)


class MomentumLaw(Law):
    """The multi-power law's river, and heights that follow the LR with an exponential memory.

    "log B" is the height that the reference LR holds, in nats; "log tau" the memory in updates, -1 / log(lambda).
    """

    name = "momentum"
    parameters = (
        FLOOR,
        _SIZE,
        _ALPHA,
        Parameter(name="log B", low=-12.0, high=3.0, starts=(-2.5,)),
        Parameter(name="log tau", low=0.0, high=14.0, starts=(4.0, 6.5), prior=Prior(6.0, 1.5)),
    )

    def losses(self, values: Floats, seen: Seen, scale: Scale) -> tuple[Floats, Floats]:
        """See `Law.losses`."""
        floor, size, alpha, height, memory = values
        river, slopes = _river(size, alpha, np.log(seen.summed / scale.summed))
        change = np.exp(height) * (seen.after - seen.before) / scale.lr
        ages = seen.gap * np.exp(-memory)
        left = np.exp(-ages)
        held = seen.total(change * (1 - left))
        slope = -seen.total(change * left * ages)
        return floor + river + held, np.stack([np.ones_like(river), *slopes, held, slope], axis=1)

    def natural(self, values: Floats, scale: Scale) -> dict[str, float]:
        """L0, A, alpha, C, lambda: L0 + A S1^-alpha - C S2, the LR's changes weighed from update 1 on."""
        decay = np.exp(-np.exp(-values[4]))
        return _natural_river(values, scale.summed) | {
            "C": float(np.exp(values[3]) / scale.lr * (1 - decay)),
            "lambda": float(decay),
        }


class RiverLaw(Law):
    """The multi-power law with heights in proportion to eta^p u^-delta, and a river that flows with eta^rho.

    "log B" is the height in nats that the reference LR holds at u = 1; "log c" how fast it relaxes: the logarithm of
    the kernel's argument after 1000 updates at the reference LR.

    p, delta and rho were found by looking at all nine published curves of 25M and 100M parameters and at small runs of
    this package: each improves both. Their priors are centred between them.
    """

    name = "river"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        FLOOR,
        _SIZE,
        _ALPHA,
        Parameter(name="log B", low=-12.0, high=3.0, starts=(-2.0,)),
        Parameter(name="log c", low=-3.0, high=16.0, starts=(3.0, 5.5), prior=Prior(4.75, 1.5)),
        Parameter(name="log beta", low=-4.0, high=2.0, starts=(-0.5, -1.5), prior=Prior(-0.53, 0.7)),
        Parameter(name="gamma", low=-1.0, high=2.5, starts=(0.6,), prior=Prior(0.35, 0.4)),
        Parameter(name="p", low=0.2, high=1.5, starts=(0.8,), prior=Prior(0.77, 0.12)),
        Parameter(name="delta", low=-0.3, high=0.8, starts=(0.1,), prior=Prior(0.1, 0.08)),
        Parameter(name="rho", low=0.1, high=1.5, starts=(0.9,), prior=Prior(0.8, 0.2)),
    )

    def losses(self, values: Floats, seen: Seen, scale: Scale) -> tuple[Floats, Floats]:
        """See `Law.losses`."""
        floor, size, alpha, height, rate, sharpness, gamma, power, flattening, pace = values
        moves = seen.stretch_length * _power(seen.stretch_lr / scale.lr, pace)
        moved = seen.until(moves)
        progress = np.log(moved / (scale.summed / scale.lr))
        faster = seen.until(moves * _log(seen.stretch_lr / scale.lr)) / moved
        river, slopes = _river(size, alpha, progress)
        before, after = seen.before / scale.lr, seen.after / scale.lr
        level = np.log(np.maximum(seen.level / scale.lr, _SMALLEST))
        argument = np.exp(rate - gamma * level) * (seen.since / (scale.lr * _RELAXATION))
        beta = np.exp(sharpness)
        grown = np.log1p(argument)
        left = np.exp(-beta * grown)
        risen, fallen = _power(after, power), _power(before, power)
        lift = np.exp(height - flattening * progress)
        change = risen - fallen
        held = lift * seen.total(change * (1 - left))
        speed = change * left * beta * argument / (1 + argument)
        columns = [
            held,
            lift * seen.total(speed),
            lift * seen.total(change * left * grown * beta),
            -lift * seen.total(speed * level),
            lift * seen.total((risen * _log(after) - fallen * _log(before)) * (1 - left)),
            -progress * held,
            (-np.exp(alpha) * river - flattening * held) * faster,
        ]
        return floor + river + held, np.stack([np.ones_like(river), *slopes, *columns], axis=1)

    def natural(self, values: Floats, scale: Scale) -> dict[str, float]:
        """The constants of L0 + A S^-alpha + B S^-delta (sum over changes of eta^p), S the sum of eta^rho."""
        height, rate, sharpness, gamma, power, flattening, pace = map(float, values[3:])
        unit = scale.summed * scale.lr ** (pace - 1)
        return _natural_river(values, unit) | {
            "B": float(np.exp(height) * scale.lr**-power * unit**flattening),
            "C": float(np.exp(rate) * scale.lr ** (gamma - 1) / _RELAXATION),
            "beta": float(np.exp(sharpness)),
            "gamma": gamma,
            "p": power,
            "delta": flattening,
            "rho": pace,
        }


class MultiPowerLaw(RiverLaw):
    """The published multi-power law: p = 1, delta = 0 and rho = 1."""

    name = "multi-power"
    parameters = RiverLaw.parameters[:-3]

    def losses(self, values: Floats, seen: Seen, scale: Scale) -> tuple[Floats, Floats]:
        """See `Law.losses`."""
        losses, slopes = super().losses(np.append(values, (1.0, 0.0, 1.0)), seen, scale)
        return losses, slopes[:, :-3]

    def natural(self, values: Floats, scale: Scale) -> dict[str, float]:
        """L0, A, alpha, B, C, beta, gamma as published."""
        found = super().natural(np.append(values, (1.0, 0.0, 1.0)), scale)
        return {name: found[name] for name in ("L0", "A", "alpha", "B", "C", "beta", "gamma")}

    def parameters_of(self, published: dict[str, float], scale: Scale) -> Floats:
        """The parameters for constants as published; the inverse of `natural`."""
        alpha, gamma = published["alpha"], published["gamma"]
        return np.array(
            [
                published["L0"],
                np.log(published["A"]) - alpha * np.log(scale.summed),
                np.log(alpha),
                np.log(published["B"] * scale.lr),
                np.log(published["C"] * scale.lr ** (1 - gamma) * _RELAXATION),
                np.log(published["beta"]),
                gamma,
            ]
        )


LAWS: dict[str, Law] = {law.name: law for law in (RiverLaw(), MultiPowerLaw(), MomentumLaw(), PowerLaw())}


def law_named(name: str) -> Law:
    """The law of that name; `ValueError` offers the nearest."""
    if name not in LAWS:
        raise ValueError(f"law: got {name!r}{nearest(name, LAWS)}")
    return LAWS[name]


def _river(size: float, alpha: float, progress: Floats) -> tuple[Floats, tuple[Floats, Floats]]:
    """A u^-alpha for log u, and its derivatives by log A and log alpha."""
    exponent = np.exp(alpha)
    river = np.exp(size - exponent * progress)
    return river, (river, -exponent * progress * river)


def _natural_river(values: Floats, unit: float) -> dict[str, float]:
    alpha = float(np.exp(values[2]))
    return {"L0": float(values[0]), "A": float(np.exp(values[1]) * unit**alpha), "alpha": alpha}


def _power(ratio: Floats, exponent: float) -> Floats:
    return np.where(ratio > 0, np.exp(exponent * _log(ratio)), 0.0)


def _log(ratio: Floats) -> Floats:
    """The logarithm, and 0 for 0, where it is multiplied by 0."""
    return np.log(np.where(ratio > 0, ratio, 1.0))
