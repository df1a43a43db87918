"""One budget after another on the river: WSD-S and cyclic cosine in one run, WSD in branches of equal compute."""

from __future__ import annotations

from collections.abc import Sequence

from riverrun.landscape.descent import RUNS, Descent, descend, learning_rates
from riverrun.landscape.valley import Valley
from riverrun.schedules import WSD, WSDS, CyclicCosine

BUDGET_DECAY = 0.1
"""The share of a run, or of a cycle, that decays; the rate decays to 0."""


def wsds_schedule(budgets: Sequence[int]) -> WSDS:
    """WSD-S whose decays end at the budgets, each over a tenth of its own cycle."""
    return WSDS(budgets=tuple(budgets), decay=BUDGET_DECAY, of="cycle", floor=0.0)


def cyclic_schedule(budgets: Sequence[int]) -> CyclicCosine:
    """A cosine to 0 at every budget, back at the peak at once."""
    return CyclicCosine(budgets=tuple(budgets), floor=0.0)


def wsd_lengths(budgets: Sequence[int]) -> list[int]:
    """The length of the WSD run that each budget leaves.

    The budget pays for every step, the decays of the earlier budgets among them; WSD throws those away, so
    what its own run has is the budget without them. Budgets 1500, 3000, 6000 leave 1500, 2850, 5565.
    """
    lengths: list[int] = []
    thrown_away = 0
    for budget in budgets:
        lengths.append(budget - thrown_away)
        start, end = WSD(budget=lengths[-1], decay=BUDGET_DECAY, floor=0.0).boundaries[0]
        thrown_away += end - start
    return lengths


def one_run_losses(
    valley: Valley, schedule: WSDS | CyclicCosine, *, peak: float, runs: int = RUNS, seed: int = 0
) -> list[float]:
    """The mean loss at every budget of one run."""
    rates = learning_rates(schedule, steps=schedule.budgets[-1], peak=peak)
    losses = descend(valley, rates, runs=runs, seed=seed).loss
    return [float(losses[budget - 1]) for budget in schedule.budgets]


def wsd_losses(
    valley: Valley, budgets: Sequence[int], *, peak: float, runs: int = RUNS, seed: int = 0
) -> list[float]:
    """The mean loss at the end of a WSD run for every budget, all at equal total compute."""
    return [
        float(wsd_descent(valley, length, peak=peak, runs=runs, seed=seed).loss[-1])
        for length in wsd_lengths(budgets)
    ]


def wsd_descent(valley: Valley, steps: int, *, peak: float, runs: int = RUNS, seed: int = 0) -> Descent:
    """A WSD run of so many steps, its last tenth a decay."""
    schedule = WSD(budget=steps, decay=BUDGET_DECAY, floor=0.0)
    return descend(valley, learning_rates(schedule, steps=steps, peak=peak), runs=runs, seed=seed)
