import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.averaging import DecayLike, FixedBeta, HalfLife, Tail, Uniform


@given(data=st.data(), t=st.integers(1, 400))
def test_weights_are_a_probability(any_profile, data, t):
    profile = data.draw(any_profile)
    weights = profile.weights(t)
    assert weights.shape == (t,)
    assert weights.dtype == np.float64
    assert weights.min() >= -1e-15
    assert (np.diff(profile.cumulative(np.arange(t + 1), t)) >= -1e-15).all()
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert float(profile.cumulative(t, t)) == pytest.approx(1, abs=1e-15)
    assert float(profile.cumulative(0, t)) == 0.0


@given(data=st.data(), t=st.integers(1, 400))
def test_nested_profiles_are_cut_off_in_proportion(nested_profiles, data, t):
    profile = data.draw(nested_profiles)
    assert profile.nested
    earlier = data.draw(st.integers(1, t))
    tau = np.arange(earlier + 1)
    kept = profile.cumulative(earlier, t)
    np.testing.assert_allclose(
        profile.cumulative(tau, t), kept * profile.cumulative(tau, earlier), rtol=1e-9, atol=1e-12
    )


def test_a_tail_is_not_nested():
    profile = Tail(0.5)
    assert not profile.nested
    assert float(profile.cumulative(10, 20)) == 0
    assert float(profile.cumulative(8, 10)) > 0
    assert float(profile.cumulative(8, 14)) != pytest.approx(
        float(profile.cumulative(10, 14) * profile.cumulative(8, 10))
    )


@pytest.mark.parametrize(
    ("f", "kappa", "mean_age", "effective"),
    [
        (6.25, 3.33, 0.1876, 0.408),
        (12.5, 7.66, 0.1035, 0.218),
        (25, 16.33, 0.0546, 0.112),
        (50, 33.66, 0.0280, 0.057),
        (100, 68.31, 0.0142, 0.029),
    ],
)
def test_the_published_table_of_half_lives(f, kappa, mean_age, effective):
    profile, t = HalfLife(f), 100_000
    weights = profile.weights(t)
    assert profile.kappa == pytest.approx(kappa, abs=0.006)
    assert 1 / (profile.kappa + 2) == pytest.approx(mean_age, abs=6e-5)
    assert weights @ (t - np.arange(1, t + 1)) / t == pytest.approx(1 / (profile.kappa + 2), rel=1e-3)
    assert 1 / (weights @ weights) / t == pytest.approx(effective, abs=6e-4)


def test_half_the_weight_is_younger_than_about_the_half_life():
    t = 100_000
    keep = float(HalfLife(25).cumulative(t - t // 25, t))
    assert keep == pytest.approx((1 - 1 / 25) ** (25 * np.log(2)))
    paper = np.prod(2.0 ** (-25 / (np.arange(t - t // 25, t) + 1)))
    assert keep == pytest.approx(paper, rel=1e-3)


@pytest.mark.parametrize(("share", "multiplier"), [(0.8, 0.98), (0.9, 0.84), (0.95, 0.59), (0.98, 0.30)])
def test_the_decay_that_a_half_life_average_implies(share, multiplier):
    """On a constant LR the average equals a decay by 1 - F: an update counts in every later iterate."""
    implied = HalfLife(25).implied_decay(1000)
    assert 1 - HalfLife(25).cumulative(share * 1000, 1000) == pytest.approx(multiplier, abs=5e-3)
    assert implied[round(share * 1000)] == pytest.approx(multiplier, abs=5e-3)
    assert implied[0] == 1


@given(data=st.data(), t=st.integers(1, 300), seed=st.integers(0, 99))
def test_an_average_holds_of_each_update_what_its_implied_decay_says(any_profile, data, t, seed):
    profile = data.draw(any_profile)
    updates = np.random.default_rng(seed).normal(size=t)
    implied = profile.implied_decay(t)
    assert profile.weights(t) @ np.cumsum(updates) == pytest.approx(implied @ updates, abs=1e-10)
    assert implied.shape == (t,)
    assert implied[0] == 1
    assert (np.diff(implied) <= 1e-15).all()
    assert implied[-1] >= 0


def test_what_some_averages_amount_to():
    """A tail: linear to zero over its length, and equal weights on all but the last are exactly that decay."""
    np.testing.assert_allclose(Uniform().implied_decay(4), [1, 0.75, 0.5, 0.25])
    np.testing.assert_allclose(Tail(0.2).implied_decay(10), [1] * 9 + [0.5])
    np.testing.assert_allclose(
        DecayLike("linear", 0.3).implied_decay(10), [1] * 7 + [2 / 3, 1 / 3, 0], atol=1e-15
    )


@given(data=st.data(), t=st.integers(1, 400))
def test_a_window_has_equal_weights_from_its_start(windows, data, t):
    profile = data.draw(windows)
    start = profile.window_start(t)
    covered = np.clip(np.arange(1, t + 1) - start, 0, 1)  # of each iterate; the edge may cut one
    np.testing.assert_allclose(profile.weights(t), covered / (t - start), atol=1e-9)


@pytest.mark.parametrize("profile", [HalfLife(25), FixedBeta(0.9), DecayLike("linear", 0.2)])
def test_others_have_no_window(profile):
    assert profile.window_start(100) is None


def test_uniform_tail_and_fixed_beta_by_hand():
    np.testing.assert_allclose(Uniform().weights(4), [0.25] * 4)
    np.testing.assert_allclose(Uniform(2).weights(4), [0, 0, 0.5, 0.5])
    np.testing.assert_allclose(Tail(0.5).weights(4), [0, 0, 0.5, 0.5])
    np.testing.assert_allclose(Tail(0.3).weights(10), [0] * 7 + [1 / 3] * 3, atol=1e-15)
    np.testing.assert_allclose(Tail(0.375).weights(4), [0, 0, 1 / 3, 2 / 3])
    np.testing.assert_allclose(Tail(0.01).weights(5), [0, 0, 0, 0, 1])
    np.testing.assert_allclose(FixedBeta(0.5).weights(3), np.array([1, 2, 4]) / 7)


@pytest.mark.parametrize("t", [1, 3, 5])
def test_up_to_its_start_a_uniform_average_is_the_current_iterate(t):
    assert Uniform(5).weights(t).tolist() == [0] * (t - 1) + [1]


def test_weights_at_updates_with_gaps_stand_for_the_iterates_between():
    profile = HalfLife(10)
    every = profile.weights(12)
    np.testing.assert_allclose(profile.weights(12, [2, 3, 8, 12]), np.add.reduceat(every, [0, 2, 3, 8]))
