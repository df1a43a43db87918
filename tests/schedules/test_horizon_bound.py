import numpy as np
import pytest

from riverrun.schedules import Cosine, CyclicCosine, Linear


def test_cosine_follows_its_formula_and_holds_the_floor():
    schedule = Cosine(warmup=20, total=120, floor=0.1)
    u = np.arange(1, 101)
    np.testing.assert_allclose(schedule(20 + u), 0.1 + 0.9 * (1 + np.cos(np.pi * u / 100)) / 2, rtol=1e-14)
    assert schedule(70) == pytest.approx(0.55)
    assert schedule(120) == schedule(121) == schedule(10**9) == 0.1


def test_linear_follows_its_formula_and_holds_the_floor():
    schedule = Linear(warmup=20, total=120, floor=0.2)
    u = np.arange(1, 101)
    np.testing.assert_allclose(schedule(20 + u), 1 - 0.8 * u / 100, rtol=1e-13)
    assert schedule(120) == schedule(10**9) == 0.2


@pytest.mark.parametrize("kind", [Cosine, Linear])
def test_a_warmup_up_to_the_total_leaves_only_the_floor(kind):
    schedule = kind(warmup=10, total=10, floor=0.3)
    assert schedule(9) == 0.9
    assert schedule(10) == 1.0
    assert schedule(11) == 0.3


def test_raising_the_total_changes_a_past_value():
    """The fault that horizon-free schedules do not have: the LR already used depends on the end."""
    assert Cosine(total=1000)(900) < Cosine(total=2000)(900)


def test_cyclic_cosine_reaches_the_floor_at_every_budget_and_the_peak_after_each_rewarmup():
    schedule = CyclicCosine(warmup=20, budgets=(120, 300, 600), rewarmup=40, floor=0.1)
    assert schedule(20) == 1.0
    for budget in (120, 300, 600):
        assert schedule(budget) == 0.1
    for budget in (120, 300):
        assert schedule(budget + 1) == pytest.approx(0.1 + 0.9 / 40)
        assert schedule(budget + 20) == pytest.approx(0.55)
        assert schedule(budget + 40) == 1.0
    assert schedule(300 + 40 + 130) == pytest.approx(0.55)
    assert schedule(601) == schedule(10**6) == 0.1
    assert np.abs(np.diff(schedule(np.arange(601)))).max() <= 1 / 20 + 1e-12


def test_the_first_cycle_is_a_cosine():
    steps = np.arange(121)
    cyclic = CyclicCosine(warmup=20, budgets=(120, 300), rewarmup=40)
    np.testing.assert_array_equal(cyclic(steps), Cosine(warmup=20, total=120)(steps))


def test_without_rewarmup_the_peak_comes_back_at_once():
    schedule = CyclicCosine(budgets=(100, 200), floor=0.0)
    assert schedule(100) == 0.0
    assert schedule(101) == schedule(1)


def test_a_rewarmup_may_fill_its_cycle():
    schedule = CyclicCosine(budgets=(100, 140), rewarmup=40, floor=0.1)
    assert schedule(140) == 1.0
    assert schedule(141) == 0.1


def test_warmups_must_fit_their_cycles():
    with pytest.raises(ValueError, match="warmup: got 101; must be at most 100"):
        CyclicCosine(warmup=101, budgets=(100, 200))
    with pytest.raises(ValueError, match="rewarmup: got 41; must be at most 40"):
        CyclicCosine(budgets=(100, 200, 240), rewarmup=41)
