import numpy as np
import pytest

from riverrun.schedules import Constant, Cosine
from riverrun.theory import PowerLaw, Regression
from riverrun.theory.comparison import compare
from riverrun.theory.figure3 import CHECKPOINTS, panel
from riverrun.theory.slopes import asymptotic_slopes
from riverrun.theory.tuning import best_lr, best_lr_for_all, lr_grid, slope, sweep, sweep_each


@pytest.fixture(scope="module")
def problem():
    return Regression(spectrum=PowerLaw(capacity=1.5, source=2.5, dimension=10**6))


def test_a_parabola_in_logarithms_is_found_exactly():
    lrs = 2.0 ** np.arange(-8, 3)
    found = best_lr(lrs, 3.0 * np.exp(0.2 * np.log(lrs / 0.17) ** 2))
    assert found == (pytest.approx(0.17), pytest.approx(3.0))


def test_an_edge_is_taken_as_it_is():
    assert best_lr(np.array([1.0, 2.0, 4.0]), [3.0, 2.0, 1.0]) == (4.0, 1.0)


def test_one_lr_for_all_is_the_least_worst():
    risks = np.array([[1.0, 4.0], [2.0, 2.0], [5.0, 1.0]])
    assert best_lr_for_all(risks, np.array([1.0, 1.0])) == (1, 2.0)


def test_a_slope_is_the_exponent():
    steps = np.array([10, 100, 1000])
    assert slope(steps, 7.0 * steps**-0.4) == pytest.approx(0.4)


def test_a_grid_ends_below_the_stability_limit(problem):
    lrs = lr_grid(problem, 2**-4)
    assert lrs[-1] == pytest.approx(0.95 * problem.largest_lr)
    assert lrs[0] >= problem.moderate_lr / 16
    np.testing.assert_allclose(lrs[1:] / lrs[:-1], 2**0.5)


def test_each_horizon_has_a_run_of_its_own(problem):
    lrs = lr_grid(problem, 2**-2)
    each = sweep_each(problem, lambda steps: Cosine(total=steps, floor=0.0), lrs, [100, 400])
    alone = sweep(problem, Cosine(total=400, floor=0.0), lrs, [400])["last"]
    np.testing.assert_array_equal(each[:, 1:], alone)
    same = sweep_each(problem, lambda steps: Constant(), lrs, [100, 400])
    np.testing.assert_allclose(same, sweep(problem, Constant(), lrs, [100, 400])["last"], rtol=1e-3)


def test_a_comparison_tunes_each_method_as_it_allows(problem):
    found = compare(problem, (64, 256, 1024))
    methods = {(method.name, method.tuned): method for method in found.methods}
    assert len(methods) == 11
    for (_, tuned), method in methods.items():
        assert np.all(method.risks >= found.bound)
        assert (len(set(method.lrs)) == 1) == (tuned == "once")
    once, each = methods["constant + tail-0.5", "once"], methods["constant + tail-0.5", "per horizon"]
    assert np.all(each.risks <= once.risks * 1.001)
    with pytest.raises(ValueError, match="horizons: got"):
        compare(problem, (64, 32))
    with pytest.raises(ValueError, match="noise: got 0"):
        compare(Regression(spectrum=problem.spectrum, noise=0.0), (64, 128))


def test_slopes_refuse_what_is_no_grid():
    for gammas in ((), (-0.1,), (0.3, 0.2), (0.99,)):
        with pytest.raises(ValueError, match="gammas: got"):
            asymptotic_slopes(1.5, 2.5, gammas)


def test_a_panel_of_the_figure_says_what_the_paper_s_does():
    found = panel(1.5, 3.0)
    average, raw, cosine = (
        found.risks[n] for n in ("constant + average", "constant", "cosine, run for each")
    )
    assert len(average) == len(CHECKPOINTS)
    # One run at a constant LR, averaged, keeps up with a cosine run for each checkpoint; its last iterate does not.
    assert average[-1] < cosine[-1] < raw[-1]
    assert np.all(np.stack(list(found.risks.values())) >= found.bound)
