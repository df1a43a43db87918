import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.forecast.record import Record, assumptions, curve_of, rates_at
from riverrun.schedules import WSD, Constant, Cosine, Linear


def record_of(steps, lr):
    steps = np.asarray(steps)
    return Record("mine", steps, 3 + 1 / steps, None if lr is None else np.asarray(lr, float))


@given(every=st.integers(1, 50), warmup=st.integers(1, 30))
def test_a_piecewise_linear_schedule_logged_at_its_corners_comes_back_exactly(every, warmup):
    """Its warm-up too, whether logging began within it or at its end."""
    schedule = Linear(total=40 * every, warmup=warmup * every)
    steps = np.arange(every, 40 * every + 1, every)
    logged = record_of(steps[warmup - 1 :], 3e-4 * schedule(steps[warmup - 1 :]))
    curve = curve_of(logged)
    np.testing.assert_allclose(curve.lr, 3e-4 * schedule(np.arange(1, 40 * every + 1)), atol=1e-12)


def test_a_schedule_is_exact_where_logged_rates_are_not():
    schedule = WSD(budget=600, decay=0.2)
    steps = np.arange(60, 601, 60)
    curve = curve_of(record_of(steps, np.full(10, 7.0)), schedule, peak_lr=2.0, series="held-out")
    np.testing.assert_array_equal(curve.lr, 2 * schedule(np.arange(1, 601)))
    assert curve.series == "held-out"


def test_without_either_the_error_says_what_to_give():
    with pytest.raises(ValueError, match=r"^mine: no learning rate was logged; give the schedule"):
        curve_of(record_of(np.arange(1, 11), None))


@pytest.mark.parametrize("schedule", [None, Constant()])
def test_tokens_for_steps_do_not_fill_the_memory(schedule):
    with pytest.raises(ValueError, match="Count updates, not tokens"):
        curve_of(record_of(np.arange(1, 11) * 10**9, np.ones(10)), schedule)


def test_rates_between_points_before_the_first_and_after_the_last():
    np.testing.assert_allclose(rates_at([0, 2, 4, 6, 8, 99], [4, 8], [1, 3]), [0, 0.5, 1, 2, 3, 3])
    np.testing.assert_allclose(rates_at([0, 5], [0, 10], [1, 3]), [1, 2])


def test_points_before_the_first_update_that_moves_are_left_out_and_this_is_said():
    """Trainers that log a warm-up from its start have the learning rate 0 at step 1."""
    record = record_of(np.arange(1, 21), np.minimum(1, np.arange(20) / 3))
    curve = curve_of(record)
    assert curve.steps[0] == 2
    assert curve.lr[:3].tolist() == [0, 1 / 3, 2 / 3]
    assert assumptions(record) == ("the learning rate is 0 up to step 1: points up to there left out",)
    with pytest.raises(ValueError, match="not all of them 0"):
        curve_of(record_of(np.arange(1, 21), np.zeros(20)))


def test_what_is_taken_for_granted_is_said():
    every = np.arange(1, 21)
    assert assumptions(record_of(every, np.linspace(1, 0, 20))) == ()
    assert assumptions(record_of(every, None)) == ()
    assert assumptions(record_of(every, np.minimum(1, every / 3))) == ()
    (late,) = assumptions(record_of(2159 + every, np.ones(20)))
    assert late == "no learning rate before step 2,160: taken to rise linearly from 0 to 1"
    (jump,) = assumptions(record_of(every, np.where(every < 11, 1, 0.1)))
    assert jump.startswith("the learning rate jumps from 1 to 0.1 between steps 10 and 11:")
    (jumps,) = assumptions(record_of(every, 1 + every % 2))
    assert "at 18 later places" in jumps


@pytest.mark.parametrize("schedule", [Cosine(total=500, warmup=50), WSD(budget=500, warmup=50)])
def test_a_schedule_that_ends_before_the_curve_is_refused(schedule):
    steps = np.arange(100, 2100, 100)
    record = Record("mine", steps, 3.0 - steps / 1e4)
    with pytest.raises(ValueError, match="mine: the schedule ends at step 500 and the curve at step 2,000"):
        curve_of(record, schedule, peak_lr=1e-3)
    drop = Constant(warmup=50).decay(at=400, steps=100)
    assert curve_of(record, drop, peak_lr=1e-3).lr[-1] == pytest.approx(1e-4)
