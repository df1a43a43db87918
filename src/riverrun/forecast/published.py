"""The published benchmark of loss laws (Luo et al. 2025): fit three schedules, predict six others.

A folder holds one model's curves as NAME.csv with the columns step, lr, loss; the name tells the schedule. All have
a peak of 3e-4 after 2160 steps of warm-up:

    constant_T                cosine_T: to a tenth at T
    wsd_A_B, wsdld_A_B        exponential, linear: to a tenth over A .. B
    wsdcon_X                  the peak until step 8000, then X * 1e-5
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riverrun.forecast.curve import Curve
from riverrun.forecast.fitting import Fit
from riverrun.forecast.scoring import Score, mean_score, score_fit
from riverrun.schedules import Constant, Cosine, Schedule

PEAK_LR = 3e-4
WARMUP = 2160
DROP = 8000
FITTED = ("cosine_24000", "constant_24000", "wsdcon_9")
PREDICTED = (
    "cosine_72000",
    "constant_72000",
    "wsd_20000_24000",
    "wsdld_20000_24000",
    "wsdcon_3",
    "wsdcon_18",
)
CONSTANTS: dict[str, dict[str, float]] = {
    size: dict(zip(("L0", "A", "alpha", "B", "C", "beta", "gamma"), values, strict=True))
    for size, values in {
        "25M": (3.040, 0.525, 0.508, 363.8, 2.066, 0.583, 0.641),
        "100M": (2.651, 0.601, 0.453, 437.9, 2.132, 0.598, 0.655),
        "400M": (2.375, 0.654, 0.429, 523.4, 2.025, 0.594, 0.635),
    }.items()
}
"""The multi-power law's constants as published, in `MultiPowerLaw.natural`'s names."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The published multi-power law's means over the six predicted curves."""

    r2: float
    mae: float
    rmse: float
    mean: float
    worst: float


FIGURES: dict[str, Figures] = {
    "25M": Figures(r2=0.9988, mae=0.00376, rmse=0.00465, mean=0.00110, worst=0.00409),
    "100M": Figures(r2=0.9983, mae=0.00435, rmse=0.00592, mean=0.00142, worst=0.00583),
}


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The curves of one model.

    Attributes:
        fitted: the three that laws are fitted to.
        predicted: the six others.
    """

    fitted: tuple[Curve, ...]
    predicted: tuple[Curve, ...]


def read_benchmark(folder: Path) -> Benchmark:
    """The nine curves of a folder.

    Raises:
        ValueError: a curve that is missing, or one whose learning rates are not those of its name.
    """
    return Benchmark(
        fitted=tuple(read_curve(folder / f"{name}.csv") for name in FITTED),
        predicted=tuple(read_curve(folder / f"{name}.csv") for name in PREDICTED),
    )


def score_benchmark(fit: Fit, benchmark: Benchmark) -> Mapping[str, Score]:
    """{curve: score} of the predicted curves, and their mean under "mean"."""
    scores = {curve.name: score_fit(fit, [curve]) for curve in benchmark.predicted}
    return scores | {"mean": mean_score(list(scores.values()))}


def schedule_named(name: str) -> Schedule:
    """The schedule of a curve's name.

    Raises:
        ValueError: no such name.
    """
    trunk = Constant(warmup=WARMUP)
    match name.split("_"):
        case ["constant", _]:
            return trunk
        case ["cosine", total]:
            return Cosine(warmup=WARMUP, total=int(total), floor=0.1)
        case ["wsd" | "wsdld" as kind, start, end]:
            shape = "exponential" if kind == "wsd" else "linear"
            return trunk.decay(at=int(start), steps=int(end) - int(start), shape=shape, floor=0.1)
        case ["wsdcon", level]:
            return trunk.decay(at=DROP, steps=0, floor=int(level) / 30)
    raise ValueError(f"{name}: no curve of the benchmark; its names are {', '.join((*FITTED, *PREDICTED))}")


def read_curve(path: Path) -> Curve:
    """One file, with the LR of every update from the schedule of its name.

    Raises:
        ValueError: no such file, or logged learning rates that are not the schedule's.
    """
    if not path.is_file():
        raise ValueError(f"{path.name}: not in {path.parent}, which must hold all curves of the benchmark")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    steps, logged, losses = (np.array([float(row[name]) for row in rows]) for name in ("step", "lr", "loss"))
    steps, schedule = steps.astype(np.int64), schedule_named(path.stem)
    # At the step of a drop the logs have the next update's LR already.
    agree = [np.isclose(logged, PEAK_LR * schedule(steps + late), rtol=2e-3, atol=0) for late in (0, 1)]
    if not (agree[0] | agree[1]).all():
        first = int(steps[np.argmin(agree[0] | agree[1])])
        raise ValueError(
            f"{path.name}: the learning rate logged at step {first:,} is not that of the schedule"
        )
    return Curve.of_schedule(path.stem, schedule, steps, losses, peak_lr=PEAK_LR)
