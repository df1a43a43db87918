import math
from dataclasses import replace

import pytest

from riverrun.compare.results import Method, Result
from riverrun.compare.selection import choose, chosen


def method(per_budget=False, **axes):
    axes = {name.replace("__", "."): values for name, values in axes.items()}
    return Method(arm="arm", readout="raw", kind="constant", per_budget=per_budget, axes=axes)


def result(point, select, budget="1x", seed=0, loss=1.0):
    return Result(
        method="arm",
        budget=budget,
        seed=seed,
        point=tuple(point.items()),
        step=1,
        tokens=1,
        total_tokens=1,
        loss=loss,
        select=select,
        mean_lr=1.0,
        curve=(),
        before_decay=None,
        lrs=(),
    )


def results(table, **facts):
    """Results of one axis "lr": value -> select."""
    return [result({"lr": value}, select, **facts) for value, select in table.items()]


def points(choices):
    return [(choice.budget, dict(choice.point)["lr"]) for choice in choices]


def test_the_loss_reported_never_decides():
    found = [result({"lr": 1.0}, 2.0, loss=9.0), result({"lr": 2.0}, 3.0, loss=0.0)]
    (choice,) = choose([method(lr=(1.0, 2.0))], found, ["1x"])
    assert dict(choice.point) == {"lr": 1.0}
    assert choice.select == 2.0


def test_one_run_for_all_budgets_has_one_point_by_the_mean():
    found = results({1.0: 5.0, 2.0: 4.0}, budget="1x") + results({1.0: 3.0, 2.0: 3.5}, budget="2x")
    choices = choose([method(lr=(1.0, 2.0))], found, ["1x", "2x"])
    assert points(choices) == [("1x", 2.0), ("2x", 2.0)]
    assert [choice.select for choice in choices] == [4.0, 3.5]
    choices = choose([method(lr=(1.0, 2.0), per_budget=True)], found, ["1x", "2x"])
    assert points(choices) == [("1x", 2.0), ("2x", 1.0)]


def test_seeds_without_every_point_do_not_count():
    tuned = results({1.0: 2.0, 2.0: 2.1}, seed=0)
    others = results({2.0: 0.5}, seed=1) + results({2.0: 0.5}, seed=2)
    choices = choose([method(lr=(1.0, 2.0))], tuned + others, ["1x"])
    assert points(choices) == [("1x", 1.0)]


def test_only_tuning_seeds_count_where_they_are_named():
    found = results({1.0: 2.0, 2.0: 2.1}, seed=0) + results({1.0: 9.0, 2.0: 1.0}, seed=1)
    assert points(choose([method(lr=(1.0, 2.0))], found, ["1x"])) == [("1x", 2.0)]
    assert points(choose([method(lr=(1.0, 2.0))], found, ["1x"], tuning_seeds=[0])) == [("1x", 1.0)]


@pytest.mark.parametrize("order", [1, -1])
def test_of_equals_the_first_in_the_plan_wins(order):
    found = results({3.0: 2.0, 1.0: 2.0, 2.0: 2.0})[::order]
    assert points(choose([method(lr=(3.0, 1.0, 2.0))], found, ["1x"])) == [("1x", 3.0)]


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_never_wins(lost):
    found = results({1.0: lost, 2.0: 4.0}) + results({1.0: 0.1, 2.0: 4.0}, seed=1)
    assert points(choose([method(lr=(1.0, 2.0))], found, ["1x"])) == [("1x", 2.0)]
    assert choose([method(lr=(1.0,))], results({1.0: lost}), ["1x"]) == []


def test_without_a_complete_seed_there_is_no_choice():
    assert choose([method(lr=(1.0, 2.0))], results({1.0: 2.0}), ["1x"]) == []
    found = results({1.0: 2.0}, budget="1x")
    assert choose([method(lr=(1.0,))], found, ["1x", "2x"]) == []
    assert points(choose([method(lr=(1.0,), per_budget=True)], found, ["1x", "2x"])) == [("1x", 1.0)]


def test_a_method_without_a_sweep_has_its_only_point_and_no_edges():
    (choice,) = choose([method()], [result({}, 2.0)], ["1x"])
    assert choice.point == ()
    assert choice.edges == ()


@pytest.mark.parametrize(
    ("values", "best", "end"),
    [
        ((1e-3, 4e-3, 2e-3), 4e-3, "highest"),
        ((4e-3, 1e-3, 2e-3), 1e-3, "lowest"),
        ((4e-3, 1e-3, 2e-3), 2e-3, None),
        ((1e-3,), 1e-3, None),
        (("900 steps", "1k tokens"), "1k tokens", None),
        (("500k tokens", "1M tokens"), "1M tokens", "highest"),
        (("linear", "sqrt"), "sqrt", None),
        (((0.9, 0.95), (0.9, 0.99)), (0.9, 0.95), "lowest"),
        ((False, True), True, None),
    ],
)
def test_a_value_at_an_end_of_its_axis_is_flagged(values, best, end):
    found = results({value: 1.0 if value == best else 2.0 for value in values})
    (choice,) = choose([method(lr=values)], found, ["1x"])
    assert [(edge.setting, edge.value, edge.end) for edge in choice.edges] == (
        [("lr", best, end)] if end else []
    )


def test_each_axis_is_flagged_on_its_own():
    points = [{"lr": lr, "offset": offset} for lr in (1, 2, 3) for offset in (1, 2, 3)]
    found = [result(point, abs(point["lr"] - 2) + abs(point["offset"] - 3)) for point in points]
    (choice,) = choose([method(lr=(1, 2, 3), offset=(1, 2, 3))], found, ["1x"])
    assert dict(choice.point) == {"lr": 2, "offset": 3}
    assert [(edge.setting, edge.end) for edge in choice.edges] == [("offset", "highest")]


def test_chosen_keeps_all_seeds_at_the_chosen_point():
    found = results({1.0: 2.0, 2.0: 2.1}, seed=0) + results({1.0: 7.0}, seed=5)
    kept = chosen(found, choose([method(lr=(1.0, 2.0))], found, ["1x"]))
    assert [(kept_result.seed, dict(kept_result.point)["lr"]) for kept_result in kept] == [(0, 1.0), (5, 1.0)]


def test_a_result_that_fits_nothing_is_refused():
    sound = result({"lr": 1.0}, 2.0)
    swept = [method(lr=(1.0, 2.0))]
    for wrong, reason in (
        (replace(sound, method="other"), "no such method"),
        (replace(sound, budget="9x"), "no such method or budget"),
        (replace(sound, point=(("lr", 3.0),)), "not a point"),
        (replace(sound, point=()), "not a point"),
    ):
        with pytest.raises(ValueError, match=reason):
            choose(swept, [wrong], ["1x"])
    with pytest.raises(ValueError, match="given twice"):
        choose(swept, [sound, sound], ["1x"])
