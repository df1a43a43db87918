"""Claims about decays: *Understanding Warmup-Stable-Decay Learning Rates* (2024), sections 2 and 4."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Literal

import numpy as np

from riverrun.compare.intervals import interval, paired_differences
from riverrun.compare.measured import Measured
from riverrun.compare.results import Method, Reading, Result
from riverrun.compare.verdicts import Claim, Part, decide

_PEAK_LR = "optimizer.peak_lr"
# What is left of an average's gain after a decay counts as little up to this share of its gain without one.
_LITTLE = 0.25
_INTERPOLATED = "interpolated"


def loss_is_high_before_the_decay(measured: Measured) -> Iterator[Claim]:
    """Before its decay WSD's loss lies above that of the cosine of the same budget at the same tokens."""
    cosine = next(iter(measured.raws("cosine")), None)
    if cosine is None:
        return
    for decayed in measured.raws("wsd"):
        parts = []
        for budget in measured.facts.budgets:
            before, others, exact = {}, {}, True
            for seed, result in measured.cell(cosine, budget).items():
                other = measured.cell(decayed, budget).get(seed)
                start = other.before_decay if other else None
                if start and _covers(result.curve, start.tokens):
                    before[seed] = start.loss
                    others[seed] = _loss_at(result.curve, start.tokens)
                    exact = exact and _is_read(result.curve, start.tokens)
            differences = paired_differences(before, others)
            parts.append(
                Part(budget, interval(differences.values()), "above", detail="" if exact else _INTERPOLATED)
            )
        yield decide(
            f"{decayed.name}: before its decay it lies above {cosine.name} of the same budget at the same tokens, "
            "at every budget",
            f"difference to {cosine.name} where the decay begins, each at its own best settings",
            parts,
        )


def loss_drops_in_the_decay(measured: Measured) -> Iterator[Claim]:
    """WSD falls more in each decay than the same run at a constant LR does over the same stretch."""
    constant = next(iter(measured.raws("constant")), None)
    if constant is None:
        return
    for decayed in measured.raws("wsd"):
        parts = {
            budget: part
            for budget in measured.facts.budgets
            if (part := _drop(measured, decayed, constant, budget))
        }
        missing = [budget for budget in measured.facts.budgets if budget not in parts]
        yield decide(
            f"{decayed.name} drops in its decay, by more than the same run at a constant LR falls over the same "
            f"stretch, at {', '.join(parts) if parts and missing else 'every budget'}",
            f"fall in the decay beyond the fall of {constant.name} at the same settings",
            [*parts.values()] or [Part(budget, interval([]), "above") for budget in missing],
            f"no readings of {constant.name} at the settings of {decayed.name}, or no decay, at "
            f"{', '.join(missing)}"
            if missing
            else "",
        )


def _drop(measured: Measured, decayed: Method, constant: Method, budget: str) -> Part | None:
    """How much further a decay falls than its trunk going on; None where no seed has both."""
    choice = measured.choice(decayed, budget)
    if choice is None:
        return None
    trunks = [measured.at(constant, other, dict(choice.point)) for other in measured.facts.budgets]
    falls, others, exact = {}, {}, True
    for seed, result in measured.cell(decayed, budget).items():
        start = result.before_decay
        curves = [trunk[seed].curve for trunk in trunks if seed in trunk]
        covering = [c for c in curves if start and _covers(c, start.tokens) and _covers(c, result.tokens)]
        if start and covering:
            # The constant LR has one run for all budgets: the longest curve has the most readings.
            curve = covering[-1]
            falls[seed] = start.loss - result.loss
            others[seed] = _loss_at(curve, start.tokens) - _loss_at(curve, result.tokens)
            exact = exact and _is_read(curve, start.tokens) and _is_read(curve, result.tokens)
    if not falls:
        return None
    detail = f"{_mean_mnats(falls)} against {_mean_mnats(others)}{'' if exact else f', {_INTERPOLATED}'}"
    return Part(budget, interval(paired_differences(falls, others).values()), "above", detail=detail)


def _covers(curve: Sequence[Reading], tokens: int) -> bool:
    return bool(curve) and curve[0].tokens <= tokens <= curve[-1].tokens


def _is_read(curve: Sequence[Reading], tokens: int) -> bool:
    return any(reading.tokens == tokens for reading in curve)


def _loss_at(curve: Sequence[Reading], tokens: int) -> float:
    """The loss at a position that the curve covers: linear in the logarithm of the tokens between two readings."""
    at = np.log([reading.tokens for reading in curve])
    return float(np.interp(np.log(tokens), at, [reading.loss for reading in curve]))


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
            other = measured.at(method, budget, {**dict(choice.point), _PEAK_LR: lower})
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
    """After a decay an average gains less than a quarter of what one gains at a constant LR.

    It is the same average, if the constant arm has it, else that arm's best.
    """
    raw = next(iter(measured.raws("constant")), None)
    if raw is None:
        return
    for method in _decayed(measured):
        average = measured.best_average(method.arm)
        if average is None:
            continue
        same = (m for m in measured.methods if (m.arm, m.readout) == (raw.arm, average.readout))
        undecayed = next(same, measured.best_average(raw.arm))
        if undecayed is None:
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
            f"{method.name}: after the decay averaging gains less than a quarter of what it gains on {raw.name}, "
            "at every budget",
            f"gain of {average.name} over the raw weights, less a quarter of the gain of {undecayed.name}, each at "
            "its own best settings",
            parts,
        )


def _decayed(measured: Measured) -> Iterator[Method]:
    """The raw weights of the arms that have a decay."""
    for method in measured.methods:
        if method.readout == "raw" and any(
            result.before_decay
            for budget in measured.facts.budgets
            for result in measured.cell(method, budget).values()
        ):
            yield method


def _losses(cell: Mapping[int, Result], when: str) -> dict[int, float]:
    """Seed -> loss before or after the decay."""
    readings = {seed: result.before_decay if when == "before" else result for seed, result in cell.items()}
    return {seed: reading.loss for seed, reading in readings.items() if reading}


def _mean_mnats(values: Mapping[int, float]) -> str:
    return f"{1000 * fmean(values.values()):.1f}" if values else "-"
