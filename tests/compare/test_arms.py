"""Arms as legs, and legs as runs: the published boundaries, and what is shared."""

from pathlib import Path

import numpy as np
import pytest

from riverrun.compare.arms import Design
from riverrun.compare.plan import load_plan, parse_plan
from riverrun.compare.runs import alone_tokens, plan_of, runs_for, union_tokens, way
from riverrun.schedules import WSDS, Constant, Cosine, CyclicCosine, Linear

PLANS = Path(__file__).parents[2] / "plans"


def design_of(table, *overrides):
    return Design(parse_plan(table, overrides), vocabulary=257)


def learning_rates(model):
    """Of every update on the way to a model."""
    return np.concatenate(
        [
            plan_of(s.recipe, 257).recipe.optimizer.peak_lr
            * plan_of(s.recipe, 257).schedule(np.arange(s.start + 1, s.end + 1))
            for s in way(model)
        ]
    )


@pytest.mark.parametrize("size", ["0.1b", "0.3b", "0.6b", "1.2b"])
def test_the_published_boundaries_come_out_of_the_budgets(size):
    design = Design(load_plan(PLANS / f"wsds-{size}.toml"), vocabulary=32_000)
    arm = next(name for name, arm in design.plan.arms.items() if arm.kind == "wsds")
    models = design.models(arm, design.plan.points(arm)[0], 0)
    assert [(m.decay_start, m.end) for m in models] == [(11250, 12500), (23750, 26250), (48750, 53750)]
    wsd = next(name for name, arm in design.plan.arms.items() if arm.kind == "wsd")
    models = design.models(wsd, design.plan.points(wsd)[0], 0)
    assert [(m.decay_start, m.end) for m in models] == [(11250, 12500), (22500, 25000), (45000, 50000)]


@pytest.mark.parametrize("size", ["150m", "300m"])
def test_the_published_anytime_plans_branch_at_nine_tenths(size):
    design = Design(load_plan(PLANS / f"anytime-{size}.toml"), vocabulary=32_100)
    models = design.models("wsd", design.plan.points("wsd")[0], 0)
    assert [(m.decay_start, m.end) for m in models][:3] == [(11250, 12500), (22500, 25000), (45000, 50000)]
    assert design.base.tokens(design.budgets[0]) == {"150m": 3_276_800_000, "300m": 6_553_600_000}[size]


@pytest.mark.parametrize(
    ("arm", "schedule"),
    [
        ("constant", lambda end: Constant(warmup=4)),
        ("cosine", lambda end: Cosine(warmup=4, total=end, floor=0.0)),
        ("linear", lambda end: Linear(warmup=4, total=end, floor=0.0)),
        ("cyclic", lambda end: CyclicCosine(warmup=4, budgets=(20, 42), rewarmup=3, floor=0.0)),
        ("wsds", lambda end: WSDS(warmup=4, budgets=(20, 40), decay=0.1, floor=0.0)),
    ],
)
def test_the_legs_of_an_arm_add_up_to_its_schedule(arm, schedule, plan_table):
    design = design_of(plan_table)
    for model, end in zip(design.models(arm, design.plan.points(arm)[0], 0), (20, 42), strict=True):
        assert model.end == end
        expected = 0.01 * schedule(end)(np.arange(1, end + 1))
        assert np.array_equal(learning_rates(model), expected)


def test_equal_compute_and_equal_steps_of_wsd(plan_table):
    design = design_of(plan_table)
    point = design.plan.points("wsd")[0]
    compute, steps = (design.models(arm, point, 0) for arm in ("wsd", "wsd-steps"))
    wsds = design.models("wsds", point, 0)
    assert [m.end for m in compute] == [20, 40]
    assert [m.end for m in steps] == [20, 42] == [m.end for m in wsds]
    assert union_tokens(compute, 257) == union_tokens(wsds, 257) == wsds[-1].end * 4 * 16


def test_arms_share_trunks_and_first_decays(plan_table):
    design = design_of(plan_table)
    point = design.plan.points("wsd")[0]
    models = [m for arm in ("constant", "wsd", "wsd-steps", "wsds") for m in design.models(arm, point, 0)]
    runs = runs_for(models)
    assert len({run.tree for run in runs}) == 1
    # The trunk; decays to 20, 40, 42; after the shared decay to 20 the chain's stable stretch and second decay.
    assert [(run.node == "trunk", run.fork, run.end) for run in runs] == [
        (True, 0, 42),
        (False, 18, 20),
        (False, 36, 40),
        (False, 38, 42),
        (False, 20, 38),
        (False, 38, 42),
    ]
    assert {int(at.amount) for at in runs[0].recipe.checkpoints.at} == {18, 36, 38}
    assert set(runs[0].stops) >= {18, 20, 36, 38, 42}
    trained = sum(run.end - run.fork for run in runs) * 4 * 16
    assert union_tokens(models, 257) == trained < alone_tokens(models, 257)


def test_other_arms_and_budgets_do_not_rename_what_is_trained(plan_table):
    few, many = (
        {run.key for arm in arms for run in runs_for(design.models(arm, design.plan.points(arm)[0], 0))}
        for design in [design_of(plan_table), design_of(plan_table, "seeds=[4,0]", "baseline=wsd")]
        for arms in [("wsd",) if design.plan.baseline == "cosine" else tuple(design.plan.arms)]
    )
    assert few < many


def test_seeds_and_settings_do_not_share(plan_table):
    design = design_of(plan_table)
    points = design.plan.points("constant")
    trees = {
        run.tree
        for point in points
        for seed in (0, 1)
        for run in runs_for(design.models("constant", point, seed))
    }
    assert len(trees) == 4


def test_a_seesaw_ends_where_the_tokens_are(plan_table):
    design = design_of(plan_table, 'budgets=["200 steps","400 steps"]')
    models = design.models("seesaw", design.plan.points("seesaw")[0], 0)
    for model, end in zip(models, (200, 420), strict=True):
        plan = plan_of(model.legs[0].recipe, 257)
        assert model.end < end
        assert 0 <= plan.sizes.samples(model.end) - end * 4 < plan.sizes.sequences(model.end)
