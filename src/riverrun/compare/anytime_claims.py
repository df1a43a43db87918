"""Claims about runs without a horizon: *Anytime Pretraining* (2026), section 4."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from statistics import fmean

from riverrun.compare.intervals import Interval, in_mnats, interval, paired_differences
from riverrun.compare.measured import Measured
from riverrun.compare.plan import ANYTIME
from riverrun.compare.results import Method
from riverrun.compare.verdicts import Claim, Part, decide


def averages_track(measured: Measured) -> Iterator[Claim]:
    """The best average of each horizon-free arm is at most the tolerance above the baseline, at every budget."""
    baseline, tolerance = measured.baseline, measured.facts.tolerance
    for arm in measured.arms(*ANYTIME):
        average = measured.best_average(arm)
        if average and baseline and baseline.arm != arm:
            yield decide(
                f"{average.name} tracks {baseline.name}: less than {1000 * tolerance:g} thousandths of a nat "
                "above it at every budget",
                f"difference to {baseline.name}",
                [
                    Part(budget, measured.difference(average, baseline, budget), "below", tolerance)
                    for budget in measured.facts.budgets
                ],
            )


def raw_constant_does_not_track(measured: Measured) -> Iterator[Claim]:
    """The raw weights at a constant LR are more than the tolerance above the baseline, at every budget."""
    baseline, tolerance = measured.baseline, measured.facts.tolerance
    for arm in measured.arms("constant"):
        raw = measured.raw(arm)
        if raw and baseline and baseline.arm != arm:
            yield decide(
                f"{raw.name} without an average does not track {baseline.name}: more than "
                f"{1000 * tolerance:g} thousandths of a nat above it at every budget",
                f"difference to {baseline.name}",
                [
                    Part(budget, measured.difference(raw, baseline, budget), "above", tolerance)
                    for budget in measured.facts.budgets
                ],
            )


def raw_constant_above_its_average(measured: Measured) -> Iterator[Claim]:
    """The raw weights at a constant LR are above the best average of the same arm, at every budget."""
    for arm in measured.arms("constant"):
        raw, average = measured.raw(arm), measured.best_average(arm)
        if raw and average:
            yield decide(
                f"{raw.name} without an average lies above {average.name} at every budget",
                f"difference of the raw weights to {average.readout}, each at its own best settings",
                [
                    Part(budget, measured.difference(raw, average, budget), "above")
                    for budget in measured.facts.budgets
                ],
            )


def inverse_sqrt_against_constant(measured: Measured) -> Iterator[Claim]:
    """1/sqrt(t) is better than a constant LR, both averaged, at every budget; and in the mean over budgets."""
    for decaying, constant in product(measured.arms("inverse-sqrt"), measured.arms("constant")):
        ours, theirs = measured.best_average(decaying), measured.best_average(constant)
        if ours and theirs:
            budgets = measured.facts.budgets
            parts = [Part(budget, measured.difference(ours, theirs, budget), "below") for budget in budgets]
            better = {
                word: [part.label for part in parts if part.verdict == verdict]
                for word, verdict in (("better", "holds"), ("worse", "fails"), ("neither", "undecided"))
            }
            told = ", ".join(f"{word} at {', '.join(where)}" for word, where in better.items() if where)
            mean = _mean_over_budgets(measured, ours, theirs)
            yield decide(
                f"{ours.name} is better than {theirs.name} at every budget",
                f"difference to {theirs.name}",
                parts,
                f"{told}; mean over budgets {in_mnats(mean)}",
            )


def _mean_over_budgets(measured: Measured, ours: Method, theirs: Method) -> Interval:
    """The difference averaged over budgets within each seed that has them all."""
    by_budget = [
        paired_differences(measured.losses(ours, budget), measured.losses(theirs, budget))
        for budget in measured.facts.budgets
    ]
    seeds = set.intersection(*map(set, by_budget))
    return interval(fmean(differences[seed] for differences in by_budget) for seed in sorted(seeds))
