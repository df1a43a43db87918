"""Every shipped plan says all that its arms can say: no claim goes missing for want of a readout or a matching arm."""

import math
from itertools import product
from pathlib import Path

import pytest

from riverrun.compare.arms import Design
from riverrun.compare.claims import claims
from riverrun.compare.measured import Facts, measure
from riverrun.compare.plan import load_plan
from riverrun.compare.results import Reading, Result
from riverrun.compare.runs import union_tokens

PLANS = sorted((Path(__file__).parents[2] / "plans").glob("*.toml"))
# What a statement contains, and the kinds of arms that it takes; "averaged" stands before arms with an average.
NEEDED = {
    " tracks cosine": ("averaged constant", "cosine"),
    " without an average does not track cosine": ("constant", "cosine"),
    " is better than constant + ": ("averaged inverse-sqrt", "averaged constant"),
    ": before its decay it lies above cosine": ("wsd", "cosine"),
    " drops in its decay": ("wsd", "constant"),
    " at equal total compute": ("wsds", "wsd"),
    " at equal steps": ("wsds", "cyclic-cosine"),
    ": a higher peak LR is worse before": ("wsd",),
    ": after the decay averaging gains less": ("averaged wsd", "averaged constant"),
}


def results(design, method):
    """Two seeds at every point of a method's sweep: real positions and costs, losses of no meaning."""
    points = design.plan.points(method.arm)
    models = design.models(method.arm, points[0], 0)
    costs = [union_tokens(models[: number + 1], design.vocabulary) for number in range(len(models))]
    found = []
    for number, (point, (model, cost)) in enumerate(product(points, zip(models, costs, strict=True))):
        marks = {64, model.end, *([model.decay_start] if model.decay_start else [])}
        curve = tuple(
            Reading(step, design.base.tokens(step), 9 - math.log(step) / 2 - 0.001 * number)
            for step in sorted(marks)
        )
        before = next((reading for reading in curve if reading.step == model.decay_start), None)
        for seed in (0, 1):
            found.append(
                Result(
                    method=method.name,
                    budget=model.budget,
                    seed=seed,
                    point=point,
                    step=model.end,
                    tokens=curve[-1].tokens,
                    total_tokens=cost,
                    loss=curve[-1].loss,
                    select=curve[-1].loss,
                    mean_lr=0.001,
                    curve=curve,
                    before_decay=before,
                    lrs=((0, 0.001),),
                )
            )
    return found


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_every_claim_whose_arms_are_in_the_plan_is_made(path):
    design = Design(load_plan(path), vocabulary=32000)
    methods = design.methods()
    facts = Facts(name=path.stem, budgets=tuple(map(str, design.plan.budgets)), tuning_seeds=(0, 1))
    measured = measure(methods, [each for method in methods for each in results(design, method)], facts)
    statements = [claim.statement for claim in claims(measured)]
    kinds = {method.kind for method in methods}
    kinds |= {f"averaged {method.kind}" for method in methods if method.readout != "raw"}
    due = [statement for statement, needs in NEEDED.items() if kinds.issuperset(needs)]
    assert len(due) >= 5
    for statement in due:
        assert any(statement in each for each in statements), statement


def test_between_them_the_shipped_plans_make_every_claim():
    methods = [method for path in PLANS for method in Design(load_plan(path), vocabulary=32000).methods()]
    kinds = {method.kind for method in methods}
    kinds |= {f"averaged {method.kind}" for method in methods if method.readout != "raw"}
    assert kinds.issuperset(kind for needs in NEEDED.values() for kind in needs)
