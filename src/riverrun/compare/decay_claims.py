"""Claims about decays: *Understanding Warmup-Stable-Decay Learning Rates* (2024), sections 2 and 4."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from statistics import fmean
from typing import Literal

import numpy as np

from riverrun.compare.intervals import interval, paired_differences
from riverrun.compare.measured import Measured
from riverrun.compare.results import Method, Result
from riverrun.compare.verdicts import Claim, Part, decide
from riverrun.units import short_count

_PEAK_LR = "optimizer.peak_lr"
# "Equal" compute and steps are so up to the rounding of decays to whole batches.
_EQUAL = 0.01
# What is left of an average's gain after a decay counts as little up to this share of its gain without one.
_LITTLE = 0.25


def loss_drops_in_the_decay(measured: Measured) -> Iterator[Claim]:
    """WSD falls more in each decay than a constant LR does over the same stretch."""
    constant = next(_raws(measured, "constant"), None)
    if constant is None:
        return
    for decayed in _raws(measured, "wsd"):
        parts, uncovered = [], []
        for budget in measured.facts.budgets:
            falls: dict[int, float] = {}
            others: dict[int, float] = {}
            for seed, result in measured.cell(decayed, budget).items():
                start = result.before_decay
                if start is None:
                    continue
                other = _constant_fall(measured, constant, seed, start.tokens, result.tokens)
                if other is not None:
                    falls[seed], others[seed] = start.loss - result.loss, other
            if falls:
                parts.append(
                    Part(
                        budget,
                        interval(paired_differences(falls, others).values()),
                        "above",
                        detail=f"{_mean_mnats(falls)} against {_mean_mnats(others)}",
                    )
                )
            else:
                uncovered.append(budget)
        if parts:
            yield decide(
                f"{decayed.name} stays high in its stable phase and drops in its decay, at every budget",
                f"fall in the decay beyond the fall of {constant.name} over the same stretch",
                parts,
                f"no decay or no readings of {constant.name} to compare at {', '.join(uncovered)}"
                if uncovered
                else "",
            )


def _constant_fall(measured: Measured, constant: Method, seed: int, start: int, end: int) -> float | None:
    """How far the constant LR's loss falls between two positions in tokens; None where no curve covers both.

    Between two readings the loss is taken as linear in the logarithm of the tokens.
    """
    for budget in reversed(measured.facts.budgets):
        result = measured.cell(constant, budget).get(seed)
        if result and result.curve and result.curve[0].tokens <= start <= end <= result.curve[-1].tokens:
            at = np.log([reading.tokens for reading in result.curve])
            before, after = np.interp(np.log([start, end]), at, [reading.loss for reading in result.curve])
            return float(before - after)
    return None


def wsds_against_wsd(measured: Measured) -> Iterator[Claim]:
    """WSD-S is better than WSD where both cost the same in total; the first budget's runs are the same run."""
    for ours, theirs in product(_raws(measured, "wsds"), _raws(measured, "wsd")):
        yield from _better_at_equal_cost(
            measured, ours, theirs, "total_tokens", "equal total compute", measured.facts.budgets[1:]
        )


def wsds_against_cyclic_cosine(measured: Measured) -> Iterator[Claim]:
    """WSD-S is better than cyclic cosine after equally many steps."""
    for ours, theirs in product(_raws(measured, "wsds"), _raws(measured, "cyclic-cosine")):
        yield from _better_at_equal_cost(
            measured, ours, theirs, "step", "equal steps", measured.facts.budgets
        )


def _better_at_equal_cost(
    measured: Measured,
    ours: Method,
    theirs: Method,
    cost: Literal["total_tokens", "step"],
    accounting: str,
    budgets: Sequence[str],
) -> Iterator[Claim]:
    """The claim, unless the two cost differently at some budget: then the plan does not hold this comparison."""
    parts = []
    for budget in budgets:
        first, second = (
            [getattr(result, cost) for result in measured.cell(method, budget).values()][:1]
            for method in (ours, theirs)
        )
        if first and second and abs(first[0] - second[0]) > _EQUAL * second[0]:
            return
        counts = " and ".join(short_count(count) for count in (*first, *second))
        parts.append(Part(budget, measured.difference(ours, theirs, budget), "below", detail=counts))
    if parts:
        beyond = " after the first" if len(budgets) < len(measured.facts.budgets) else ""
        counted = "tokens of the models of all budgets so far" if cost == "total_tokens" else "steps"
        yield decide(
            f"{ours.name} is better than {theirs.name} at {accounting}, at every budget{beyond}",
            f"difference to {theirs.name} ({counted} in brackets)",
            parts,
        )


def higher_peak_worse_before_better_after(measured: Measured) -> Iterator[Claim]:
    """Against the next lower peak LR tried, the chosen one is worse before the decay and better after it."""
    for method in _decayed(measured):
        peaks = method.axes.get(_PEAK_LR, ())
        if len(peaks) < 2:
            continue
        parts = []
        for budget in measured.facts.budgets:
            choice = measured.choice(method, budget)
            if choice is None:
                continue
            peak = dict(choice.point)[_PEAK_LR]
            lower = max((value for value in peaks if value < peak), default=None)
            if lower is None:
                parts.append(Part(budget, interval([]), "below", detail=f"{peak:g} is the lowest tried"))
                continue
            higher = measured.cell(method, budget)
            other = _at(measured, method, budget, {**dict(choice.point), _PEAK_LR: lower})
            sides: dict[str, Literal["above", "below"]] = {"before": "above", "after": "below"}
            for when, side in sides.items():
                differences = paired_differences(_losses(higher, when), _losses(other, when))
                parts.append(
                    Part(
                        f"{budget} {when}",
                        interval(differences.values()),
                        side,
                        detail=f"{peak:g} against {lower:g}" if when == "before" else "",
                    )
                )
        if parts:
            yield decide(
                f"{method.name}: a higher peak LR is worse before the decay and better after it, at every budget",
                "difference of the chosen peak LR to the next lower one",
                parts,
            )


def averaging_gains_little_after_a_decay(measured: Measured) -> Iterator[Claim]:
    """After a decay an average gains less than a quarter of what the same average gains at a constant LR."""
    constant = next(iter(measured.arms("constant")), None)
    for method in _decayed(measured):
        average = measured.best_average(method.arm)
        undecayed = average and next(
            (m for m in measured.methods if (m.arm, m.readout) == (constant, average.readout)), None
        )
        raw = measured.raw(constant) if constant else None
        if not (average and undecayed and raw):
            continue
        parts = []
        for budget in measured.facts.budgets:
            gain = paired_differences(measured.losses(method, budget), measured.losses(average, budget))
            without = paired_differences(measured.losses(raw, budget), measured.losses(undecayed, budget))
            common = sorted(gain.keys() & without.keys())
            parts.append(
                Part(
                    budget,
                    interval(gain[seed] - _LITTLE * without[seed] for seed in common),
                    "below",
                    detail=f"{_mean_mnats(gain)} against {_mean_mnats(without)}",
                )
            )
        yield decide(
            f"{method.name}: averaging gains little after the decay, less than a quarter of what it gains on "
            f"{raw.name}, at every budget",
            f"gain of {average.readout} over the raw weights, less a quarter of its gain on {raw.name}",
            parts,
        )


def _raws(measured: Measured, kind: str) -> Iterator[Method]:
    return filter(None, map(measured.raw, measured.arms(kind)))


def _decayed(measured: Measured) -> Iterator[Method]:
    """The raw weights of the arms that have a decay."""
    for method in measured.methods:
        if method.readout == "raw" and any(
            result.before_decay
            for budget in measured.facts.budgets
            for result in measured.cell(method, budget).values()
        ):
            yield method


def _at(measured: Measured, method: Method, budget: str, point: dict[str, object]) -> dict[int, Result]:
    """Seed -> result of a method and budget at any point of its sweep."""
    return {
        result.seed: result
        for result in measured.results
        if (result.method, result.budget, dict(result.point)) == (method.name, budget, point)
    }


def _losses(cell: Mapping[int, Result], when: str) -> dict[int, float]:
    """Seed -> loss before or after the decay."""
    readings = {seed: result.before_decay if when == "before" else result for seed, result in cell.items()}
    return {seed: reading.loss for seed, reading in readings.items() if reading}


def _mean_mnats(values: Mapping[int, float]) -> str:
    return f"{1000 * fmean(values.values()):.1f}" if values else "-"
