"""What weakens the numbers of a table, told below it. Each function gives one line, or none if there is nothing."""

from __future__ import annotations

import math
from typing import Any

from riverrun.compare.measured import Measured
from riverrun.compare.results import Method, Result

EDGE = "†"
# Positions are rounded to whole batches; what differs by more than this was trained longer.
_SAME_POSITION = 0.01


def setting_value(value: Any) -> str:
    """A setting's value in as few characters as tell it."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def edges(measured: Measured) -> list[str]:
    """One line that names every setting at an end of its sweep."""
    told: dict[str, dict[str, list[str]]] = {}
    for choice in measured.choices:
        for edge in choice.edges:
            text = f"{edge.setting} {setting_value(edge.value)} is the {edge.end} tried"
            told.setdefault(text, {}).setdefault(choice.method, []).append(choice.budget)
    every = list(measured.facts.budgets)
    listed = "; ".join(
        f"{text}: "
        + ", ".join(name if at == every else f"{name} (at {', '.join(at)})" for name, at in methods.items())
        for text, methods in told.items()
    )
    return (
        [f"{EDGE} Best at an end of the sweep, so better settings may lie outside. {listed}."] if told else []
    )


def chosen_on(measured: Measured) -> str:
    """What the settings were chosen on, and what of it is reported too."""
    seeds = measured.facts.tuning_seeds or sorted({result.seed for result in measured.results})
    named = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    return (
        f"Chosen on other held-out windows than those reported, but on runs of {named or 'no seed'}, which are among "
        "those reported."
    )


def single_seeds(measured: Measured) -> list[str]:
    """Numbers without an interval."""
    counts = [
        len(measured.cell(method, budget)) for method in measured.methods for budget in measured.facts.budgets
    ]
    return ["A number alone is of one seed: no interval."] if 1 in counts else []


def not_finite(measured: Measured) -> list[str]:
    """One line on losses that are not finite, at whatever settings, by arm and point."""
    arms = {method.name: method.arm for method in measured.methods}
    told: dict[str, list[Result]] = {}
    for result in measured.results:
        if not (math.isfinite(result.loss) and math.isfinite(result.select)):
            settings = ", ".join(f"{name} {setting_value(value)}" for name, value in result.point)
            told.setdefault(f"{arms[result.method]}{f' at {settings}' if settings else ''}", []).append(
                result
            )
    listed = "; ".join(
        f"{text} (budgets {', '.join(b for b in measured.facts.budgets if any(r.budget == b for r in found))}, "
        f"seeds {', '.join(map(str, sorted({r.seed for r in found})))})"
        for text, found in told.items()
    )
    return [f"Runs without a finite loss: {listed}."] if told else []


def not_chosen(measured: Measured) -> list[str]:
    """One line on methods for which nothing could be chosen."""
    missing = {
        method.name: [b for b in measured.facts.budgets if measured.choice(method, b) is None]
        for method in measured.methods
    }
    listed = "; ".join(f"{name} at {', '.join(budgets)}" for name, budgets in missing.items() if budgets)
    return (
        [f"No settings chosen, as no seed has all points or no point has a finite loss: {listed}."]
        if listed
        else []
    )


def unequal_tokens(measured: Measured, baseline: Method, others: list[Method]) -> list[str]:
    """One line on models that were trained on more or fewer tokens than the baseline's at the same budget."""
    told = []
    for method in others:
        extra = []
        for budget in measured.facts.budgets:
            ours, theirs = measured.cell(method, budget), measured.cell(baseline, budget)
            for seed in list(ours.keys() & theirs.keys())[:1]:
                ratio = ours[seed].tokens / theirs[seed].tokens - 1
                if abs(ratio) > _SAME_POSITION:
                    extra.append(f"{100 * ratio:+.1f}% at {budget}")
        if extra:
            told.append(f"{method.name} {', '.join(extra)}")
    return [f"Tokens of a model other than {baseline.name}'s: {'; '.join(told)}."] if told else []
