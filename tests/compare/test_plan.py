"""Plans: what cannot be compared is told in one line, with its path."""

import copy

import pytest

from riverrun.compare.arms import Design
from riverrun.compare.opening import open_design
from riverrun.compare.plan import base_recipe, parse_plan
from riverrun.errors import SettingError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "arms.cosine.kind=cosin",
            r"arms\.cosine\.kind: got 'cosin'; input should be 'constant', 'inverse-sqrt'",
        ),
        (
            "arms.cosine.ofset=3 steps",
            r"arms\.cosine\.ofset: is no setting of riverrun; did you mean 'offset'",
        ),
        (
            "arms.cosine.shape=linear",
            r"arms\.cosine\.shape: got 'linear'; is no option of an arm of kind 'cosine'",
        ),
        (
            "sweep.seed=[1,2]",
            r"sweep: got 'seed'; all arms have the same seed\. An arm or a sweep may change optim",
        ),
        (
            "sweep.readouts.sequences=[8]",
            r"sweep: got 'readouts\.sequences'; all arms have the same readouts",
        ),
        (
            "arms.wsd.settings.batch.sequences=8",
            r"arms\.wsd\.settings: got 'batch\.sequences'; all arms have the same",
        ),
        (
            "arms.cosine.settings.schedule.total=9 steps",
            r"got 'schedule\.total'; the arm's kind and the budgets say",
        ),
        ("budgets=[]", r"budgets: got none"),
        ('budgets=["20"]', r"budgets\.0: got '20'; a duration is written"),
        ("seeds=[1,1]", r"seeds: got \[1, 1\]; each may be named once"),
        ("tuning_seeds=[9]", r"tuning_seeds: got \[9\]; must be among the seeds"),
        (
            "sweep={optimizer.peak_lr=[]}",
            r"sweep\.optimizer\.peak_lr: got \[\]; must be a list of one value or more",
        ),
        ("recipe.model.widht=8", r"recipe\.model\.widht: is no setting of riverrun; did you mean 'width'"),
        ("budget=3", r"budget: is no setting of riverrun; did you mean 'budgets'"),
        ("decays.fraction=1.0", r"decays\.fraction: got 1\.0; "),
    ],
)
def test_a_plan_that_cannot_be_is_told_with_its_path(override, message, plan_table):
    with pytest.raises(SettingError, match=message) as caught:
        parse_plan(plan_table, [override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ('budgets=["40 steps","20 steps"]', 'budgets: got "20 steps" after "40 steps"; each must be above'),
        ("decays.shape=inverse", "decays.floor: got 0; must be more than 0 for the shape 'inverse'"),
        ("decays.fraction=0.9", "decays.warmup: got 4; must be at most 2, the stable end"),
        ("arms.wsd.shape=foo", "arms.wsd: schedule.shape: got 'foo'; must be one of linear, cosine"),
        ('arms.constant.readouts=["ema-24"]', "arms.constant.readouts: got 'ema-24'"),
        ('arms.constant.settings={"optimizer.peek_lr"=1}', "arms.constant: optimizer.peek_lr: is no setting"),
    ],
)
def test_arms_that_cannot_be_built_are_told_before_anything_runs(override, message, plan_table):
    design = Design(parse_plan(plan_table, [override]), vocabulary=257)

    def build():
        for arm in design.plan.arms:
            design.readouts(arm)
            design.models(arm, design.plan.points(arm)[0], 0)

    with pytest.raises(SettingError, match=message):
        build()


def test_an_arm_may_sweep_more_than_the_plan_and_the_points_keep_the_order(plan_table):
    table = copy.deepcopy(plan_table)
    table["arms"]["inverse-sqrt"]["sweep"] = {"schedule.offset": ["5 steps", "10 steps"]}
    plan = parse_plan(table)
    assert plan.points("cosine") == [(("optimizer.peak_lr", 0.01),), (("optimizer.peak_lr", 0.02),)]
    assert plan.points("inverse-sqrt") == [
        (("optimizer.peak_lr", lr), ("schedule.offset", offset))
        for lr in (0.01, 0.02)
        for offset in ("5 steps", "10 steps")
    ]
    (model, *_) = Design(plan, 257).models("inverse-sqrt", plan.points("inverse-sqrt")[3], seed=7)
    recipe = model.legs[0].recipe
    assert (recipe.optimizer.peak_lr, recipe.schedule["offset"], recipe.seed) == (0.02, "10 steps", 7)


def test_nested_settings_are_those_with_dots_and_leave_the_rest_of_their_table(plan_table):
    table = copy.deepcopy(plan_table)
    table["recipe"]["optimizer"] = {"betas": [0.9, 0.99], "clip": 0.5}
    table["arms"]["constant"]["settings"] = {"optimizer": {"weight_decay": 0.0}}
    table["sweep"] = {"optimizer": {"peak_lr": [0.01]}}
    plan = parse_plan(table)
    (model, *_) = Design(plan, 257).models("constant", plan.points("constant")[0], seed=0)
    optimizer = model.legs[0].recipe.optimizer
    assert (optimizer.weight_decay, optimizer.betas, optimizer.clip) == (0.0, (0.9, 0.99), 0.5)
    assert optimizer.peak_lr == 0.01


def test_a_named_recipe_can_be_changed_by_overrides(plan_table):
    plan = parse_plan({**plan_table, "recipe": "quickstart"}, ["recipe.data.corpus=elsewhere"])
    assert base_recipe(plan).data.corpus == "elsewhere"
    assert base_recipe(plan).model["width"] == 96


def test_a_swept_warm_up_is_the_seesaws_too(plan_table):
    table = copy.deepcopy(plan_table)
    table["arms"]["seesaw"]["sweep"] = {"schedule.warmup": ["4 steps", "9 steps"]}
    table["budgets"] = ["100 steps"]
    plan = parse_plan(table)
    recipes = [Design(plan, 257).models("seesaw", p, 0)[0].legs[0].recipe for p in plan.points("seesaw")[:2]]
    assert [recipe.schedule["warmup"] for recipe in recipes] == ["4 steps", "9 steps"]


def test_the_baseline_is_a_row_of_the_table(plan_table):
    with pytest.raises(SettingError, match="baseline: got 'cosinus'; must be a row of the table"):
        open_design(parse_plan(plan_table, ["baseline=cosinus"]))
    plan_table["recipe"]["data"] = {"corpus": "bundled"}
    assert open_design(parse_plan(plan_table, ["baseline=constant + ema-25"])).vocabulary == 257
