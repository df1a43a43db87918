import numpy as np
import pytest

from riverrun.averaging import Tail
from riverrun.forecast import curve as curves
from riverrun.forecast.curve import Curve, check_rates, rates_of
from riverrun.schedules import Constant, Cosine

STEPS = np.array([10, 20, 40])
LOSSES = np.array([4.0, 3.5, 3.2])
LR = np.full(40, 1e-3)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"steps": STEPS[:2]}, "mine: got 2 steps and 3 losses"),
        ({"steps": STEPS[:0], "losses": LOSSES[:0]}, "got 0 steps"),
        ({"steps": STEPS[::-1]}, "that increase"),
        ({"steps": np.array([10, 10, 20])}, "that increase"),
        ({"steps": STEPS - 10}, "whole numbers from 1"),
        ({"steps": STEPS + 0.5}, "whole numbers from 1"),
        ({"steps": np.array([10, np.nan, 40])}, "whole numbers from 1"),
        ({"losses": np.array([4.0, np.nan, 3.0])}, "losses must be positive numbers"),
        ({"losses": np.array([4.0, np.inf, 3.0])}, "losses must be positive numbers"),
        ({"losses": np.array([4.0, 0.0, 3.0])}, "losses must be positive numbers"),
        ({"lr": LR[:39]}, "learning rates end at step 39, the curve at step 40"),
        ({"lr": -LR}, "at least 0"),
        ({"lr": 0 * LR}, "not all of them 0"),
        ({"lr": np.where(np.arange(40) == 3, np.nan, LR)}, "numbers of at least 0"),
        ({"lr": LR[None]}, "numbers of at least 0"),
    ],
)
def test_a_curve_that_cannot_be_fitted_is_refused(changed, words):
    Curve("mine", STEPS, LOSSES, LR)
    with pytest.raises(ValueError, match=words):
        Curve("mine", **({"steps": STEPS, "losses": LOSSES, "lr": LR} | changed))


def test_whole_steps_may_be_floats_and_the_lr_longer_than_the_curve():
    curve = Curve("mine", STEPS.astype(float), list(LOSSES), np.full(100, 1e-3))
    assert curve.steps.dtype == np.int64
    assert curve.losses.dtype == curve.lr.dtype == np.float64


def test_a_part_keeps_all_but_the_points_outside():
    whole = Curve("mine", STEPS, LOSSES, LR, "held-out", Tail(0.2))
    part = whole.between(20, 39)
    assert part.steps.tolist() == [20]
    assert part.losses.tolist() == [3.5]
    assert (part.name, part.kind) == ("mine", ("held-out", True)) == (whole.name, whole.kind)
    assert part.lr is whole.lr
    assert whole.between(1, 40).steps.tolist() == STEPS.tolist()
    with pytest.raises(ValueError, match="one at least"):
        whole.between(21, 39)


@pytest.mark.parametrize("still", [STEPS[0], STEPS[-1] - 1])
def test_where_nothing_has_moved_yet_is_no_point_of_a_curve(still):
    lr = np.where(np.arange(1, 101) > still, 1e-3, 0.0)
    with pytest.raises(ValueError, match=rf"mine: the learning rate is 0 up to .*before step {still + 1}$"):
        Curve("mine", STEPS, LOSSES, lr)


def test_thinned_it_has_no_more_points_and_the_same_ends():
    steps = np.arange(1, 1001)
    whole = Curve("mine", steps, 3 + 1 / steps, np.ones(1000))
    thin = whole.thinned(7)
    assert thin.steps.size == 7
    assert (thin.steps[0], thin.steps[-1]) == (1, 1000)
    np.testing.assert_array_equal(thin.losses, 3 + 1 / thin.steps)
    assert whole.thinned(5000).steps.tolist() == steps.tolist()


def test_the_lr_of_a_schedule_is_its_multiplier_times_the_peak_update_by_update():
    schedule = Cosine(warmup=5, total=40)
    curve = Curve.of_schedule("mine", schedule, STEPS, LOSSES, peak_lr=3e-4)
    assert curve.lr.tolist() == [3e-4 * schedule(step) for step in range(1, 41)]
    assert not Curve.of_schedule("mine", schedule, STEPS, LOSSES, series="held-out").kind[1]


def test_more_updates_than_memory_holds_are_refused_before_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(curves, "LONGEST", 100)
    assert rates_of(Constant(), 1.0, 100).size == 100
    with pytest.raises(ValueError, match="steps: got 101; forecasts reach to step 100"):
        rates_of(Constant(), 1.0, 101)


def test_a_rate_of_zero_is_allowed_where_others_are_not():
    check_rates("lr", np.array([0.0, 1e-3, 0.0]), 2)
    with pytest.raises(ValueError, match="lr: learning rates must be"):
        check_rates("lr", np.array([]), 1)
