import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.averaging import DecayLike
from riverrun.schedules import Constant


def multipliers(profile, t):
    """Of the updates 1 .. t, on a constant LR that a decay ends at t: as training has them."""
    start, steps = t - profile.steps(t), profile.steps(t)
    decay = Constant().decay(at=start, steps=steps, shape=profile.shape, floor=profile.floor)
    return decay(np.arange(1, t + 1))


@given(data=st.data(), t=st.integers(1, 300), seed=st.integers(0, 99))
def test_the_average_multiplies_each_update_as_the_decay_would(decays, data, t, seed):
    profile = data.draw(decays)
    updates = np.random.default_rng(seed).normal(size=t)
    iterates = np.cumsum(updates)
    start = t - profile.steps(t)
    decayed = iterates[start - 1] + (multipliers(profile, t) * updates)[start:].sum()
    assert start >= 1
    assert profile.weights(t) @ iterates == pytest.approx(decayed, abs=1e-10)


@given(data=st.data(), t=st.integers(1, 300))
def test_the_implied_decay_is_the_decay(decays, data, t):
    profile = data.draw(decays)
    np.testing.assert_allclose(profile.implied_decay(t), multipliers(profile, t), atol=1e-14)


@given(t=st.integers(2, 400), fraction=st.floats(0.01, 1))
def test_linear_to_zero_weighs_all_but_the_last_alike(t, fraction):
    profile = DecayLike("linear", fraction)
    steps = profile.steps(t)
    expected = np.zeros(t)
    if steps:
        expected[t - steps - 1 : t - 1] = 1 / steps
    else:
        expected[-1] = 1
    np.testing.assert_allclose(profile.weights(t), expected, atol=1e-13)


def test_where_each_shape_puts_its_weight():
    """1-sqrt falls at once: most on the oldest. A cosine falls in the middle; the floor stays on the last."""
    np.testing.assert_allclose(
        DecayLike("sqrt", 0.4).weights(10),
        [*[0] * 5, *(np.sqrt([1, 2, 3, 4]) - np.sqrt([0, 1, 2, 3])) / 2, 0],
    )
    cosine = DecayLike("cosine", 0.5).weights(100)
    assert 70 <= cosine.argmax() + 1 <= 80
    assert DecayLike("linear", 0.5, 0.25).weights(10)[-1] == pytest.approx(0.25)
    assert DecayLike("inverse", 0.2, 0.1).weights(1000)[-1] == pytest.approx(0.1)


@pytest.mark.parametrize(("t", "steps"), [(1, 0), (2, 0), (3, 1), (10, 2), (1000, 200)])
def test_the_length_of_the_decay(t, steps):
    assert DecayLike("linear", 0.2).steps(t) == steps


def test_a_decay_of_the_whole_run_begins_at_the_first_iterate():
    assert DecayLike("linear", 1).steps(5) == 4
    np.testing.assert_allclose(DecayLike("linear", 1).weights(5), [0.25] * 4 + [0])


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_a_decay_of_no_steps_is_the_current_iterate(floor):
    assert DecayLike("linear", 0.01, floor).weights(10).tolist() == [0] * 9 + [1]


def test_one_profile_has_one_name():
    assert DecayLike("power:2", 0.2) == DecayLike("power:2.0", 0.2) == DecayLike("power: 2e0", 0.2)
    assert DecayLike("power:2.0", 0.2).name == "decay-like-power-2-0.2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sqr", 0.2), "shape: got 'sqr'; .*did you mean 'sqrt'"),
        (("power", 0.2), "must be power:P"),
        (("linear", 0), "fraction: got 0; .*more than 0"),
        (("linear", 1.5), "fraction: got 1.5; .*at most 1"),
        (("linear", 0.2, -0.1), "floor: got -0.1"),
        (("exponential", 0.2), "floor: got 0; must be more than 0 for the shape 'exponential'"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        DecayLike(*arguments)
