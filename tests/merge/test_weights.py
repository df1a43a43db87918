"""How much of each input: by order, by given numbers, by positions."""

import numpy as np
import pytest

from riverrun.averaging import HalfLife, Tail, Uniform, parse_profile
from riverrun.errors import SettingError
from riverrun.merge.weights import Weights, by_order, by_position, normalised, positional
from riverrun.schedules.shapes import decay_shape

DECAYS = [
    "linear",
    "sqrt",
    "cosine",
    "power:2",
    "exponential:floor=0.1",
    "inverse:floor=0.1",
    "linear:floor=0.25",
]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 12])
def test_a_linear_decay_is_the_uniform_average_exactly(count):
    assert by_order("linear", count) == by_order("uniform", count) == Weights((1,) * count, count)


@pytest.mark.parametrize("spec", DECAYS)
def test_a_merge_takes_of_each_change_what_the_decay_does(spec):
    chance = np.random.default_rng(0)
    inputs = chance.standard_normal((6, 50))
    merged = np.array(by_order(spec, 6).values) @ inputs
    shape, _, floor = spec.partition(":floor=")
    multipliers = decay_shape(shape)(np.arange(1, 6) / 6, float(floor or 0))
    decayed = inputs[0] + multipliers @ np.diff(inputs, axis=0)
    np.testing.assert_allclose(merged, decayed, atol=1e-14)


@pytest.mark.parametrize("spec", [*DECAYS, "uniform", "weights:1,2,3,4"])
def test_weights_are_shares(spec):
    values = by_order(spec, 4).values
    assert min(values) >= 0
    assert sum(values) == pytest.approx(1, abs=1e-15)


def test_sqrt_takes_most_of_the_oldest():
    values = by_order("sqrt", 5).values
    assert values[0] == pytest.approx(5**-0.5)
    assert list(values) == sorted(values, reverse=True)


def test_given_decimals_are_taken_as_written():
    assert by_order("weights:0.2,0.3,0.5", 3) == Weights((2, 3, 5), 10)
    assert normalised("weights:0.2,0.3,0.5") is None
    assert by_order("weights:1,0,3", 3) == Weights((1, 0, 3), 4)
    assert normalised("weights:1,0,3") == "the weights given sum to 4; each was divided by that"
    assert by_order("weights:1e-20,1", 2).values == (1e-20, 1.0)


def test_profiles_go_by_positions():
    positions = [1000, 2000, 4000]
    np.testing.assert_allclose(
        by_position(positional("half-life:25"), positions).values,
        HalfLife(25).weights(4000, positions),
        rtol=1e-13,
    )
    assert by_position(Uniform(), positions) == Weights((1, 1, 2), 4)
    assert by_position(Tail(0.75), positions) == Weights((0, 1, 2), 3)
    decay = parse_profile("decay-like:sqrt:0.5")
    np.testing.assert_allclose(
        by_position(decay, positions).values, decay.weights(4000, positions), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("weights:0.5,0.5", "2 weights for 3 inputs"),
        ("weights:0,0,0", "one must be above 0"),
        ("weights:1,-1,1", "must not be negative"),
        ("weights:1,x,1", "must be numbers between commas"),
        ("weights:", "must be numbers between commas"),
        ("weights:1,inf,1", "must be numbers between commas"),
        ("inverse", "floor=0.1"),
        ("power:-1", "power:-1"),
        ("power:x", "power:2"),
        ("linear:floor=2", "must be a fraction"),
        ("linear:floor=x", "linear:floor=0.1"),
        ("linear:0.3", "linear:0.3"),
    ],
)
def test_a_wrong_spec_is_answered_in_one_line(spec, said):
    with pytest.raises(SettingError) as error:
        by_order(spec, 3)
    assert said in str(error.value)
    assert "--profile" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_spec_that_is_no_profile_at_all_is_told_what_there_is():
    assert by_order("halflife:25", 3) is None
    with pytest.raises(SettingError, match=r"--profile: got 'halflife:25'.*linear.*weights"):
        positional("halflife:25")
