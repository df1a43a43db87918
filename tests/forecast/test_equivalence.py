"""How far averages are from the decays that they amount to."""

import pytest

from riverrun.averaging import HalfLife, Tail, Uniform
from riverrun.forecast.equivalence import equivalence


def test_wider_averages_are_worse_than_their_decays_and_less_surely_known():
    priors = [equivalence(profile, 4000) for profile in (HalfLife(100), Tail(0.1), Tail(0.5), Uniform())]
    means, sds = ([getattr(prior, name) for prior in priors] for name in ("mean", "sd"))
    assert means == sorted(means)
    assert sds == sorted(sds)
    assert means[0] > 0


@pytest.mark.parametrize(("profile", "age"), [(Tail(0.2), 0.1), (Uniform(), 0.5), (HalfLife(25), 1 / 18.33)])
def test_it_goes_by_the_mean_age(profile, age):
    assert equivalence(profile, 10_000).mean == pytest.approx(0.15 * age, rel=0.01)
