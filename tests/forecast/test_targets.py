from dataclasses import replace

import numpy as np
import pytest

from riverrun.averaging import HalfLife
from riverrun.forecast.curve import rates_of
from riverrun.forecast.seen import see, see_average
from riverrun.forecast.targets import reach
from riverrun.schedules import WSD, Constant, InverseSqrt

PEAK, LAST = 1e-3, 30_000
FAMILIES = {
    "horizon-free": lambda total: InverseSqrt(warmup=50, offset=2000),
    "a decay for each budget": lambda total: WSD(warmup=50, budget=total, decay=0.2),
}


def loss_at(fit, family, step, profile=None):
    rates, steps = rates_of(family(step), PEAK, step), np.array([step])
    seen = see(rates, steps) if profile is None else see_average(rates, steps, profile)
    return fit.law.losses(fit.values["train"], seen, fit.scale)[0][0] * np.exp(fit.offset(profile, step))


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("profile", [None, HalfLife(25)], ids=["raw", "average"])
def test_the_step_found_is_the_first_that_is_low_enough(family, profile, made):
    fit, target = made(), 2.95
    found = reach(fit, family, PEAK, target, last=LAST, profile=profile)
    assert found.possible
    assert loss_at(fit, family, found.step, profile) <= target < loss_at(fit, family, found.step - 1, profile)
    assert found.earliest < found.step < found.latest
    assert found.at_last == pytest.approx(loss_at(fit, family, LAST, profile))


def test_a_lower_target_takes_longer_and_a_decay_shortens_it(made):
    fit = made()
    steps = {
        name: [reach(fit, family, PEAK, target, last=LAST).step for target in (3.1, 2.95)]
        for name, family in FAMILIES.items()
    }
    free, decayed = steps.values()
    assert free == sorted(set(free))
    assert decayed == sorted(set(decayed))
    assert all(short < long for short, long in zip(decayed, free, strict=True))


def test_the_interval_holds_what_parameters_leave_open(made):
    narrow, wide = (
        reach(made(spread=spread), FAMILIES["horizon-free"], PEAK, 3.0, last=LAST) for spread in (1e-4, 0.01)
    )
    assert narrow.step == wide.step
    assert narrow.earliest == pytest.approx(narrow.step, rel=0.02)
    assert narrow.latest == pytest.approx(narrow.step, rel=0.02)
    assert wide.earliest < narrow.earliest < narrow.latest < wide.latest


def test_a_target_out_of_reach_of_the_budget_is_no_step(made):
    found = reach(made(spread=0.01), FAMILIES["horizon-free"], PEAK, 2.7, last=3000)
    assert (found.step, found.earliest, found.latest, found.probability) == (None, None, None, 0)
    assert found.at_last > found.target
    assert found.possible  # it takes longer, that is all


def test_a_target_below_the_law_s_floor_says_so(made):
    found = reach(made(), FAMILIES["horizon-free"], PEAK, 2.4, last=LAST)
    assert found.step is None
    assert not found.possible
    assert found.floor == 2.5


def test_a_target_that_may_be_reached_has_no_latest_step(made):
    fit = made()
    expected = loss_at(fit, FAMILIES["horizon-free"], 3000)
    found = reach(fit, FAMILIES["horizon-free"], PEAK, expected - 1e-4, last=3000)
    assert found.step is None
    assert found.earliest is not None
    assert found.latest is None
    assert 0.2 < found.probability < 0.8


def test_where_the_first_budget_is_enough_it_is_the_step(made):
    found = reach(made(), FAMILIES["horizon-free"], PEAK, 40.0, last=LAST)
    assert found.step == found.first == found.latest == 50


def test_an_average_that_is_off_from_its_decay_is_so_here_too(made):
    fit, profile, family = made(spread=0.01), HalfLife(25), FAMILIES["horizon-free"]
    covariance = {"train": np.eye(fit.values["train"].size + 1) * 1e-4}
    as_good, off = (
        replace(fit, offsets={profile.name: offset}, covariance=covariance) for offset in (0.0, 0.02)
    )
    plain = reach(as_good, family, PEAK, 2.95, last=LAST, profile=profile)
    worse = reach(off, family, PEAK, 2.95 * np.exp(0.02), last=LAST, profile=profile)
    assert worse.step == plain.step
    assert worse.floor == pytest.approx(2.5 * np.exp(0.02))
    # An average that the fit has not seen may be off by more than its parameters are uncertain.
    raw = reach(fit, family, PEAK, 2.95, last=LAST)
    unseen = reach(fit, family, PEAK, 2.95, last=LAST, profile=profile)
    assert unseen.latest / unseen.earliest > raw.latest / raw.earliest


def test_a_family_may_have_no_schedule_for_small_budgets(made):
    found = reach(made(), lambda total: WSD(warmup=500, budget=total, decay=0.5), PEAK, 3.0, last=LAST)
    assert 1000 <= found.first < 1500
    assert found.step > found.first


def test_a_loss_that_comes_back_up_counts_from_where_it_stays(made):
    """A budget that happens to decay early does not count, for a larger one is worse again."""
    fit = made()

    def family(total):
        return Constant(warmup=50).decay(at=1000, steps=200, after="return")

    dip = loss_at(fit, family, 1200)
    found = reach(fit, family, PEAK, dip, last=LAST)
    assert found.step > 1300
    assert loss_at(fit, family, found.step) <= dip < loss_at(fit, family, found.step - 1)


def test_the_law_that_does_not_see_the_learning_rate_has_its_closed_form(made):
    fit, target = made("power"), 2.9
    found = reach(fit, FAMILIES["horizon-free"], PEAK, target, last=LAST)
    floor, size, alpha = fit.values["train"]
    assert found.step == np.ceil(fit.scale.step * ((target - floor) / np.exp(size)) ** (-1 / np.exp(alpha)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": 0}, "target: got 0; must be a loss in nats"),
        ({"target": float("nan")}, "target: got nan"),
        ({"last": 20, "first": 50}, "last: got 20; must be at least 50"),
        ({"last": 0}, "last: got 0; must be at least 1"),
        ({"level": 0}, "level: got 0; must be more than 0"),
        ({"series": "held-out"}, "series: got 'held-out'; there is train"),
    ],
)
def test_wrong_arguments_say_what_is_allowed(arguments, message, made):
    with pytest.raises(ValueError, match=message):
        reach(made(), FAMILIES["horizon-free"], PEAK, **{"target": 3.0, "last": LAST} | arguments)
