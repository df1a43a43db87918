"""R1 to R7: what the river valley shows, computed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from riverrun.landscape.descent import RUNS, descend, learning_rates, mean_loss_between, window_averages
from riverrun.landscape.free_rates import best_rates
from riverrun.landscape.river_formulas import (
    greedy_rates,
    greedy_variance,
    mismatched_variance,
    progress,
    stationary_elevation,
    stationary_variance,
    variance_after,
)
from riverrun.landscape.river_runs import cyclic_schedule, one_run_losses, wsd_losses, wsds_schedule
from riverrun.landscape.valley import Valley, hilly_valley, plane_valley
from riverrun.schedules import WSD, Constant
from riverrun.verification import Claim, Measurement, near

STEPS = 4000
PEAK = 0.9
BUDGETS = (1500, 3000, 6000)
WINDOWS = (25, 50, 100, 200, 400, 800, 1600, 3200)


def elevation_and_progress() -> Iterator[Measurement]:
    """R1: time means of the elevation over the last half; mean x at the end."""
    # One hill and its noise on x leave a wider spread between runs than 40 quieter ones.
    for name, valley, runs in (("plane", plane_valley(), 2048), ("40 hills", hilly_valley(), RUNS)):
        for peak in (0.1, 0.5, 0.9):
            rates = learning_rates(Constant(), steps=STEPS, peak=peak)
            descent = descend(valley, rates, runs=runs, keep=(STEPS,))
            measured = float(descent.elevation[STEPS // 2 :].mean())
            where = f"{name} eta={peak}"
            yield near(f"{where} elevation / formula", measured / stationary_elevation(valley, peak), 1, 0.02)
            x = float(descent.kept[STEPS].x.mean())
            yield near(f"{where} progress / formula", x / progress(valley, rates.sum()), 1, 0.03)


def greedy_decay() -> Iterator[Measurement]:
    """R2: on one hill, from stationarity under a constant rate."""
    steps = 1000
    for a, s in ((1.0, 0.3), (0.3, 0.1)):
        start = stationary_variance(PEAK, curvature=a, noise=s)
        where = f"a={a} s={s}"
        rates = greedy_rates(steps, curvature=a, noise=s, start=start)
        growth = float(np.abs(np.diff(1 / rates) - a).max())
        yield Measurement(what=f"{where} |diff(1/eta) - a|, largest of {steps}", value=growth, high=1e-10)
        last = float(variance_after(rates, curvature=a, noise=s, start=start)[-1])
        formula = greedy_variance(steps, curvature=a, noise=s, start=start)
        yield near(f"{where} v_n / formula - 1, n={steps}", last / formula - 1, 0, 1e-10)
        free = best_rates(40, curvature=a, noise=s, start=start)
        worst = float(np.abs(free / rates[:40] - 1).max())
        yield Measurement(what=f"{where} free rates against greedy, largest of 40", value=worst, high=1e-4)
        found = float(variance_after(free, curvature=a, noise=s, start=start)[-1])
        formula = greedy_variance(40, curvature=a, noise=s, start=start)
        yield near(f"{where} v_40 of free rates / formula - 1", found / formula - 1, 0, 1e-4)


def mismatched_slope() -> Iterator[Measurement]:
    """R3: 1/eta grows by mu, from stationarity under a constant rate."""
    steps, a, s = 20_000, 1.0, 0.3
    start = stationary_variance(PEAK, curvature=a, noise=s)
    for ratio in (0.5, 0.7, 0.85, 1.0, 1.15, 1.3):
        slope = ratio * a
        rates = 1 / (1 / PEAK + slope * np.arange(1, steps + 1))
        last = float(variance_after(rates, curvature=a, noise=s, start=start)[-1])
        formula = mismatched_variance(steps, slope=slope, curvature=a, noise=s)
        yield near(f"mu={ratio}a v_n / formula, n={steps}", last / formula, 1, 0.01)


def decay_takes_the_elevation_away() -> Iterator[Measurement]:
    """R4: WSD with a linear decay to 0 over the last fifth, 40 hills."""
    schedule = WSD(budget=STEPS, decay=0.2, floor=0.0)
    valley = hilly_valley()
    descent = descend(valley, learning_rates(schedule, steps=STEPS, peak=PEAK))
    stable_end, end = schedule.boundaries[0]
    stable = float(descent.elevation[stable_end // 2 : stable_end].mean())
    drop = float(descent.loss[stable_end - 1] - descent.loss[end - 1])
    yield Measurement(what="drop of the loss / stable elevation", value=drop / stable, low=0.85)
    residual = float(descent.elevation[end - 1])
    yield Measurement(what="elevation left / stable elevation", value=residual / stable, high=0.05)


def lines_between_checkpoints() -> Iterator[Measurement]:
    """R5: 40 hills, the WSD run of R4; two stable checkpoints lie 400 steps apart."""
    schedule = WSD(budget=STEPS, decay=0.2, floor=0.0)
    valley = hilly_valley()
    stable_end, end = schedule.boundaries[0]
    earlier = stable_end - 400
    rates = learning_rates(schedule, steps=STEPS, peak=PEAK)
    kept = descend(valley, rates, keep=(earlier, stable_end, end)).kept
    shares = np.linspace(0, 1, 21)
    down = mean_loss_between(valley, kept[stable_end], kept[end], shares)
    rise = float(np.diff(down).max())
    yield Measurement(what="stable to decayed, largest of 20 changes", value=rise, high=0, strict=True)
    first, middle, last = mean_loss_between(
        valley, kept[earlier], kept[stable_end], shares[[0, 10, 20]]
    ).tolist()
    for what, below in {"first": middle - first, "last": middle - last}.items():
        what = f"stable to stable, midpoint minus {what} end"
        yield Measurement(what=what, value=below, high=0, strict=True)


def budgets_in_one_run() -> Iterator[Measurement]:
    """R6: 40 hills, 512 runs of each schedule with the same noise; decays of a tenth to 0."""
    valley = hilly_valley()
    wsds = one_run_losses(valley, wsds_schedule(BUDGETS), peak=PEAK, runs=512)
    wsd = wsd_losses(valley, BUDGETS, peak=PEAK, runs=512)
    cyclic = one_run_losses(valley, cyclic_schedule(BUDGETS), peak=PEAK, runs=512)
    for budget, ours, branch, cosine in zip(BUDGETS, wsds, wsd, cyclic, strict=True):
        where = f"budget {budget}"
        if budget != BUDGETS[0]:  # at the first they are one run
            yield Measurement(what=f"{where} WSD-S minus WSD", value=ours - branch, high=0, strict=True)
        for name, loss in {"WSD-S": ours, "WSD": branch}.items():
            what = f"{where} {name} minus cyclic cosine"
            yield Measurement(what=what, value=loss - cosine, high=0, strict=True)


def best_window_on_a_curved_river() -> Iterator[Measurement]:
    """R7: the elevation of window averages at a constant rate, and of decays as long as the windows."""
    for name, make in {"plane": plane_valley, "40 hills": hilly_valley}.items():
        for amplitude in (0.0, 1.0, 2.0):
            valley = make(amplitude)
            rates = learning_rates(Constant(), steps=STEPS, peak=PEAK)
            averages = window_averages(valley, rates, WINDOWS)
            elevations = [valley.elevation(points).mean() for points in averages]
            where = f"{name} amplitude={amplitude:g}"
            if not amplitude:
                rise = float(np.diff(elevations).max())
                what = f"{where} averages, largest change to a window of twice the length"
                yield Measurement(what=what, value=rise, high=0, strict=True)
                continue
            best = WINDOWS[int(np.argmin(elevations))]
            what = f"{where} best window of averages"
            yield Measurement(what=what, value=best, low=WINDOWS[0], high=WINDOWS[-1], strict=True)
            rise = float(np.diff([_decay_elevation(valley, length) for length in WINDOWS]).max())
            what = f"{where} decays, largest change to one of twice the length"
            yield Measurement(what=what, value=rise, high=0, strict=True)


def _decay_elevation(valley: Valley, length: int) -> float:
    schedule = Constant().decay(at=STEPS - length, steps=length, floor=0.0)
    return float(descend(valley, learning_rates(schedule, steps=STEPS, peak=PEAK)).elevation[-1])


CLAIMS = (
    Claim(
        number="R1",
        statement="at a constant rate, elevation above the river and progress along it follow the formulas",
        measure=elevation_and_progress,
    ),
    Claim(
        number="R2",
        statement="the greedy decay raises 1/eta by a in each update, and no other rates end lower",
        measure=greedy_decay,
    ),
    Claim(
        number="R3",
        statement="a decay that takes mu for the curvature a costs a^2/(mu(2a - mu)), up to mu = 1.3a",
        measure=mismatched_slope,
    ),
    Claim(
        number="R4",
        statement="a WSD decay over the last fifth takes nearly all of the elevation away",
        measure=decay_takes_the_elevation_away,
    ),
    Claim(
        number="R5",
        statement="the loss falls from a stable checkpoint to a decayed one, and has a valley between two stable ones",
        measure=lines_between_checkpoints,
    ),
    Claim(
        number="R6",
        statement="WSD-S is below WSD at equal compute from the second budget on, and both below cyclic cosine",
        measure=budgets_in_one_run,
        quick=False,
    ),
    Claim(
        number="R7",
        statement="on a curved river averages have a best window, on a straight one longer is better",
        measure=best_window_on_a_curved_river,
        quick=False,
    ),
)
