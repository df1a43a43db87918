import math
from itertools import pairwise

import numpy as np
import pytest

from riverrun.theory import Eigenvalues, PowerLaw
from riverrun.theory.spectrum import power_sums


def test_sums_of_powers_are_exact():
    edges = np.array([1, 2, 5, 64, 70_000, 2_000_000])
    for exponent in (1.1, 2.5, 4.0):
        direct = [math.fsum(float(i) ** -exponent for i in range(low, high)) for low, high in pairwise(edges)]
        np.testing.assert_allclose(power_sums(edges, exponent), direct, rtol=1e-11)


def test_bins_hold_every_mode_once():
    spectrum = PowerLaw(capacity=1.3, source=2.1, dimension=123_456)
    single, binned = spectrum.single(), spectrum.binned()
    assert binned.count.sum() == single.count.sum() == 123_456
    assert len(binned.rate) < 200
    for name in ("square", "source"):
        assert getattr(binned, name).sum() == pytest.approx(getattr(single, name).sum(), rel=1e-12)
    assert binned.trace == pytest.approx(single.trace, rel=1e-12)


def test_a_small_power_law_is_not_binned():
    spectrum = PowerLaw(capacity=1.5, source=2.0, dimension=64)
    np.testing.assert_array_equal(spectrum.binned().rate, spectrum.single().rate)


def test_the_largest_dimension_takes_few_bins():
    assert len(PowerLaw(capacity=1.2, source=3.0, dimension=10**13).binned().rate) < 400


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            {"capacity": 1.0, "source": 2.0},
            "capacity: got 1.0; must be more than 1, or the trace is infinite",
        ),
        ({"capacity": 1.5, "source": 0.9}, "source: got 0.9; must be more than 1, or the risk at w = 0"),
        ({"capacity": math.nan, "source": 2.0}, "capacity: got nan; must be more than 1"),
        ({"capacity": 1.5, "source": 2.0, "dimension": 10**14}, "dimension: got 100000000000000; must be"),
        ({"capacity": 1.5, "source": 2.0, "dimension": 0}, "dimension: got 0; must be"),
    ],
)
def test_wrong_exponents_are_refused(arguments, complaint):
    with pytest.raises(ValueError) as raised:
        PowerLaw(**arguments)
    assert str(raised.value).startswith(complaint)


def test_too_many_single_modes_are_refused():
    with pytest.raises(ValueError, match="use the binned or the macro engine"):
        PowerLaw(capacity=1.5, source=2.0, dimension=10**8).single()


def test_own_eigenvalues_are_sorted_and_binned_by_size():
    random = np.random.default_rng(0)
    values, target = random.lognormal(0, 3, 5000), random.standard_normal(5000)
    spectrum = Eigenvalues(values, target)
    binned = spectrum.binned()
    assert np.all(np.diff(spectrum.eigenvalues) <= 0)
    assert binned.trace == pytest.approx(values.sum())
    assert binned.source.sum() == pytest.approx((values * target**2).sum())
    assert len(binned.rate) < 800


def test_own_eigenvalues_must_fit_their_target():
    with pytest.raises(ValueError, match=r"got shapes \(2,\) and \(3,\)"):
        Eigenvalues([1.0, 0.5], [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="at least 1e-100 of the largest"):
        Eigenvalues([1.0, 1e-200], [1.0, 1.0])
    with pytest.raises(ValueError, match="must be positive"):
        Eigenvalues([1.0, -0.5], [1.0, 1.0])
