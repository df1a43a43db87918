import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.schedules import Constant, Continued, InverseSqrt, PiecewiseLinear, Schedule


def test_up_to_the_first_position_it_is_the_base_and_then_it_meets_every_point(schedule):
    continued = Continued(base=schedule, at=(33, 40, 60), values=(0.2, 0.05))
    steps = np.arange(34)
    np.testing.assert_array_equal(continued(steps), schedule(steps))
    assert [continued(s) for s in (40, 60, 10**9)] == [0.2, 0.05, 0.05]
    between = np.arange(33, 61)
    straight = np.interp(between, (33, 40, 60), (schedule(33), 0.2, 0.05))
    np.testing.assert_allclose(continued(between), straight, rtol=1e-13)


@given(start=st.integers(1, 200), length=st.integers(1, 200), floor=st.floats(0, 1))
def test_one_line_is_a_linear_decay(start, length, floor):
    base, steps = InverseSqrt(warmup=20, offset=50), np.arange(500)
    continued = Continued(base=base, at=(start, start + length), values=(floor * base(start),))
    decayed = base.decay(at=start, steps=length, floor=floor)
    np.testing.assert_allclose(continued(steps), decayed(steps), rtol=1e-13, atol=1e-16)


def test_of_a_constant_it_is_piecewise_linear_bit_for_bit():
    continued = Continued(base=Constant(warmup=10), at=(80, 90, 100), values=(0.7, 0.1))
    pieces = PiecewiseLinear(warmup=10, at=(80, 90, 100), values=(1, 0.7, 0.1))
    np.testing.assert_array_equal(continued(np.arange(200)), pieces(np.arange(200)))


def test_it_may_begin_within_the_warmup():
    continued = Continued(base=Constant(warmup=100), at=(50, 60), values=(0.1,))
    assert [continued(s) for s in (25, 50, 60, 100)] == [0.25, 0.5, 0.1, 0.1]


def test_as_plain_data_it_has_its_base_and_its_horizons_too():
    continued = Continued(base=Constant().decay(at=5, steps=2), at=(8, 9), values=(0,))
    assert Schedule.from_dict(continued.to_dict()) == continued
    assert continued.knots() == (5, 7, 8, 9)
    assert Continued(base=continued, at=(6, 20), values=(0.5,)).knots() == (5, 6, 20)
    assert continued.horizon_values() == {"at": (8, 9), "base.at": 5, "base.steps": 2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base": 3}, "base: got 3; must be a schedule"),
        ({"at": (5,)}, r"at: got \[5\]; must be two positions or more"),
        ({"values": (1, 0)}, "values: got 2; must be 1, one for each of at but the first"),
    ],
)
def test_wrong_arguments_name_the_argument_the_value_and_the_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        Continued(**{"base": Constant(), "at": (5, 6), "values": (0.5,)} | arguments)
