import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.schedules import Constant, Linear, PiecewiseLinear, Schedule


@st.composite
def pieces(draw):
    """Any warm-up, positions after it, and values."""
    warmup = draw(st.integers(0, 60))
    lengths = draw(st.lists(st.integers(1, 200), min_size=1, max_size=8))
    at = tuple(warmup + sum(lengths[: k + 1]) for k in range(len(lengths)))
    values = draw(st.lists(st.floats(0, 1), min_size=len(at), max_size=len(at)))
    return PiecewiseLinear(warmup=warmup, warmup_start=draw(st.floats(0, 1)), at=at, values=values)


@given(schedule=pieces())
def test_at_every_position_the_value_is_the_one_given_and_between_them_on_the_line(schedule):
    assert [schedule(position) for position in schedule.at] == list(schedule.values)
    after = np.arange(schedule.warmup, schedule.at[-1] + 300)
    straight = np.interp(after, (schedule.warmup, *schedule.at), (1.0, *schedule.values))
    np.testing.assert_allclose(schedule(after), straight, rtol=1e-13, atol=1e-15)
    assert (schedule(after[after >= schedule.at[-1]]) == schedule.values[-1]).all()


@given(schedule=pieces())
def test_it_never_leaves_what_lies_between_the_values_beside_it(schedule):
    values = schedule(np.arange(schedule.warmup, schedule.at[-1] + 2))
    assert values.min() >= 0
    assert values.max() <= 1


@given(warmup=st.integers(0, 90), total=st.integers(91, 500), floor=st.floats(0, 1))
def test_with_one_position_it_is_linear_bit_for_bit(warmup, total, floor):
    steps = np.arange(600)
    line = PiecewiseLinear(warmup=warmup, at=(total,), values=(floor,))
    np.testing.assert_array_equal(line(steps), Linear(warmup=warmup, total=total, floor=floor)(steps))


@given(points=st.lists(st.integers(61, 400), min_size=1, max_size=5, unique=True))
def test_points_at_the_peak_are_a_constant_bit_for_bit(points):
    steps = np.arange(500)
    flat = PiecewiseLinear(warmup=60, at=sorted(points), values=[1] * len(points))
    np.testing.assert_array_equal(flat(steps), Constant(warmup=60)(steps))


def test_a_plateau_and_a_decay_are_a_constant_with_a_linear_decay():
    pieces = PiecewiseLinear(warmup=10, at=(80, 100), values=(1, 0.1))
    decayed = Constant(warmup=10).decay(at=80, steps=20, shape="linear", floor=0.1)
    np.testing.assert_array_equal(pieces(np.arange(200)), decayed(np.arange(200)))


def test_a_decay_on_top_scales_the_value_it_finds():
    pieces = PiecewiseLinear(at=(80, 100), values=(1, 0.5))
    decayed = pieces.decay(at=90, steps=10, floor=0.0)
    assert decayed(90) == pieces(90) == 0.75
    assert [decayed(95), decayed(100)] == [0.375, 0.0]


def test_values_may_rise_and_the_last_one_holds():
    schedule = PiecewiseLinear(at=(10, 20, 30), values=(0, 1, 0.5))
    assert [schedule(s) for s in (0, 5, 10, 15, 20, 25, 30, 10**9)] == [1, 0.5, 0, 0.5, 1, 0.75, 0.5, 0.5]


def test_the_first_position_may_be_the_warmup_s_last_update():
    schedule = PiecewiseLinear(warmup=10, at=(10, 20), values=(1, 0))
    assert [schedule(s) for s in (5, 10, 11, 20)] == [0.5, 1, pytest.approx(0.9), 0]
    assert schedule.knots() == (10, 20)


def test_as_plain_data_it_has_lists():
    plain = {"kind": "piecewise-linear", "warmup": 3, "warmup_start": 0.0, "at": [5, 9], "values": [0.5, 0.0]}
    assert Schedule.from_dict(plain).to_dict() == plain
    assert PiecewiseLinear.step_fields() == ("warmup", "at")
    assert PiecewiseLinear(at=[5, 9], values=[1, 0]).horizon_values() == {"at": (5, 9)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"at": (5, 9), "values": (0.5,)}, "values: got 1; must be 2, one for each of at"),
        ({"at": (5,), "values": (-0.5,)}, r"values\[0\]: got -0.5; must be a fraction"),
        ({"at": (5,), "values": (1.5,)}, r"values\[0\]: got 1.5; must be a fraction"),
        ({"at": (9, 5), "values": (0.5, 0.4)}, r"at: got \[9, 5\]; must be .* each above the last"),
        ({"at": (5,), "values": (0.5,), "warmup": 6}, "warmup: got 6; must be at most 5, the first of at"),
        ({"at": (5,), "values": (0.5,), "warmup": 5}, r"values\[0\]: got 0.5; must be 1 at position 5, the warm-up"),
    ],
)  # fmt: skip
def test_wrong_arguments_name_the_argument_the_value_and_the_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        PiecewiseLinear(**arguments)
