"""Claims about WSD-S, which decays at every budget: *Understanding Warmup-Stable-Decay Learning Rates* (2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Literal

from riverrun.compare.measured import Measured
from riverrun.compare.results import Method
from riverrun.compare.verdicts import Claim, Part, decide
from riverrun.units import short_count

# "Equal" compute and steps are so up to the rounding of decays to whole batches.
_EQUAL = 0.01


def wsds_against_wsd(measured: Measured) -> Iterator[Claim]:
    """WSD-S is better than WSD of the same shape where both cost the same in total.

    The first budget's runs are the same run.
    """
    for ours, theirs in product(measured.raws("wsds"), measured.raws("wsd")):
        if ours.shape == theirs.shape:
            yield from _better_at_equal_cost(
                measured, ours, theirs, "total_tokens", "equal total compute", measured.facts.budgets[1:]
            )


def wsds_against_cyclic_cosine(measured: Measured) -> Iterator[Claim]:
    """WSD-S is better than cyclic cosine after equally many steps."""
    for ours, theirs in product(measured.raws("wsds"), measured.raws("cyclic-cosine")):
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
