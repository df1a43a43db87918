"""Learning-rate schedules: pure functions of the position. ``schedule(s)`` serves update s = 1, 2, ..."""

from riverrun.schedules.decays import WSD, WSDS, Decayed
from riverrun.schedules.horizon_bound import Cosine, CyclicCosine, Linear
from riverrun.schedules.horizon_free import Constant, InverseSqrt, PowerDecay
from riverrun.schedules.piecewise_linear import Continued, PiecewiseLinear
from riverrun.schedules.schedule import Schedule, kinds
from riverrun.schedules.shapes import SHAPES, decay_shape
from riverrun.schedules.stairs import Stairs

__all__ = [
    "SHAPES",
    "WSD",
    "WSDS",
    "Constant",
    "Continued",
    "Cosine",
    "CyclicCosine",
    "Decayed",
    "InverseSqrt",
    "Linear",
    "PiecewiseLinear",
    "PowerDecay",
    "Schedule",
    "Stairs",
    "decay_shape",
    "kinds",
]
