import re

import pytest

from riverrun.train import audit, build_plan

FREE = {
    "constant": ('schedule={kind = "constant", warmup = "5 steps"}',),
    "inverse-sqrt": (),
    "power-decay": ('schedule={kind = "power-decay", exponent = 0.4, offset = "100 steps"}',),
}
BOUND = {
    "cosine": ('{kind = "cosine", total = "1000 steps"}', {"total"}),
    "linear": ('{kind = "linear", total = "2x"}', {"total"}),
    "wsd": ('{kind = "wsd", budget = "1000 steps"}', {"budget"}),
    "wsds": ('{kind = "wsds", budgets = ["100 steps", "300 steps"]}', {"budgets"}),
    "cyclic-cosine": ('{kind = "cyclic-cosine", budgets = ["100 steps", "300 steps"]}', {"budgets"}),
    "piecewise-linear": (
        '{kind = "piecewise-linear", at = ["100 steps", "300 steps"], values = [1, 0.1]}',
        {"at"},
    ),
    "continued": (
        '{kind = "continued", base = {kind = "linear", total = "900 steps"}, at = ["100 steps", "150 steps"], '
        "values = [0.1]}",
        {"at", "base.total"},
    ),
    "decayed": (
        '{kind = "decayed", base = {kind = "cosine", total = "900 steps"}, at = "100 steps", steps = "50 steps"}',
        {"at", "steps", "base.total"},
    ),
}


@pytest.mark.parametrize("overrides", FREE.values(), ids=FREE.keys())
def test_horizon_free_recipes_pass(overrides, tiny_recipe):
    findings = audit(build_plan(tiny_recipe(*overrides), vocabulary=257))
    assert findings
    assert all(finding.horizon_free for finding in findings)
    assert {"learning rate", "weight decay", "batch size", "data order"} <= {
        finding.value for finding in findings
    }


@pytest.mark.parametrize(("schedule", "horizons"), BOUND.values(), ids=BOUND.keys())
def test_every_horizon_is_named_with_the_step_at_which_it_shows(schedule, horizons, tiny_recipe):
    plan = build_plan(tiny_recipe(f"schedule={schedule}"), vocabulary=257)
    bound = [finding for finding in audit(plan) if not finding.horizon_free]
    assert {finding.setting for finding in bound} == {f"schedule.{name}" for name in horizons}
    assert {finding.value for finding in bound} == {"learning rate"}
    for finding in bound:
        assert re.search(r"changes it from step \d+ on", finding.evidence), finding


# Where a schedule leaves the path that it would take with a later end.
FIRST_CHANGES = [
    ('{kind = "wsd", budget = "3000000 steps"}', "budget", 2_700_001),
    ('{kind = "wsds", budgets = ["100 steps", "300 steps"]}', "budgets", 281),
    ('{kind = "piecewise-linear", at = ["100 steps", "300 steps"], values = [1, 0.1]}', "at", 101),
    ('{kind = "decayed", base = {kind = "constant"}, at = "100 steps", steps = "50 steps"}', "steps", 101),
    ('{kind = "decayed", base = {kind = "constant"}, at = "100 steps", steps = "50 steps"}', "at", 101),
]


@pytest.mark.parametrize(("schedule", "horizon", "step"), FIRST_CHANGES)
def test_the_step_named_is_the_first(schedule, horizon, step, tiny_recipe):
    plan = build_plan(tiny_recipe(f"schedule={schedule}"), vocabulary=257)
    (finding,) = (f for f in audit(plan) if f.setting == f"schedule.{horizon}")
    assert f"from step {step} on" in finding.evidence


def test_nothing_but_the_schedule_moves_with_its_horizon(tiny_recipe):
    plans = [
        build_plan(tiny_recipe(f'schedule={{kind = "cosine", total = "{total} steps"}}'), vocabulary=257)
        for total in (100, 1000)
    ]
    for name in ("sizes", "readouts", "fork_points", "tokens_per_x", "weight_decay_schedule", "decoder"):
        assert getattr(plans[0], name) == getattr(plans[1], name)


def test_a_weight_decay_that_knows_the_end_is_named_though_the_lr_is_free(tiny_recipe):
    table = 'optimizer.weight_decay_schedule={kind = "cosine", total = "1000 steps"}'
    bound = [f for f in audit(build_plan(tiny_recipe(table), vocabulary=257)) if not f.horizon_free]
    assert [(f.value, f.setting) for f in bound] == [
        ("weight decay", "optimizer.weight_decay_schedule.total")
    ]


def test_the_evidence_is_the_first_step_that_changes(tiny_recipe):
    plan = build_plan(
        tiny_recipe('schedule={kind = "cosine", warmup = "20 steps", total = "1000 steps"}'), 257
    )
    longer = build_plan(
        tiny_recipe('schedule={kind = "cosine", warmup = "20 steps", total = "2000 steps"}'), 257
    )
    (finding,) = (f for f in audit(plan) if not f.horizon_free)
    assert "moving total from 1000 to 2000 changes it from step 21 on" in finding.evidence
    assert plan.lr(20) == longer.lr(20)
    assert plan.lr(21) != longer.lr(21)
