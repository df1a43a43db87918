"""How long the engines of the theory lab take, on one core.

    OMP_NUM_THREADS=1 python benchmarks/theory.py [--rounds 7]

- macro: ten power schedules to T = 2^40 with an average of the last half, in 1e13 dimensions.
- binned: one update with two averages, in 1e6 dimensions.
- The floor of an update is the NumPy arithmetic of its formula on arrays of the same size, without averages: what is
  above it are the averages, the forcing and the interpreter.
Medians of the rounds, which take turns.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from riverrun.averaging import HalfLife, Tail, Uniform
from riverrun.schedules import PowerDecay
from riverrun.theory import PowerLaw, Regression, risk

UPDATES = 4096


def macro() -> None:
    """Ten exponents to 2^40."""
    problem = Regression(spectrum=PowerLaw(capacity=1.5, source=2.5, dimension=10**13))
    schedules = [PowerDecay(exponent=0.08 * n) for n in range(10)]
    risk(problem, schedules, problem.moderate_lr, 2**40, [Tail(0.5)], engine="macro")


def binned() -> None:
    """Single updates of bins, with a half-life and a uniform average."""
    problem = Regression(spectrum=PowerLaw(capacity=1.5, source=2.5, dimension=10**6))
    risk(
        problem,
        PowerDecay(exponent=0.3),
        problem.moderate_lr,
        UPDATES,
        [HalfLife(25), Uniform()],
        engine="binned",
    )


def floor() -> None:
    """m+ = shrink m + push alone, for bias and variance."""
    modes = Regression(spectrum=PowerLaw(capacity=1.5, source=2.5, dimension=10**6)).modes
    moments = np.ones((2, 1, modes.rate.size))
    shrink, push = 1 - 1e-3 * modes.rate, 1e-6 * modes.square
    for _ in range(UPDATES):
        moments *= shrink
        moments += push


def main() -> None:
    """Take turns and print medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    cases: dict[str, Callable[[], None]] = {"macro": macro, "binned": binned, "floor": floor}
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()
    for _ in range(rounds):
        for name, case in cases.items():
            began = time.perf_counter()
            case()
            seconds[name].append(time.perf_counter() - began)
    update = {name: 1e6 * median(seconds[name]) / UPDATES for name in ("binned", "floor")}
    print(f"macro   T = 2^40, 10 exponents, tail average   {median(seconds['macro']):.2f} s")
    print(f"binned  one update with two averages           {update['binned']:.1f} us")
    print(f"floor   its m+ = shrink m + push alone         {update['floor']:.1f} us")


if __name__ == "__main__":
    main()
