import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riverrun.theory import rates

exponents = st.floats(1.05, 6.0)


@given(exponents, exponents)
def test_no_gamma_of_a_grid_beats_the_best_one(capacity, source):
    best = rates.averaged_exponent(capacity, source, rates.best_gamma(capacity, source))
    assert best == rates.anytime_exponent(capacity, source)
    for n in range(100):
        assert rates.averaged_exponent(capacity, source, n / 100) <= best + 1e-9
    assert best <= rates.minimax_exponent(capacity, source) + 1e-9


@given(exponents, exponents)
def test_the_refinement_differs_from_the_published_gamma_only_for_easy_targets(capacity, source):
    best, published = rates.best_gamma(capacity, source), rates.published_best_gamma(capacity, source)
    assert (best == published) == (source <= 2 * capacity)
    ours, theirs = (rates.averaged_exponent(capacity, source, gamma) for gamma in (best, published))
    assert ours >= theirs - 1e-9


@given(exponents, exponents)
def test_a_last_iterate_is_never_better_than_its_average(capacity, source):
    for n in range(100):
        averaged = rates.averaged_exponent(capacity, source, n / 100)
        assert rates.last_exponent(capacity, source, n / 100) <= averaged + 1e-9


@pytest.mark.parametrize("decay", [0.0, 1.0, 2.0, math.inf])
def test_steeper_decays_are_no_worse(decay):
    assert rates.tuned_last_exponent(2.0, 3.0, decay) >= rates.tuned_last_exponent(2.0, 3.0)
    assert rates.tuned_last_exponent(2.0, 3.0, math.inf) == pytest.approx(rates.minimax_exponent(2.0, 3.0))


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: rates.averaged_exponent(1.0, 2.0, 0.3), "capacity: got 1.0; must be more than 1"),
        (lambda: rates.best_gamma(2.0, 0.5), "source: got 0.5; must be more than 1"),
        (lambda: rates.last_exponent(2.0, 2.5, 1.0), "gamma: got 1.0; must be at least 0"),
        (lambda: rates.tuned_last_exponent(2.0, 2.5, -1), "decay: got -1; must be at least 0"),
    ],
)
def test_wrong_exponents_are_refused(call, complaint):
    with pytest.raises(ValueError) as raised:
        call()
    assert str(raised.value).startswith(complaint)
