"""C1 to C4: the recursions are right, and the engines agree."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from riverrun.averaging.profiles import FixedBeta, HalfLife, Profile, Tail, Uniform
from riverrun.schedules import WSD, Constant, Cosine, InverseSqrt, Linear, PowerDecay, Schedule
from riverrun.theory.claims.settings import few_modes
from riverrun.theory.monte_carlo import simulate
from riverrun.theory.problem import Regression
from riverrun.theory.risk import Engine, risk, window_risks
from riverrun.theory.spectrum import PowerLaw
from riverrun.verification import Claim, Measurement, near


def _monte_carlo() -> Iterator[Measurement]:
    steps, runs = 200, 4000
    averages: list[Profile] = [Tail(0.5), FixedBeta(0.95), HalfLife(4), Uniform()]
    for batch, dimension, schedule in (
        (1, 60, PowerDecay(exponent=0.3)),
        (4, 80, Linear(total=steps, floor=0.1)),
    ):
        problem = few_modes((1.5, 2.0), dimension, noise=0.5, batch=batch)
        lr = problem.moderate_lr
        predicted = risk(problem, schedule, lr, steps, averages, engine="exact")
        simulated = simulate(problem, schedule, lr, steps, averages, runs=runs, seed=20 + batch)
        for name, values in simulated.items():
            exact, mean = float(predicted[name][0, 0]), float(values.mean())
            error = float(values.std(ddof=1)) / np.sqrt(runs)
            yield near(f"B={batch} {name}, standard errors from the simulation", (mean - exact) / error, 0, 4)
            yield near(f"B={batch} {name}, relative difference", mean / exact - 1, 0, 0.02)


def _windows() -> Iterator[Measurement]:
    steps = 400
    problem = few_modes((1.5, 2.5), 50, noise=0.3, batch=2)
    for schedule in (Constant(), InverseSqrt(offset=10), Cosine(total=steps, floor=0.0)):
        windows = window_risks(problem, schedule, problem.moderate_lr, steps)
        for start in (1, 100, 399):
            found = risk(problem, schedule, problem.moderate_lr, steps, [Uniform(start - 1)], engine="exact")
            ratio = float(found[Uniform(start - 1).name][0, 0] / windows[start])
            yield near(f"{schedule.kind} from {start}, ratio - 1", ratio - 1, 0, 1e-10)


def _stability() -> Iterator[Measurement]:
    for batch, published in ((1, 0.53196), (4, 1.25693)):
        problem = few_modes((1.5, 2.0), 300, batch=batch)
        limit = problem.largest_lr
        yield near(f"B={batch}, limit", limit, published, 1e-5)
        yield near(f"B={batch}, spectral radius at the limit", _radius(problem, limit), 1, 1e-5)
        yield Measurement(
            what=f"B={batch}, at 0.99 of it", value=_radius(problem, 0.99 * limit), high=1, strict=True
        )
        yield Measurement(
            what=f"B={batch}, at 1.01 of it", value=_radius(problem, 1.01 * limit), low=1, strict=True
        )


def _radius(problem: Regression, lr: float) -> float:
    """Of the recursion of the second moments, as a dense matrix."""
    modes, batch = problem.spectrum.single(), problem.batch
    pull = lr * modes.rate
    shrink = 1 - 2 * pull + pull**2 * (1 + 1 / batch)
    matrix = np.diag(shrink) + lr**2 / batch * np.outer(modes.rate, modes.rate)
    return float(np.abs(np.linalg.eigvalsh(matrix)).max())


def _macro() -> Iterator[Measurement]:
    steps = 2**13
    problem = Regression(spectrum=PowerLaw(capacity=1.5, source=2.5, dimension=2 * 10**4))
    schedules: list[Schedule] = [
        Constant(),
        PowerDecay(exponent=0.4),
        Linear(total=steps, floor=0.0),
        Cosine(total=steps, floor=0.0),
        WSD(budget=steps, decay=0.2, floor=0.0),
    ]
    averages = [Tail(0.5), HalfLife(25), Uniform()]

    def run(engine: Engine, blocks: float = 0.02) -> dict[str, np.ndarray]:
        found = risk(
            problem, schedules, problem.moderate_lr, [500, steps], averages, engine=engine, blocks=blocks
        )
        return {name: found[name] for name in found.bias}

    exact = run("exact")
    for blocks in (0.02, 0.005):
        macro = run("macro", blocks)
        for row, schedule in enumerate(schedules):
            steady = schedule.kind in ("constant", "power-decay")
            worst = max(float(np.abs(macro[name][row] / exact[name][row] - 1).max()) for name in exact)
            tolerance = 5e-4 if steady or blocks < 0.02 else 5e-3
            yield Measurement(what=f"{schedule.kind}, blocks {blocks:g}", value=worst, high=tolerance)


ENGINES = (
    Claim(
        number="C1",
        statement="The exact recursion agrees with SGD simulated 4,000 times",
        measure=_monte_carlo,
    ),
    Claim(
        number="C2", statement="Windows one by one are those of the pass over all of them", measure=_windows
    ),
    Claim(
        number="C3",
        statement="At the analytic stability limit the spectral radius of the recursion is 1",
        measure=_stability,
    ),
    Claim(
        number="C4",
        statement="The macro engine agrees with the exact one up to T = 2^13",
        measure=_macro,
        quick=False,
    ),
)
