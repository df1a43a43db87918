"""All results of a comparison as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

from riverrun.compare.measured import Measured
from riverrun.compare.results import Method, Result


def results_csv(measured: Measured) -> str:
    """One line per result, at all points of the sweep, by method, budget and point in the plan's order, and seed.

    Floats are written so that they read back as the same floats; the settings are columns between `seed` and
    `chosen`, empty where a method does not sweep them. The same results give the same text in whatever order
    they came.
    """
    methods = {method.name: (number, method) for number, method in enumerate(measured.methods)}
    settings = sorted({setting for result in measured.results for setting, _ in result.point})
    taken = {
        (result.method, result.budget, result.seed): result.point
        for method in measured.methods
        for budget in measured.facts.budgets
        for result in measured.cell(method, budget).values()
    }

    def order(result: Result) -> tuple[Any, ...]:
        number, method = methods[result.method]
        point = dict(result.point)
        place = [values.index(point[setting]) for setting, values in method.axes.items()]
        return number, measured.facts.budgets.index(result.budget), place, result.seed

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", strict=True)
    measures = ("step", "tokens", "total_tokens", "loss", "select", "mean_lr", "loss_before_decay")
    writer.writerow(("method", "arm", "readout", "kind", "budget", "seed", *settings, "chosen", *measures))
    for result in sorted(measured.results, key=order):
        method: Method = methods[result.method][1]
        point = dict(result.point)
        writer.writerow(
            (
                result.method,
                method.arm,
                method.readout,
                method.kind,
                result.budget,
                result.seed,
                *(point.get(setting, "") for setting in settings),
                "yes" if taken.get((result.method, result.budget, result.seed)) == result.point else "no",
                result.step,
                result.tokens,
                result.total_tokens,
                result.loss,
                result.select,
                result.mean_lr,
                result.before_decay.loss if result.before_decay else "",
            )
        )
    return text.getvalue()
